import { type MhvError, mhvError } from '../core/errors.ts'
import { type FoundSecrets, MASK, type Masker } from '../core/masker.ts'
import { plainJson } from '../core/plain-json.ts'
import { MIN_SECRET_LENGTH } from '../core/secret.ts'

export { MASK }

const MASK_BYTES = Buffer.from(MASK)

/** Masks secrets in a stream of bytes, also where a secret is split over chunks. */
export interface StreamRedactor {
  /** The bytes that are safe to pass on by now; what may be the beginning of a secret is held back. */
  push(bytes: Uint8Array): Uint8Array
  /** What was held back. */
  end(): Uint8Array
}

/** Masks every secret that was resolved in this process, by value, in all that is written or sent. */
export interface Redactor extends Masker {
  /** From now on this value is masked, also as JSON and URLs write it. */
  add(value: string): void
  text(text: string): string
  /** A copy with every string in it masked (keys too); the value itself when there is nothing to mask. */
  deep<T>(value: T): T
  /** Whether a string anywhere in the value contains a secret. */
  finds(value: unknown): boolean
  stream(): StreamRedactor
}

export function createRedactor(): Redactor {
  let values: readonly string[] = []
  let bytes: readonly Buffer[] = []

  const text = (input: string) => maskText(input, values)

  return {
    add(value) {
      if (value.length < MIN_SECRET_LENGTH || values.includes(value)) return
      values = [...new Set([...values, ...spellings(value)])]
      bytes = values.map((each) => Buffer.from(each))
    },
    text,
    deep: <T>(value: T) => (values.length === 0 ? value : (mapStrings(value, text) as T)),
    finds(value) {
      if (values.length === 0) return false
      let found = false
      mapStrings(value, (each) => {
        found ||= values.some((secret) => each.includes(secret))
        return each
      })
      return found
    },
    find(subject): FoundSecrets {
      const view = Buffer.from(subject.buffer, subject.byteOffset, subject.byteLength)
      return { spans: spansOf(view, bytes), open: partialAt(view, bytes) }
    },
    stream: () => streamRedactor(() => bytes),
  }
}

/** The error as it may leave the process: everything in it masked, and without its cause, which only the log has. */
export function redactError(redactor: Pick<Redactor, 'text' | 'deep'>, error: MhvError): MhvError {
  return mhvError(error.code, redactor.text(error.message), {
    details: redactor.deep(error.details),
    remedy: redactor.text(error.remedy),
    retryAfter: error.retryAfter,
  })
}

/** The value as it is, and as it stands within JSON, in a URL, and in the lines of a terminal. */
function spellings(value: string): readonly string[] {
  const url = new URL('http://host')
  url.password = value
  return [
    value,
    JSON.stringify(value).slice(1, -1),
    // Without the halves of characters that no URL can have.
    encodeURIComponent(value.toWellFormed()),
    url.password,
    value.replace(/\r?\n/g, '\r\n'),
  ].filter((each) => each.length >= MIN_SECRET_LENGTH)
}

/** Where a secret stands, from (inclusive) to (exclusive). */
interface Span {
  readonly from: number
  to: number
}

/** All places of all secrets, in order; those that overlap are one. */
function spansOf<T extends string | Buffer>(subject: T, secrets: readonly T[]): readonly Span[] {
  const found: Span[] = []
  for (const secret of secrets) {
    let at = subject.indexOf(secret as string & Buffer)
    while (at >= 0) {
      found.push({ from: at, to: at + secret.length })
      // By one, not by its length: it may overlap itself.
      at = subject.indexOf(secret as string & Buffer, at + 1)
    }
  }
  const spans: Span[] = []
  for (const span of found.sort((a, b) => a.from - b.from)) {
    const last = spans.at(-1)
    if (last !== undefined && span.from < last.to) last.to = Math.max(last.to, span.to)
    else spans.push(span)
  }
  return spans
}

function maskText(input: string, secrets: readonly string[]): string {
  const spans = spansOf(input, secrets)
  if (spans.length === 0) return input
  let out = ''
  let at = 0
  for (const { from, to } of spans) {
    out += input.slice(at, from) + MASK
    at = to
  }
  return out + input.slice(at)
}

/** A copy of JSON with every string mapped. What is not JSON is made JSON first. */
function mapStrings(value: unknown, map: (text: string) => string, above: readonly object[] = []): unknown {
  if (typeof value === 'string') return map(value)
  if (value === null || typeof value !== 'object') return value
  if (above.includes(value)) return '[circular]'
  const inner = (each: unknown) => mapStrings(each, map, [...above, value])
  if (Array.isArray(value)) return value.map(inner)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return mapStrings(plainJson(value), map, [...above, value])
  const taken = new Set<string>()
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [unlike(taken, map(key)), inner(each)]))
}

/** The key, or with a number after it where the same one is there already: two masked keys must not become one. */
function unlike(taken: Set<string>, key: string): string {
  let free = key
  for (let number = 2; taken.has(free); number++) free = `${key} (${number})`
  taken.add(free)
  return free
}

function streamRedactor(secrets: () => readonly Buffer[]): StreamRedactor {
  /** May be the beginning of a secret. */
  let held: Buffer = Buffer.alloc(0)
  /** Bytes at the beginning of `held` for which a mask was passed on already. */
  let masked = 0

  function take(chunk: Uint8Array, last: boolean): Uint8Array {
    const known = secrets()
    if (known.length === 0 && held.length === 0) return chunk
    const view = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const buffer = held.length === 0 ? view : Buffer.concat([held, view])
    // No secret that is still arriving begins before this place, so all that begin before it are here whole.
    const holdAt = last ? buffer.length : partialAt(buffer, known)
    const pieces: Uint8Array[] = []
    let at = masked
    for (const { from, to } of spansOf(buffer, known)) {
      if (from >= holdAt) break
      // One that begins under a mask goes on under it.
      if (from >= at) pieces.push(buffer.subarray(at, from), MASK_BYTES)
      at = Math.max(at, to)
    }
    if (at < holdAt) pieces.push(buffer.subarray(at, holdAt))
    held = Buffer.from(buffer.subarray(holdAt))
    masked = Math.max(0, at - holdAt)
    return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces)
  }

  return { push: (chunk) => take(chunk, false), end: () => take(new Uint8Array(0), true) }
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
