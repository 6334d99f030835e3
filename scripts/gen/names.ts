import { createRegistry } from '../../src/core/registry.ts'
import { nameTable } from '../../src/surfaces/names.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'
import { jsonText } from './names-json.ts'

/** What everything is called on every surface: reviewed, since a name that changes breaks its callers. */
export function renderNames(): string {
  const names = nameTable(createRegistry(workers))
  return jsonText(
    names.map(({ kind, id, mcp, cli, http }) => ({
      kind,
      id,
      mcp,
      cli: cli.join(' '),
      http,
    })),
  )
}

export const generators: readonly Generator[] = [{ path: 'docs/reference/names.json', render: renderNames }]
