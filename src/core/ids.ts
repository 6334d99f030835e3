import { randomFillSync } from 'node:crypto'
import { encodeTime, monotonicFactory } from 'ulid'
import type { Clock } from './clock.ts'

/** Bytes that are drawn at a time, for 256 ids: drawing takes about 2 µs, and an id is made of 16 numbers. */
const POOL_BYTES = 4_096
const pool = new Uint8Array(POOL_BYTES)
let used = POOL_BYTES

/** A number from 0 to less than 1, out of 256 equally likely ones: eight for each character of an id. */
function nextFraction(): number {
  if (used === POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const byte = pool[used] as number
  // No byte is used for two ids, and none that was used can be read out of memory.
  pool[used] = 0
  used += 1
  return byte / 256
}

const next = monotonicFactory(nextFraction)

/** A ULID: 26 characters, sortable by time, strictly rising within this process. */
export function newId(clock: Clock): string {
  // A clock that tests turn may stand between two milliseconds.
  return next(Math.floor(clock.now()))
}

/** What every id of this time and later sorts after, and every earlier one before: the first ten characters of an id. */
export function idFloor(epochMs: number): string {
  return encodeTime(Math.max(0, Math.floor(epochMs)))
}
