import type { Clock } from '../../../core/clock.ts'

/** How long somebody counts as typing after a key, in milliseconds: longer than a program takes to show it. */
const TYPING_MS = 100
/** While somebody types, all other sessions together are read from for so many bytes in each slice of time. */
const SLICE_BYTES = 8_192
const SLICE_MS = 10

/**
 * While somebody types into a session, the others may not keep the machine busy: a program that floods waits for its
 * terminal to be read, and so does everything that is done with its output, here and in the controller.
 */
export interface TypingFirst {
  /** Somebody has typed into this session. */
  typed(session: number): void
  /** This session was read from. @returns milliseconds for which it is not to be read from again; mostly 0 */
  read(session: number, bytes: number): number
}

export function createTypingFirst(clock: Clock): TypingFirst {
  /** Sessions into which somebody types, and until when. */
  const typing = new Map<number, number>()
  let until = Number.NEGATIVE_INFINITY
  let sliceEnd = 0
  let left = 0

  return {
    typed(session) {
      const now = clock.monotonic()
      until = now + TYPING_MS
      for (const [each, end] of typing) if (end < now) typing.delete(each)
      typing.set(session, until)
    },
    read(session, bytes) {
      const now = clock.monotonic()
      if (now >= until || (typing.get(session) ?? 0) >= now) return 0
      if (now >= sliceEnd) {
        sliceEnd = now + SLICE_MS
        left = SLICE_BYTES
      }
      left -= bytes
      return left > 0 ? 0 : Math.ceil(sliceEnd - now)
    },
  }
}
