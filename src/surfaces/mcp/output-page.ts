import { incompleteEnd } from '../../core/utf8.ts'
import { jsonBytes } from './answer-size.ts'

/**
 * One page of a run's output that fits into an answer. The journal keeps output in pieces of up to 64 KiB, which may be
 * more than an answer takes, so a cursor of ours may also lie within a piece: the piece's own cursor in the lower 32
 * bits, the bytes of the next piece that have been read already above them. A cursor of the journal is one of ours.
 */

/** Bytes of JSON that the pieces of one page take; the text for people has them once more. */
const PAGE_BYTES = 36_000
/** What a piece takes beside its text: the names of its fields, a stream's name, a number. */
const PIECE_BYTES = 100
/** Pieces of one page; a command that writes slowly leaves many small ones. */
const MAX_PIECES = 200

const SEQ_RANGE = 2 ** 32

export interface OutputPiece {
  readonly stream: string
  readonly text: string
  readonly gap_bytes: number
}

export interface OutputPage {
  readonly run_id: string
  readonly chunks: readonly OutputPiece[]
  readonly next_cursor: number
  readonly ended: boolean
}

/** Reads the journal from one of its own cursors on; pieces in base64. */
export type ReadOutput = (cursor: number, max_bytes: number) => Promise<OutputPage>

export interface PageRequest {
  readonly cursor: number
  readonly max_bytes: number
  readonly encoding: 'utf8' | 'base64'
}

export async function outputPage(read: ReadOutput, request: PageRequest): Promise<OutputPage> {
  let cursor = request.cursor % SEQ_RANGE
  let skip = Math.floor(request.cursor / SEQ_RANGE)
  const chunks: OutputPiece[] = []
  const room = { bytes: request.max_bytes, json: PAGE_BYTES }
  for (;;) {
    // One piece at a time: only so is the cursor after each of them known.
    const page = await read(cursor, 1)
    const [piece] = page.chunks
    if (piece === undefined) return { ...page, chunks, next_cursor: cursor }
    const bytes = Buffer.from(piece.text, 'base64')
    const whole = bytes.subarray(skip)
    const taken = prefixWithin(whole, request.encoding, chunks.length === 0, room)
    const gap_bytes = skip === 0 ? piece.gap_bytes : 0
    const cut = taken.length < whole.length
    if (taken.length > 0 || whole.length === 0) {
      const text = taken.toString(request.encoding)
      chunks.push({ stream: piece.stream, text, gap_bytes })
      room.bytes -= taken.length
      room.json -= jsonBytes(text) + PIECE_BYTES
    }
    if (cut) return { ...page, chunks, next_cursor: cursor + (skip + taken.length) * SEQ_RANGE, ended: false }
    cursor = page.next_cursor
    skip = 0
    if (page.ended || chunks.length >= MAX_PIECES) return { ...page, chunks, next_cursor: cursor }
  }
}

/** The longest beginning that there is room for, cut between characters; at least one character of the first piece. */
function prefixWithin(
  bytes: Buffer,
  encoding: 'utf8' | 'base64',
  first: boolean,
  room: { readonly bytes: number; readonly json: number },
): Buffer {
  // Whole groups of three bytes, so that base64 of one page ends where that of the next begins.
  const cut = (length: number) => {
    const part = bytes.subarray(0, length)
    if (length === bytes.length) return part
    if (encoding === 'base64') return part.subarray(0, length - (length % 3))
    return part.subarray(0, length - incompleteEnd(part))
  }
  let fits = cut(Math.max(0, Math.min(bytes.length, room.bytes)))
  while (fits.length > 0 && jsonBytes(fits.toString(encoding)) + PIECE_BYTES > room.json) {
    fits = cut(Math.floor(fits.length * 0.75))
  }
  if (fits.length > 0 || !first || bytes.length === 0) return fits
  for (let length = 1; length <= bytes.length; length++) {
    const least = cut(length)
    if (least.length > 0) return least
  }
  return bytes
}
