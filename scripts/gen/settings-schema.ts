import { inventoryJsonSchema, settingsJsonSchema } from '../../src/config/json-schema.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'

const registry = createRegistry(workers)
const text = (schema: unknown) => `${JSON.stringify(schema, null, 2)}\n`

/** Schemas of the files that people write, for completion and checks in their editors. */
export const generators: readonly Generator[] = [
  { path: 'schema/settings.schema.json', render: () => text(settingsJsonSchema(registry)) },
  { path: 'schema/inventory.schema.json', render: () => text(inventoryJsonSchema(registry)) },
]
