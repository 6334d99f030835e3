import { type Command, InvalidArgumentError, Option } from 'commander'
import type { GlobalOptions } from './commands.ts'
import { completes } from './completion-source.ts'
import { readPair } from './fields.ts'

/** What every command has, whether it is derived or the program's own. */

export const GROUPS = { input: 'Options:', call: 'Options of every call:', global: 'Options everywhere:' } as const

/** The words after `--`; null where there is no `--`. */
export type Rest = readonly string[] | null

const examples = new WeakMap<Command, () => readonly string[]>()

/**
 * Gives a command that does something its examples, lines to type: they are in its help and in the reference, and the
 * tests run them. Made only when they are asked for.
 */
export function addExamples(command: Command, lines: () => readonly string[]): Command {
  examples.set(command, lines)
  return command.addHelpText('after', () => ['', 'Examples:', ...lines().map((line) => `  ${line}`)].join('\n'))
}

/** The examples of a command; none for a group of commands. */
export function examplesOf(command: Command): readonly string[] {
  return examples.get(command)?.() ?? []
}

/** Every command that does something, with its words. One that has no examples is one without inner commands. */
export function actionsOf(command: Command, words: readonly string[] = [command.name()]): readonly Action[] {
  const inner = command.commands.flatMap((each) => actionsOf(each, [...words, each.name()]))
  const acts = examples.has(command) || command.commands.length === 0
  return acts ? [{ words, command }, ...inner] : inner
}

export interface Action {
  /** The program's name first. */
  readonly words: readonly string[]
  readonly command: Command
}

/** Whether help and reference show a command: the shells' own one is hidden. */
export function isShown(command: Command): boolean {
  return command.parent === null || command.parent.createHelp().visibleCommands(command.parent).includes(command)
}

export function addGroup(program: Command, noun: string, summary: string, description = summary): Command {
  return addGlobals(
    program
      .command(noun)
      .summary(summary)
      .description(description)
      .usage('COMMAND [options]')
      .enablePositionalOptions(),
  ).helpCommand(false)
}

/** They stand on every command, so that they may be written before and after it. */
export function addGlobals(command: Command): Command {
  const options = [
    completes(
      new Option('--folder <FOLDER>', 'instance folder (default: MAHAVISHNU_HOME, else the XDG data folder)').argParser(
        readFolder,
      ),
      { kind: 'folders' },
    ),
    completes(
      new Option('--set <KEY=VALUE>', 'a setting, over all files and variables (may be repeated)').argParser<unknown>(
        (text, before) => ({ ...(before as Record<string, string> | undefined), ...readPair(text) }),
      ),
      { kind: 'assignments' },
    ),
    new Option('--json', 'exactly one JSON document on standard output'),
    new Option('-q, --quiet', 'no notes and no progress on standard error'),
  ]
  for (const option of options) command.addOption(option.helpGroup(GROUPS.global))
  return command.addHelpOption(new Option('-h, --help', 'print help').helpGroup(GROUPS.global))
}

/** A variable that is not set makes an empty word, which would be the folder that one happens to be in. */
function readFolder(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.')
  return text
}

export function globalsOf(command: Command): GlobalOptions {
  const levels: Command[] = []
  for (let level: Command | null = command; level !== null; level = level.parent) levels.unshift(level)
  const given = levels.map((level) =>
    level.opts<{ folder?: string; set?: Record<string, string>; json?: true; quiet?: true }>(),
  )
  const folder = given.findLast((each) => each.folder !== undefined)?.folder
  const set = Object.assign({}, ...given.map((each) => each.set)) as Record<string, string>
  return {
    place: { ...(folder === undefined ? {} : { folder }), set },
    json: given.some((each) => each.json === true),
    quiet: given.some((each) => each.quiet === true),
  }
}

export function refuseRest(command: Command, rest: Rest): void {
  if (rest !== null) throw noWords(command)
}

export function noWords(command: Command): InvalidArgumentError {
  return new InvalidArgumentError(`error: '${command.name()}' takes no words after --`)
}
