import { readFileSync } from 'node:fs'
import { parsePage } from '../docs/blocks.ts'
import { followedPages } from '../docs/pages.ts'
import { inRoot } from '../lib/paths.ts'
import type { Generator } from './generator.ts'

/** The blocks of the pages that no test runs, each with its reason. */
function renderNotRun(): string {
  const rows = followedPages().flatMap((page) =>
    parsePage(readFileSync(inRoot(page), 'utf8')).blocks.flatMap(({ lang, info }) =>
      info['no-run'] === undefined ? [] : [`| ${page} | \`${lang}\` | ${info['no-run']} |`],
    ),
  )
  return ['', '| page | block | why it is not run |', '| --- | --- | --- |', ...rows, ''].join('\n')
}

export const generators: readonly Generator[] = [{ path: 'docs/README.md', region: 'not-run', render: renderNotRun }]
