import type { Generator } from './generator.ts'
import { renderScriptsPage } from './scripts-page.ts'

/** Every derived file that is checked in. A new one is a line here; `npm test` fails while one is stale. */
export const generators: readonly Generator[] = [{ path: 'docs/reference/scripts.md', render: renderScriptsPage }]
