import type { Command, Option } from 'commander'
import { createRegistry } from '../../src/core/registry.ts'
import { actionsOf, examplesOf, isShown } from '../../src/surfaces/cli/grammar.ts'
import { buildProgram } from '../../src/surfaces/cli/program.ts'
import { workers } from '../../src/workers/index.ts'
import { exitRows } from './errors-page.ts'
import type { Generator } from './generator.ts'

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')

function optionRow({ flags, description, argChoices = [] }: Option): string {
  const choices = argChoices.length === 0 ? '' : `: ${argChoices.map((each) => `\`${each}\``).join(', ')}`
  return `| \`${flags.replaceAll('|', '\\|')}\` | ${cell(description)}${choices} |`
}

const isGlobal = ({ helpGroupHeading, long }: Option) => helpGroupHeading?.includes('everywhere') || long === '--help'

function commandSection(words: string, command: Command): string {
  const rows = command.options.filter((option) => !isGlobal(option)).map(optionRow)
  const examples = examplesOf(command).join('\n')
  return [
    `## \`${words} ${command.usage().replace(/^\[options\]$/, '')}`.trimEnd().concat('`'),
    '',
    command.description(),
    ...(rows.length === 0 ? [] : ['', '| option | meaning |', '| --- | --- |', ...rows]),
    ...(examples === '' ? [] : ['', '```sh', examples, '```']),
  ].join('\n')
}

/** Every command with its options, and what the exit codes mean. */
export function renderCliPage(): string {
  const program = buildProgram({ registry: createRegistry(workers), version: '', rest: null, found: () => undefined })
  const actions = actionsOf(program).filter(({ command }) => isShown(command))
  const [first] = actions
  const everywhere = [
    ...program.options.filter(({ long }) => long === '--version'),
    ...(first?.command.options.filter(isGlobal) ?? []),
  ]
  return [
    '<!-- Made by npm run gen from the declarations of the workers and the table of control calls. -->',
    '# Command line',
    '',
    'Every command with its options. How output, `--json` and quoting work: [the guide](../guides/cli.md).',
    '',
    actions.map(({ words, command }) => commandSection(words.join(' '), command)).join('\n\n'),
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
