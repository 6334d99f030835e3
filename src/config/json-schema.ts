import { z } from 'zod'
import type { Registry } from '../core/registry.ts'
import { SECRET_MARK } from '../core/secret-reference.ts'
import { inventorySchemas } from './inventory-schema.ts'
import { settingsSchema } from './schema.ts'

type Json = Readonly<Record<string, unknown>>

/** JSON Schema of the settings file, for editors. */
export function settingsJsonSchema(registry: Registry): Json {
  return toJson(settingsSchema(registry), 'Settings of Mahavishnu')
}

/** JSON Schema of the inventory, for editors. */
export function inventoryJsonSchema(registry: Registry): Json {
  return toJson(inventorySchemas(registry).file, 'Inventory of Mahavishnu')
}

/** In the draft that the YAML plug-ins of editors know. */
function toJson(schema: z.ZodObject, title: string): Json {
  const json = z.toJSONSchema(schema, {
    target: 'draft-7',
    io: 'input',
    unrepresentable: 'any',
    override({ jsonSchema }) {
      delete jsonSchema[SECRET_MARK]
    },
  })
  return { $schema: json.$schema, title, ...json }
}
