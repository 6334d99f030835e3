import { basename, isAbsolute } from 'node:path'
import { mhvError } from '../../../core/errors.ts'

/** What only a shell understands: outside of quotes it is refused rather than passed on as text. */
const SHELL_ONLY = /[|&;<>()$`\n\r*?[\]#~!{}]/

/**
 * A command line as its words, with quotes and backslashes as a POSIX shell reads them and nothing else of a shell.
 *
 * @throws MHV_INPUT_INVALID where a quote is not closed, or where something stands outside of quotes that needs a shell
 */
export function commandWords(line: string): readonly [program: string, ...args: string[]] {
  const words: string[] = []
  let word: string | undefined
  for (let at = 0; at < line.length; at++) {
    const character = line[at] as string
    if (character === "'" || character === '"') {
      const { text, next } = quotedFrom(line, at)
      word = (word ?? '') + text
      at = next
    } else if (character === '\\') {
      at += 1
      if (at >= line.length) throw wrong('it ends with a backslash')
      word = (word ?? '') + line[at]
    } else if (character === ' ' || character === '\t') {
      if (word !== undefined) words.push(word)
      word = undefined
    } else {
      if (SHELL_ONLY.test(character)) throw wrong(`${JSON.stringify(character)} needs a shell`)
      word = (word ?? '') + character
    }
  }
  if (word !== undefined) words.push(word)
  const [program, ...args] = words
  if (program === undefined || program === '') throw wrong('it names no program')
  return [program, ...args]
}

function quotedFrom(line: string, from: number): { readonly text: string; readonly next: number } {
  const quote = line[from]
  let text = ''
  for (let at = from + 1; at < line.length; at++) {
    const character = line[at] as string
    if (character === quote) return { text, next: at }
    if (quote === '"' && character === '\\' && '"\\$`'.includes(line[at + 1] ?? ' ')) {
      at += 1
      text += line[at]
    } else if (quote === '"' && (character === '$' || character === '`')) throw wrong(`"${character}" needs a shell`)
    else text += character
  }
  throw wrong('a quote is not closed')
}

function wrong(why: string) {
  return mhvError('MHV_INPUT_INVALID', `command: ${why}`, {
    remedy: 'Give one program and its arguments, or start a shell and type into it.',
  })
}

/**
 * Refuses a program that is not in the list. A name without a slash stands for the program of that name that is found in
 * PATH; a path stands for itself.
 *
 * @throws MHV_TERMINAL_COMMAND_DENIED
 */
export function assertAllowed(program: string, allowed: readonly string[]): void {
  if (allowed.includes('*') || allowed.includes(program)) return
  const named = isAbsolute(program) ? basename(program) : undefined
  const hint = named !== undefined && allowed.includes(named) ? ` (the name "${named}" is, without a path)` : ''
  throw mhvError(
    'MHV_TERMINAL_COMMAND_DENIED',
    `${JSON.stringify(program)} is not among the programs that sessions may start${hint}`,
    {
      details: { allowed },
    },
  )
}
