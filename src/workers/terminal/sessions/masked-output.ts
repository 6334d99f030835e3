import type { Masker } from '../../../core/masker.ts'
import { MIN_SECRET_LENGTH } from '../../../core/secret.ts'
import { incompleteEnd } from '../../../core/utf8.ts'
import { maskPart } from '../recording/mask.ts'
import type { PtySession } from './pty-session.ts'

/** Longest secret that is found where a read cuts it, in bytes. */
const OVERLAP_BYTES = 8_192

export interface MaskedOutput {
  /** Cursor of the first byte. */
  readonly offset: number
  /** Cursor to go on from. Masks are no bytes of the program: it is not `offset` plus the length. */
  readonly next: number
  /** Cursor after all output so far; more than `next` where there is more. */
  readonly end: number
  readonly bytes: Buffer
  /** Bytes between the cursor that was asked for and `offset` that nobody has any more. */
  readonly lost_bytes: number
}

/**
 * Output from a cursor on with its secrets masked, also those that the cut ends of this answer and of the one before it go
 * through. An end that may be the beginning of a secret, and half a character, come with the next answer.
 */
export async function readMasked(
  pty: Pick<PtySession, 'read' | 'exit'>,
  masker: Masker,
  cursor: number,
  maxBytes: number,
): Promise<MaskedOutput> {
  const before = Math.max(0, cursor - OVERLAP_BYTES)
  const read = await pty.read(before, cursor - before + maxBytes + OVERLAP_BYTES)
  const offset = Math.max(cursor, read.offset)
  const lost_bytes = Math.max(0, offset - cursor)
  const from = offset - read.offset
  if (from >= read.bytes.length) {
    return { offset, next: offset, end: Math.max(read.end, offset), bytes: Buffer.alloc(0), lost_bytes }
  }
  const whole = Buffer.from(read.bytes.buffer, read.bytes.byteOffset, read.bytes.byteLength)
  const isLast = pty.exit() !== null && read.offset + whole.length >= read.end
  const wanted = cutAt(masker, whole, from, maxBytes)
  const last = isLast && wanted === whole.length
  const part = maskPart(masker, whole.subarray(0, wanted), { from, last, least: MIN_SECRET_LENGTH })
  const rest = last ? 0 : incompleteEnd(part.bytes)
  return {
    offset,
    next: offset + part.used - rest,
    end: read.end,
    bytes: part.bytes.subarray(0, part.bytes.length - rest),
    lost_bytes,
  }
}

/** Where an answer of at most so many bytes ends: not within a secret that can be seen whole. */
function cutAt(masker: Masker, whole: Buffer, from: number, maxBytes: number): number {
  const limit = from + maxBytes
  if (limit >= whole.length) return whole.length
  const across = masker.find(whole).spans.find((span) => span.from < limit && span.to > limit)
  return across === undefined ? limit : across.to
}
