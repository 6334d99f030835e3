import { z } from 'zod'
import { inventorySchemas } from '../../src/config/inventory-schema.ts'
import { settingsSchema } from '../../src/config/schema.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { SECRET_MARK } from '../../src/core/secret-reference.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'

const registry = createRegistry(workers)

/** JSON Schema for editors, in the draft that their YAML plug-ins know. */
function render(schema: z.ZodObject, title: string): string {
  const json = z.toJSONSchema(schema, {
    target: 'draft-7',
    io: 'input',
    unrepresentable: 'any',
    override({ jsonSchema }) {
      delete jsonSchema[SECRET_MARK]
    },
  })
  return `${JSON.stringify({ $schema: json.$schema, title, ...json }, null, 2)}\n`
}

/** Schemas of the files that people write, for completion and checks in their editors. */
export const generators: readonly Generator[] = [
  {
    path: 'schema/settings.schema.json',
    render: () => render(settingsSchema(registry), 'Settings of Mahavishnu'),
  },
  {
    path: 'schema/inventory.schema.json',
    render: () => render(inventorySchemas(registry).file, 'Inventory of Mahavishnu'),
  },
]
