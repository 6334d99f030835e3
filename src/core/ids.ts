import { monotonicFactory } from 'ulid'
import type { Clock } from './clock.ts'

const next = monotonicFactory()

/** A ULID: 26 characters, sortable by time, strictly rising within this process. */
export function newId(clock: Clock): string {
  // A clock that tests turn may stand between two milliseconds.
  return next(Math.floor(clock.now()))
}

/** Whether a text has the form of a ULID (Crockford's base 32, first character at most 7). */
export function isId(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text)
}
