import { globSync } from 'node:fs'
import { inRoot } from '../lib/paths.ts'

/** Pages that a reader follows, from the checkout. Those of docs/reference are made from declarations. */
export function followedPages(): readonly string[] {
  const found = globSync(['README.md', 'docs/*.md', 'docs/guides/*.md', 'docs/runbooks/*.md'], { cwd: inRoot() })
  return found.map((path) => path.replaceAll('\\', '/')).sort()
}
