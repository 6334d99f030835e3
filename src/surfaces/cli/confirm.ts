import { createInterface } from 'node:readline/promises'
import { z } from 'zod'
import { mhvError } from '../../core/errors.ts'
import { type Effect, narrower } from '../../core/operation.ts'
import type { RegisteredOperation } from '../../core/registry.ts'
import { quoted } from '../../core/suggest.ts'
import { plainLine } from '../plain-text.ts'
import { notBegun, type Session } from './session.ts'

/** Something that may destroy, before anything of it has happened. */
export interface Destructive {
  /** What will be done: `ssh.wipe on web-1`. */
  readonly doing: string
  /** What has to be typed: the name of the target, or of what is done where there is none. */
  readonly word: string
}

/**
 * The most that an operation with this input may change, by its declaration alone. Input that is not valid asks for
 * nothing: it is refused anyway, with the reason.
 */
export function effectWith({ spec }: RegisteredOperation, input: unknown): Effect {
  if (spec.effectOf === undefined) return spec.effect
  const parsed = z.safeParse(spec.input, input)
  return parsed.success ? narrower(spec.effect, spec.effectOf(parsed.data)) : 'read'
}

/**
 * Asks on the terminal, and resolves when the word was typed. Throws MHV_CLI_NOT_CONFIRMED where it was not, or where
 * there is nobody to ask, and MHV_RUN_CANCELLED_QUEUED at Ctrl-C.
 */
export async function confirm(session: Session, { doing, word }: Destructive): Promise<void> {
  const { stdin, stderr } = session.io
  const what = `${plainLine(doing)} may destroy what cannot be brought back`
  // Where standard input was taken as data, nobody can answer on it any more.
  if (stdin.isTTY !== true || stdin.readableEnded || stderr.isTTY !== true) {
    throw mhvError('MHV_CLI_NOT_CONFIRMED', `${what}, and there is no terminal to ask on`)
  }
  const typed = await ask(session, `${what}.\nType ${plainLine(word)} to go on: `)
  if (session.interrupt.aborted) throw notBegun()
  if (typed !== word) {
    const message = `${what}: ${typed === null ? 'nothing' : quoted(typed)} was typed instead of ${quoted(word)}`
    throw mhvError('MHV_CLI_NOT_CONFIRMED', message)
  }
}

/** A line from the terminal; null at its end, or when the command is interrupted. */
async function ask({ io, interrupt, out }: Session, question: string): Promise<string | null> {
  out.prompt(question)
  const lines = createInterface({ input: io.stdin, terminal: false, signal: interrupt })
  try {
    const closed = new Promise<null>((resolve) => lines.once('close', () => resolve(null)))
    const line = new Promise<string>((resolve) => lines.once('line', resolve))
    return (await Promise.race([line, closed]))?.trim() ?? null
  } finally {
    lines.close()
    // What is left open would keep the program from ending.
    io.stdin.pause()
  }
}
