import type { Command, Option } from 'commander'
import { sourceOf, type ValueSource } from './completion-source.ts'

export interface Candidate {
  readonly value: string
  readonly description: string
}

/** What may stand at the cursor. */
export interface Completion {
  /** What the grammar knows itself. */
  readonly candidates: readonly Candidate[]
  /** Where further values come from; null where there are none. */
  readonly source: ValueSource | null
  /** What stands before the value in the same word: `--folder=`. */
  readonly lead: string
  /** The part of the word at the cursor that is typed already, without `lead`. */
  readonly typed: string
  /** Instance folder that the line names; undefined where it names none. */
  readonly folder: string | undefined
}

/** How far the line is understood. */
interface Place {
  readonly command: Command
  /** Arguments of the command that are there already. */
  readonly position: number
  /** The option whose value stands at the cursor. */
  readonly pending: Option | null
  readonly folder: string | undefined
  /** Whether the cursor stands after `help` or after `--`. */
  readonly inHelp: boolean
  readonly afterDashes: boolean
}

/** What may stand at the end of these words (without the program's name), the last of which is being typed. */
export function completionAt(program: Command, words: readonly string[]): Completion {
  const before = words.slice(0, -1)
  const word = words.at(-1) ?? ''
  const place = placeAfter(program, before)
  const { command, pending, folder } = place
  const nothing: Completion = { candidates: [], source: null, lead: '', typed: word, folder }
  if (place.afterDashes) return nothing
  if (pending !== null) return { ...nothing, source: sourceOf(pending) }
  if (place.inHelp) return { ...nothing, candidates: commandsOf(command) }
  const [, lead, typed] = /^(--[^=]+=)(.*)$/.exec(word) ?? []
  if (lead !== undefined && typed !== undefined) {
    const option = optionNamed(command, lead.slice(0, -1))
    return option === undefined ? nothing : { ...nothing, source: sourceOf(option), lead, typed }
  }
  if (word.startsWith('-')) return { ...nothing, candidates: optionsOf(command) }
  const argument = command.registeredArguments[place.position]
  const candidates = place.position === 0 ? commandsOf(command) : []
  return { ...nothing, candidates, source: argument === undefined ? null : sourceOf(argument) }
}

function placeAfter(program: Command, words: readonly string[]): Place {
  let place: Place = {
    command: program,
    position: 0,
    pending: null,
    folder: undefined,
    inHelp: false,
    afterDashes: false,
  }
  for (const word of words) {
    if (word === '--' && place.pending === null) return { ...place, afterDashes: true }
    place = step(place, word)
  }
  return place
}

function step(place: Place, word: string): Place {
  const { command, pending, position } = place
  if (pending !== null) return { ...place, pending: null, folder: folderIn(pending, word) ?? place.folder }
  if (word.startsWith('-') && word !== '-') {
    const [name = '', ...value] = word.split('=')
    const option = optionNamed(command, name)
    if (option === undefined || !(option.required || option.optional)) return place
    if (value.length === 0) return { ...place, pending: option }
    return { ...place, folder: folderIn(option, value.join('=')) ?? place.folder }
  }
  const inner = position === 0 ? command.commands.find((each) => each.name() === word) : undefined
  if (inner !== undefined) return { ...place, command: inner }
  if (command.parent === null && word === 'help') return { ...place, inHelp: true }
  return { ...place, position: position + 1 }
}

function folderIn(option: Option, value: string): string | undefined {
  return option.long === '--folder' && value !== '' ? value : undefined
}

function optionNamed(command: Command, name: string): Option | undefined {
  return command.options.find(({ long, short }) => long === name || short === name)
}

function commandsOf(command: Command): readonly Candidate[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((each) => ({ value: each.name(), description: each.summary() || each.description() }))
}

function optionsOf(command: Command): readonly Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long, description }) => (long ? [{ value: long, description }] : []))
}
