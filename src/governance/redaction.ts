import { MIN_SECRET_LENGTH } from '../core/secret.ts'

export const MASK = '[redacted]'
const MASK_BYTES = Buffer.from(MASK)

/** Masks secrets in a stream of bytes, also where a secret is split over chunks. */
export interface StreamRedactor {
  /** The bytes that are safe to pass on by now; what may be the beginning of a secret is held back. */
  push(bytes: Uint8Array): Uint8Array
  /** What was held back. */
  end(): Uint8Array
}

/** Masks every secret that was resolved in this process, by value, in all that is written or sent. */
export interface Redactor {
  /** From now on this value is masked. */
  add(value: string): void
  text(text: string): string
  /** A copy with every string in it masked (keys too); the value itself when there is nothing to mask. */
  deep<T>(value: T): T
  /** Whether a string anywhere in the value contains a secret. */
  finds(value: unknown): boolean
  stream(): StreamRedactor
}

export function createRedactor(): Redactor {
  /** Longest first, so that a secret within another one does not leave the rest of it behind. */
  let values: string[] = []
  let bytes: Buffer[] = []

  function text(input: string): string {
    let out = input
    for (const value of values) if (out.includes(value)) out = out.replaceAll(value, MASK)
    return out
  }

  function deep<T>(value: T): T {
    return values.length === 0 ? value : (mapStrings(value, text) as T)
  }

  return {
    add(value) {
      if (value.length < MIN_SECRET_LENGTH || values.includes(value)) return
      values = [...values, value].sort((a, b) => b.length - a.length)
      bytes = values.map((each) => Buffer.from(each))
    },
    text,
    deep,
    finds(value) {
      if (values.length === 0) return false
      let found = false
      mapStrings(value, (each) => {
        found ||= values.some((secret) => each.includes(secret))
        return each
      })
      return found
    },
    stream: () => streamRedactor(() => bytes),
  }
}

function mapStrings(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === 'string') return map(value)
  if (Array.isArray(value)) return value.map((each) => mapStrings(each, map))
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [map(key), mapStrings(each, map)]))
}

function streamRedactor(secrets: () => readonly Buffer[]): StreamRedactor {
  let held: Buffer = Buffer.alloc(0)

  function take(chunk: Uint8Array, last: boolean): Uint8Array {
    const known = secrets()
    if (known.length === 0 && held.length === 0) return chunk
    const buffer =
      held.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) : Buffer.concat([held, chunk])
    const holdAt = last ? buffer.length : partialAt(buffer, known)
    const pieces: Uint8Array[] = []
    let at = 0
    for (;;) {
      const hit = firstHit(buffer, known, at)
      // A longer secret that began no later may still be arriving: wait for it instead of masking the shorter one.
      if (hit === undefined || holdAt <= hit.at) break
      pieces.push(buffer.subarray(at, hit.at), MASK_BYTES)
      at = hit.at + hit.length
    }
    const until = Math.max(at, holdAt)
    pieces.push(buffer.subarray(at, until))
    held = Buffer.from(buffer.subarray(until))
    return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces)
  }

  return { push: (chunk) => take(chunk, false), end: () => take(new Uint8Array(0), true) }
}

function firstHit(buffer: Buffer, secrets: readonly Buffer[], from: number) {
  let best: { at: number; length: number } | undefined
  for (const secret of secrets) {
    const at = buffer.indexOf(secret, from)
    // Secrets come longest first, so at the same place the longest one stays.
    if (at >= 0 && (best === undefined || at < best.at)) best = { at, length: secret.length }
  }
  return best
}

/** Where the longest end of the buffer begins that is the beginning of a secret; the buffer's length if none does. */
function partialAt(buffer: Buffer, secrets: readonly Buffer[]): number {
  let best = buffer.length
  for (const secret of secrets) {
    const first = secret[0] as number
    let at = buffer.indexOf(first, Math.max(0, buffer.length - secret.length + 1))
    while (at >= 0 && at < best) {
      if (secret.subarray(0, buffer.length - at).equals(buffer.subarray(at))) best = at
      at = buffer.indexOf(first, at + 1)
    }
  }
  return best
}
