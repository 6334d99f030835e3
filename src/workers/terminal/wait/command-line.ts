import { mhvError } from '../../../core/errors.ts'

/** A terminal's line holds 4,095 bytes where the shell does not read key by key; what is beyond is lost there. */
const MAX_LINE = 4000
/** Bytes of a command; a script of more belongs into a file. */
export const MAX_COMMAND = 65_536

/** What is typed for a command, and which of the marks it writes itself. */
export interface TypedCommand {
  readonly line: string
  readonly nonce: string
}

/**
 * The line to type for a command in a shell that marks prompts and outputs. As a word of `eval`, since a command with a
 * syntax error or without an end would otherwise leave the shell asking for the rest of it.
 *
 * @param begins the shell does not mark where an output begins: the line does
 */
export function markedLine(command: string, nonce: string, begins: boolean, longLines: boolean): string {
  const line = evaluated(command)
  return checkedLine(begins ? `${begin(nonce)};${line}` : line, longLines)
}

/** The line for a shell without marks: POSIX, anywhere (a nested ssh, sudo, a container). */
export function selfMarkedLine(command: string, nonce: string): string {
  return checkedLine(`${begin(nonce)};${evaluated(command)};${finish(nonce)}`, false)
}

const begin = (nonce: string) => `printf '\\033]133;C;mhv=%s\\033\\\\' ${nonce}`
const finish = (nonce: string) => `printf '\\033]133;D;%s;mhv=%s\\033\\\\' "$?" ${nonce}`

/** What an editor of lines takes as it stands, in any locale: a tab would complete, a control would do something. */
const TYPEABLE = /^[ -~]*$/

function evaluated(command: string): string {
  if (TYPEABLE.test(command)) return `eval '${command.replaceAll("'", `'\\''`)}'`
  // What is doubtful goes as octal, and the shell's own printf makes it again.
  let encoded = ''
  for (const byte of Buffer.from(command)) {
    const character = String.fromCharCode(byte)
    const safe = TYPEABLE.test(character) && !`'\\%`.includes(character)
    encoded += safe ? character : `\\0${byte.toString(8).padStart(3, '0')}`
  }
  return `eval "$(printf %b '${encoded}')"`
}

function checkedLine(line: string, longLines: boolean): string {
  if (longLines || Buffer.byteLength(line) <= MAX_LINE) return line
  throw mhvError('MHV_INPUT_INVALID', `command: too long for a line of this shell (${MAX_LINE} bytes, written out)`, {
    remedy: 'Write the script into a file and run that, or use bash or zsh.',
  })
}
