import { leftOutLine } from '../../core/left-out.ts'

/**
 * How large an answer may be, and how what is larger is made to fit. Everything here counts bytes of JSON, since that is
 * what travels and what clients measure: a control character takes one byte in a target's output and six in an answer.
 */

/**
 * Most bytes of one answer of a tool as JSON: text, structured content and all. Clients cut or refuse answers of about
 * 25,000 tokens, at about four bytes each; what is cut there is lost, so answers end before, with a cursor.
 */
export const ANSWER_BYTES = 100_000

/** Share of the structured content. The rest, less a reserve for what frames the two, is the text's. */
export const STRUCTURED_BYTES = 56_000
export const TEXT_BYTES = 38_000

/** Most bytes of one UTF-16 unit inside a JSON string: those of `\u0001`. */
const MOST_UNIT_BYTES = 6

/** Bytes of one code point inside a JSON string, as `JSON.stringify` writes it in UTF-8. */
function costOf(point: number): number {
  if (point === 0x22 || point === 0x5c) return 2
  if (point < 0x20) return point >= 8 && point <= 13 && point !== 11 ? 2 : 6
  if (point < 0x80) return 1
  if (point < 0x800) return 2
  // A surrogate without its partner is escaped.
  if (point >= 0xd800 && point <= 0xdfff) return 6
  return point < 0x10000 ? 3 : 4
}

/** Bytes of a value as JSON. */
export function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? '')
}

/** How many UTF-16 units from `start` on take at most so many bytes of JSON. Never parts a surrogate pair. */
export function unitsWithin(text: string, start: number, bytes: number): number {
  let at = start
  let left = bytes
  while (at < text.length) {
    const point = text.codePointAt(at) as number
    left -= costOf(point)
    if (left < 0) break
    at += point > 0xffff ? 2 : 1
  }
  return at - start
}

function unitsWithinFromEnd(text: string, bytes: number): number {
  let at = text.length
  let left = bytes
  while (at > 0) {
    const low = text.charCodeAt(at - 1)
    const paired = low >= 0xdc00 && low <= 0xdfff && at > 1 && (text.codePointAt(at - 2) as number) > 0xffff
    left -= paired ? 4 : costOf(low)
    if (left < 0) break
    at -= paired ? 2 : 1
  }
  return text.length - at
}

/** The beginning and the end of a text that would take more than so many bytes of JSON, and a line that counts the rest. */
export function fitted(text: string, bytes: number): string {
  // No UTF-16 unit takes more: a short text need not be counted.
  if (text.length * MOST_UNIT_BYTES <= bytes) return text
  if (unitsWithin(text, 0, bytes) === text.length) return text
  // The line between them has two escaped line breaks, 38 bytes of words in UTF-8, and a number.
  const half = Math.max(0, Math.floor((bytes - 64) / 2))
  const head = unitsWithin(text, 0, half)
  const tail = unitsWithinFromEnd(text, half)
  const gap = leftOutLine(text.length - head - tail, 'characters')
  return text.slice(0, head) + gap + text.slice(text.length - tail)
}

/** How long a text and how many entries of a list may be, from one try to the next. */
const TRIES = [
  { bytes: 12_000, entries: 2_000 },
  { bytes: 4_000, entries: 400 },
  { bytes: 1_000, entries: 100 },
  { bytes: 300, entries: 25 },
] as const

export interface Shrunk {
  readonly value: unknown
  /** Where something was left out: `data.stdout`, `events`. */
  readonly cut: readonly string[]
}

/**
 * A value whose JSON takes at most so many bytes: long texts lose their middle, long lists and maps their end. The shape
 * stays that of its schema. Null where even that is too large.
 */
export function shrunkTo(value: unknown, bytes: number): Shrunk | null {
  if (jsonBytes(value) <= bytes) return { value, cut: [] }
  for (const limit of TRIES) {
    const cut: string[] = []
    const smaller = shorten(value, limit, [], cut)
    if (jsonBytes(smaller) <= bytes) return { value: smaller, cut }
  }
  return null
}

function shorten(value: unknown, limit: (typeof TRIES)[number], path: readonly string[], cut: string[]): unknown {
  if (typeof value === 'string') {
    const text = fitted(value, limit.bytes)
    if (text !== value) note(cut, path)
    return text
  }
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    if (value.length > limit.entries) note(cut, path)
    return value.slice(0, limit.entries).map((each) => shorten(each, limit, path, cut))
  }
  const entries = Object.entries(value)
  if (entries.length > limit.entries) note(cut, path)
  return Object.fromEntries(
    entries.slice(0, limit.entries).map(([key, each]) => [key, shorten(each, limit, [...path, key], cut)]),
  )
}

/** Places that are told: more would be no help. */
const MAX_PLACES = 20

function note(cut: string[], path: readonly string[]): void {
  const place = fitted(path.join('.'), 200)
  if (cut.length < MAX_PLACES && !cut.includes(place)) cut.push(place)
}
