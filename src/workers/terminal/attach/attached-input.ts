import type { Logger } from '../../../core/context.ts'
import { type MhvError, mhvError } from '../../../core/errors.ts'
import type { StreamSize } from '../../../core/terminal-stream.ts'
import { MAX_INPUT_BYTES } from '../host/protocol.ts'
import type { LiveSession } from '../sessions/live-session.ts'
import { createTypedLines } from '../sessions/typed-lines.ts'

/** What a session's terminal may have. */
const MOST_ROWS = 500
const MOST_COLS = 1_000
/** Its end is told in another way. */
const OVER: readonly string[] = ['MHV_TERMINAL_ENDED', 'MHV_TERMINAL_LOST']

export interface AttachedInputParts {
  readonly log: Logger
  /** Is given each line that was typed. */
  onLine(line: string): void
  /** Says to whoever is attached what was not done. */
  tell(message: string): void
}

/** What is typed on an attached terminal, and its size, on their way to the session. */
export interface AttachedInput {
  type(bytes: Buffer): void
  resize(size: StreamSize): void
  /** Nothing more comes. What the program has not read yet is still typed, and is not waited for. */
  end(): Promise<{ readonly bytes_in: number; readonly bytes_refused: number }>
}

interface Piece {
  readonly bytes: Buffer
  readonly text: string
  readonly hidden: boolean
}

export function createAttachedInput(session: LiveSession, { log, onLine, tell }: AttachedInputParts): AttachedInput {
  const lines = createTypedLines(onLine)
  const counts = { bytes_in: 0, bytes_refused: 0 }
  let work: Promise<void> = Promise.resolve()
  /** Bytes of which it is not known yet whether they are hidden. */
  let asking = 0
  /** On their way to the terminal, oldest first. */
  const typing = new Set<Piece>()
  let hidden = false
  let lineBegins = true
  /** Bytes that were refused since something was taken. */
  let refusedNow = 0
  let isOver = false

  function taken(piece: Piece): void {
    if (isOver || !typing.delete(piece)) return
    refusedNow = 0
    counts.bytes_in += piece.bytes.length
    lines.push(piece.text, piece.hidden)
  }

  function refused(bytes: number, error: unknown): void {
    counts.bytes_refused += bytes
    const { code, message } = error as MhvError
    if (OVER.includes(code)) return
    if (refusedNow === 0) log.warn('a terminal session did not take what was typed', { ...named(), error: message })
    refusedNow += bytes
    tell(`${refusedNow} bytes that you typed were not taken: ${message}`)
  }

  const named = () => ({ session: session.pty.info.id })

  /** Resolves when they are on their way: what a program leaves unread must not hold up a resize or the end. */
  async function typeNow(bytes: Buffer): Promise<void> {
    const text = bytes.toString('utf8')
    // Asked once a line, before its first character: whoever asks for a password says so before it is typed.
    if (lineBegins && /[^\x00-\x1f\x7f]/.test(text)) {
      hidden = await session.isHidden()
      lineBegins = false
    }
    const piece = { bytes, text, hidden }
    typing.add(piece)
    session.type(bytes, hidden ? text.replace(/[^\x00-\x1f\x7f]+/g, '•') : text).then(
      () => taken(piece),
      (error: unknown) => {
        typing.delete(piece)
        refused(bytes.length, error)
      },
    )
    if (/[\r\n\x03\x04]/.test(text)) {
      lineBegins = true
      hidden = false
    }
  }

  async function resizeNow(rows: number, cols: number): Promise<void> {
    try {
      await session.resize(rows, cols)
    } catch (error) {
      const { code, message } = error as MhvError
      if (OVER.includes(code)) return
      log.warn('a terminal session could not be resized', { ...named(), rows, cols, error: message })
      tell(`the session keeps its size: ${message}`)
    }
  }

  return {
    type(bytes) {
      const count = bytes.length
      if (asking + count > MAX_INPUT_BYTES) {
        const message = `${asking} bytes of input wait already, and ${MAX_INPUT_BYTES} may`
        refused(count, mhvError('MHV_TERMINAL_INPUT_FULL', message))
        return
      }
      const copy = Buffer.from(bytes)
      asking += count
      work = work
        .then(() => typeNow(copy))
        .catch((error: unknown) => refused(count, error))
        .finally(() => {
          asking -= count
        })
    },
    resize({ rows, cols }) {
      if (rows >= 1 && rows <= MOST_ROWS && cols >= 1 && cols <= MOST_COLS) {
        work = work.then(() => resizeNow(Math.floor(rows), Math.floor(cols)))
      } else tell(`the session keeps its size: it may have 1 to ${MOST_ROWS} rows and 1 to ${MOST_COLS} columns`)
    },
    async end() {
      await work
      // A turn for what was taken just now.
      await Promise.resolve()
      for (const piece of typing) {
        counts.bytes_in += piece.bytes.length
        lines.push(piece.text, piece.hidden)
      }
      isOver = true
      lines.end()
      return counts
    },
  }
}
