import { type ScriptEntry, scriptTable } from '../script-table.ts'

function section({ name, summary, options }: ScriptEntry): string {
  const rows = Object.entries(options ?? {}).map(([option, effect]) => `| ${option} | ${effect} |`)
  const table = rows.length === 0 ? [] : ['', '| option | effect |', '| --- | --- |', ...rows]
  const title = name === 'test' ? 'npm test' : `npm run ${name}`
  return [`## \`${title}\``, '', summary, ...table].join('\n')
}

/** The reference page of the npm scripts. */
export function renderScriptsPage(): string {
  return [
    '<!-- Made by npm run gen from scripts/script-table.ts. -->',
    '# npm scripts',
    '',
    'Every script works on a fresh clone: it first installs the pinned npm packages and, where the machine has an older',
    'Node, one that is new enough (into `node_modules` and `.cache`), and says so on stderr.',
    '',
    scriptTable.map(section).join('\n\n'),
    '',
  ].join('\n')
}
