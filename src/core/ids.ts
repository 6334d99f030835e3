import { encodeTime, monotonicFactory } from 'ulid'
import type { Clock } from './clock.ts'

const next = monotonicFactory()

/** A ULID: 26 characters, sortable by time, strictly rising within this process. */
export function newId(clock: Clock): string {
  // A clock that tests turn may stand between two milliseconds.
  return next(Math.floor(clock.now()))
}

/** What every id of this time and later sorts after, and every earlier one before: the first ten characters of an id. */
export function idFloor(epochMs: number): string {
  return encodeTime(Math.max(0, Math.floor(epochMs)))
}
