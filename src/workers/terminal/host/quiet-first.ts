import type { Clock } from '../../../core/clock.ts'

/** How long a session is waited for after a key or a line, in milliseconds: longer than a program takes to show a key. */
const WAITED_FOR_MS = 100
/** A session that wrote no more than this in such a time is quiet: a prompt, a clock, a line of progress now and then. */
const QUIET_BYTES = 2_048
/** Whoever types into a session that writes more types into a flood; or it is a program that asks its terminal on and on. */
const TYPED_BYTES = 32_768
/** Bytes a millisecond that all others may give together meanwhile: while somebody types, and while one only prints. */
const WHILE_TYPING = 250
const WHILE_PRINTING = 1_600
/** What they may give at once after a rest. */
const BURST_MS = 10
/** Longest rest. */
const MOST_MS = 250

/** Names a session. */
type Key = number | string

/**
 * Sessions that flood give way to the quiet ones: while somebody types, or a session prints a little, the others may not
 * keep the machine busy. A program that floods waits for its terminal to be read, and so does everything that is done with
 * its output, in all processes. Where nobody is quiet, nobody is slowed.
 */
export interface QuietFirst {
  /** Somebody has typed into this session. */
  typed(session: Key): void
  /** This session has given output. @returns whether it is quiet: others wait for it now */
  gave(session: Key, bytes: number): boolean
  /** After `gave`: for how many milliseconds this session is not to be read from again; mostly 0. */
  rest(session: Key, bytes: number): number
  /** A session that is not known here was typed into, or was quiet. */
  elsewhere(typed: boolean): void
  forget(session: Key): void
}

interface Written {
  since: number
  bytes: number
  /** What it wrote in the time before. */
  before: number
}

const ELSEWHERE = 'elsewhere'

export function createQuietFirst(clock: Clock): QuietFirst {
  /** Sessions that are waited for, and until when. */
  const typing = new Map<Key, number>()
  const quiet = new Map<Key, number>()
  const written = new Map<Key, Written>()
  let spare = 0
  let spareAt = 0

  function isAnother(session: Key, waitedFor: Map<Key, number>, now: number): boolean {
    for (const [each, until] of waitedFor) {
      if (until < now) waitedFor.delete(each)
      else if (each !== session) return true
    }
    return false
  }

  /** Bytes a millisecond; undefined where this session need not wait. */
  function rateOf(session: Key, now: number): number | undefined {
    if ((quiet.get(session) ?? 0) >= now) return undefined
    if ((typing.get(session) ?? 0) >= now && lately(session, now).bytes <= TYPED_BYTES) return undefined
    if (isAnother(session, typing, now)) return WHILE_TYPING
    return isAnother(session, quiet, now) ? WHILE_PRINTING : undefined
  }

  function lately(session: Key, now: number): Written {
    const known = written.get(session) ?? { since: now, bytes: 0, before: 0 }
    written.set(session, known)
    const age = now - known.since
    if (age >= WAITED_FOR_MS) {
      const before = age < 2 * WAITED_FOR_MS ? known.bytes : 0
      Object.assign(known, { since: now, bytes: 0, before })
    }
    return known
  }

  return {
    typed(session) {
      typing.set(session, clock.monotonic() + WAITED_FOR_MS)
    },
    gave(session, bytes) {
      const now = clock.monotonic()
      const its = lately(session, now)
      its.bytes += bytes
      const isQuiet = its.bytes <= QUIET_BYTES && its.before <= QUIET_BYTES
      if (isQuiet) quiet.set(session, now + WAITED_FOR_MS)
      else quiet.delete(session)
      return isQuiet
    },
    rest(session, bytes) {
      const now = clock.monotonic()
      const rate = rateOf(session, now)
      if (rate === undefined) return 0
      const most = rate * BURST_MS
      spare = Math.min(most, Math.max(spare, -rate * MOST_MS) + (now - spareAt) * rate) - bytes
      spareAt = now
      return spare >= 0 ? 0 : Math.min(MOST_MS, Math.ceil(-spare / rate))
    },
    elsewhere(typed) {
      ;(typed ? typing : quiet).set(ELSEWHERE, clock.monotonic() + WAITED_FOR_MS)
    },
    forget(session) {
      for (const each of [typing, quiet, written]) each.delete(session)
    },
  }
}
