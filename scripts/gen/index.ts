import { generators as cliPage } from './cli-page.ts'
import { generators as errorsPage } from './errors-page.ts'
import type { Generator } from './generator.ts'
import { generators as mcpTools } from './mcp-tools.ts'
import { generators as names } from './names.ts'
import { generators as notRun } from './not-run.ts'
import { generators as openapi } from './openapi.ts'
import { generators as operationsPage } from './operations-page.ts'
import { renderScriptsPage } from './scripts-page.ts'
import { generators as settingsPage } from './settings-page.ts'
import { generators as settingsSchemas } from './settings-schema.ts'
import { generators as terminalKeys } from './terminal-keys-page.ts'

/** Every derived file that is checked in. A new one is a line here; `npm test` fails while one is stale. */
export const generators: readonly Generator[] = [
  { path: 'docs/reference/scripts.md', render: renderScriptsPage },
  ...names,
  ...operationsPage,
  ...cliPage,
  ...mcpTools,
  ...openapi,
  ...errorsPage,
  ...settingsPage,
  ...settingsSchemas,
  ...terminalKeys,
  ...notRun,
]
