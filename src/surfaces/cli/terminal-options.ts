import { type Command, InvalidArgumentError, Option } from 'commander'
import { GROUPS } from './grammar.ts'

/** What stands for the key that detaches, where none is named. */
export const DETACH_KEY = 'Ctrl+\\'

/** Adds the options of a command that uses the terminal it is called on. */
export function addTerminalOptions(command: Command, use: 'attach' | 'replay' | undefined): void {
  const add = (flags: string, description: string) => new Option(flags, description).helpGroup(GROUPS.input)
  if (use === 'attach') {
    const key = add('--detach-key <KEY>', 'key that detaches: Ctrl and a letter or one of \\ ] ^ _').default(DETACH_KEY)
    command.addOption(key.argParser((text) => (detachByte(text) === undefined ? refuse(text) : text)))
  }
  if (use === 'replay') {
    command.addOption(add('--speed <NUMBER>', 'how many times as fast as it was').default(1).argParser(positive))
    command.addOption(add('--idle <SECONDS>', 'longest pause').default(2).argParser(positive))
  }
}

/** The byte that a terminal sends for `Ctrl+\`, `ctrl-]`, `^A`; undefined for what is no such key. */
export function detachByte(key: string): number | undefined {
  const found = /^(?:ctrl[+-]|\^)([a-z\\\]^_])$/i.exec(key)?.[1]
  return found === undefined ? undefined : found.toUpperCase().charCodeAt(0) & 0x1f
}

function refuse(text: string): never {
  throw new InvalidArgumentError(`"${text}" is no such key.`)
}

function positive(text: string): number {
  const value = Number(text)
  if (!(value > 0 && value <= 1_000)) throw new InvalidArgumentError('It is no number above 0.')
  return value
}
