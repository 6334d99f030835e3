import type { Command, Option } from 'commander'
import { createRegistry } from '../../src/core/registry.ts'
import { buildProgram, PROGRAM } from '../../src/surfaces/cli/program.ts'
import { workers } from '../../src/workers/index.ts'
import { exitRows } from './errors-page.ts'
import type { Generator } from './generator.ts'

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')

function optionRow({ flags, description }: Option): string {
  return `| \`${flags.replaceAll('|', '\\|')}\` | ${cell(description)} |`
}

const isGlobal = ({ helpGroupHeading, long }: Option) => helpGroupHeading?.includes('everywhere') || long === '--help'

function commandSection(words: string, command: Command): string {
  const rows = command.options.filter((option) => !isGlobal(option)).map(optionRow)
  const examples = examplesOf(command)
  return [
    `## \`${words} ${command.usage().replace(/^\[options\]$/, '')}`.trimEnd().concat('`'),
    '',
    command.description(),
    ...(rows.length === 0 ? [] : ['', '| option | meaning |', '| --- | --- |', ...rows]),
    ...(examples === '' ? [] : ['', '```sh', examples, '```']),
  ].join('\n')
}

/** The help has them as text after everything else. */
function examplesOf(command: Command): string {
  let help = ''
  command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp()
  return (/^Examples:\n([\s\S]*)$/m.exec(help)?.[1] ?? '').replace(/^ {2}/gm, '').trimEnd()
}

function leaves(command: Command, words: string): readonly (readonly [words: string, command: Command])[] {
  const inner = command.commands.filter((each) => each.name() !== 'help')
  if (inner.length === 0) return [[words, command]]
  return inner.flatMap((each) => leaves(each, `${words} ${each.name()}`))
}

/** Every command with its options, and what the exit codes mean. */
export function renderCliPage(): string {
  const program = buildProgram({ registry: createRegistry(workers), version: '', rest: null, found: () => undefined })
  const [first] = leaves(program, PROGRAM)
  const everywhere = [
    ...program.options.filter(({ long }) => long === '--version'),
    ...(first?.[1].options.filter(isGlobal) ?? []),
  ]
  return [
    '<!-- Made by npm run gen from the declarations of the workers and the table of control calls. -->',
    '# Command line',
    '',
    'Every command with its options. How output, `--json` and quoting work: [the guide](../guides/cli.md).',
    '',
    leaves(program, PROGRAM)
      .map(([words, command]) => commandSection(words, command))
      .join('\n\n'),
    '',
    '## Options everywhere',
    '',
    'Before or after the command:',
    '',
    '| option | meaning |',
    '| --- | --- |',
    ...everywhere.map(optionRow),
    '',
    '## Exit codes',
    '',
    '| code | meaning |',
    '| --- | --- |',
    ...exitRows(),
    '',
  ].join('\n')
}

export const generators: readonly Generator[] = [{ path: 'docs/reference/cli.md', render: renderCliPage }]
