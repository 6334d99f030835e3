import { createHash } from 'node:crypto'
import { mhvError } from '../../core/errors.ts'
import { visibleJson } from '../../core/visible-text.ts'
import { unitsWithin } from './answer-size.ts'

/** Bytes of JSON of one piece; the text for people has it once more. */
const PIECE_BYTES = 36_000

export interface Piece {
  readonly text: string
  readonly next_cursor: string | null
  readonly total_characters: number
}

/**
 * One piece of an answer as JSON. The answer is asked for again for every piece, so the cursor names what it was cut
 * from: pieces of two different answers are never joined. Throws MHV_INPUT_INVALID.
 */
export async function readMore(ask: () => Promise<unknown>, cursor: string | undefined): Promise<Piece> {
  const whole = visibleJson(await ask())
  const digest = createHash('sha256').update(whole).digest('hex').slice(0, 16)
  const start = cursor === undefined ? 0 : startOf(cursor, digest, whole.length)
  const end = start + unitsWithin(whole, start, PIECE_BYTES)
  return {
    text: whole.slice(start, end),
    next_cursor: end < whole.length ? `${end}.${digest}` : null,
    total_characters: whole.length,
  }
}

function startOf(cursor: string, digest: string, length: number): number {
  const [, at, of] = /^(\d{1,12})\.([0-9a-f]{16})$/.exec(cursor) ?? []
  if (at === undefined || Number(at) > length) throw mhvError('MHV_INPUT_INVALID', 'cursor: is none of this answer')
  if (of === digest) return Number(at)
  throw mhvError('MHV_INPUT_INVALID', 'cursor: the answer has changed since it was given', {
    remedy: 'Read it from the beginning, without a cursor; a run that has ended changes no more.',
  })
}
