import { MASK, type Masker } from '../../../core/masker.ts'

const MASK_BYTES = Buffer.from(MASK)

/** The part of some bytes that may be passed on, with its secrets masked. */
export interface MaskedPart {
  readonly bytes: Buffer
  /** How many of the bytes that is; the rest may be the beginning of a secret and has to come again with what follows. */
  readonly used: number
}

/**
 * Masks the secrets in a piece of output from `from` on. What stands before it is only looked at: the end of a secret that
 * begins there is masked too.
 *
 * @param last whether nothing follows, so that nothing needs to be held back
 * @param least an end that may be the beginning of a secret is held back from this many bytes on: 1 holds back a prompt
 *   that happens to end like a secret begins
 */
export function maskPart(
  masker: Masker,
  subject: Uint8Array,
  { from = 0, last, least = 1 }: { readonly from?: number; readonly last: boolean; readonly least?: number },
): MaskedPart {
  const bytes = Buffer.from(subject.buffer, subject.byteOffset, subject.byteLength)
  const { spans, open } = masker.find(bytes)
  let end = bytes.length
  if (!last && bytes.length - open >= least) end = open
  // A secret whose end may be the beginning of another one is held back as a whole.
  const cut = spans.find((span) => span.from < end && span.to > end)
  if (cut !== undefined) end = cut.from
  end = Math.max(end, Math.min(from, bytes.length))
  const pieces: Uint8Array[] = []
  let at = from
  for (const span of spans) {
    if (span.from >= end) break
    if (span.to <= at) continue
    if (span.from >= at) pieces.push(bytes.subarray(at, span.from), MASK_BYTES)
    at = span.to
  }
  if (at < end) pieces.push(bytes.subarray(at, end))
  return { bytes: pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces), used: end - from }
}
