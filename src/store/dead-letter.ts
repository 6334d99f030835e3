import type { ErrorCode } from '../core/error-table.ts'
import type { Effect } from '../core/operation.ts'
import type { EffectCertainty } from '../core/run-status.ts'

/**
 * Dead letters in the journal: runs that failed for good, kept with everything that a replay needs. A letter is written
 * in the transaction that ends its run, and a run has at most one: a run that is opened again under its key takes its
 * letter along (`archived` until it fails again).
 */

export const DEAD_LETTER_STATES = ['open', 'replaying', 'replayed', 'archived', 'poison'] as const
/**
 * - `open`: waits to be replayed, by somebody or at `next_at`.
 * - `replaying`: its replay `last_run_id` runs.
 * - `replayed`: a replay completed.
 * - `archived`: set aside; not replayed by itself.
 * - `poison`: used up its replays.
 */
export type DeadLetterState = (typeof DEAD_LETTER_STATES)[number]

/** States of a letter that is still to be dealt with: it pins its run's idempotency key. */
export const PINNING_STATES = ['open', 'replaying'] as const satisfies readonly DeadLetterState[]

export const REPLAY_POLICIES = ['never', 'linear', 'exponential', 'immediate'] as const
export type ReplayPolicy = (typeof REPLAY_POLICIES)[number]

export const OVERFLOW_RULES = ['drop_oldest', 'reject'] as const
export type OverflowRule = (typeof OVERFLOW_RULES)[number]

/** How much is kept, and what gives way. */
export interface DeadLetterLimits {
  readonly max_count: number
  /** Of all letters together, by their `bytes`. */
  readonly max_bytes: number
  /**
   * `drop_oldest` removes the oldest ones until the new one fits, those that are done with first (replayed, archived,
   * poison, then open; never one that is being replayed); `reject` does not take the new one. Both are counted.
   */
  readonly overflow: OverflowRule
}

/** A letter as it is asked for; the rest comes from the run and its end. */
export interface NewDeadLetter {
  /** ULID. Where the run has a letter already, that one is opened again and keeps its id and its replays. */
  readonly id: string
  readonly policy: ReplayPolicy
  readonly max_replays: number
  /** When it is replayed by itself, milliseconds since the epoch; null: only when somebody asks. */
  readonly next_at: number | null
  readonly limits: DeadLetterLimits
}

/** Times are milliseconds since the epoch. */
export interface DeadLetter {
  /** ULID. */
  readonly id: string
  readonly run_id: string
  readonly worker: string
  readonly operation: string
  readonly target: string | null
  readonly principal: string
  readonly error_code: ErrorCode | null
  readonly error: string | null
  readonly effect: Effect
  readonly effect_certainty: EffectCertainty
  readonly state: DeadLetterState
  /** Replays that were begun. */
  readonly replays: number
  readonly max_replays: number
  readonly policy: ReplayPolicy
  readonly next_at: number | null
  /** The last replay's run. */
  readonly last_run_id: string | null
  readonly created_at: number
  readonly updated_at: number
  /** What it counts for the limits: its input, its error and a fixed part, in bytes of UTF-8. */
  readonly bytes: number
}

export interface DeadLetterQuery {
  readonly state?: readonly DeadLetterState[]
  readonly worker?: string
  readonly operation?: string
  readonly target?: string
  readonly principal?: string
  /** Only letters with a smaller id: the last of the page before. */
  readonly before?: string
  /** Newest first. At most 1,000. */
  readonly limit: number
}

/** Compare and set: it happens only from one of `from`. Fields that are absent stay. */
export interface DeadLetterChange {
  readonly id: string
  readonly from: readonly DeadLetterState[]
  readonly to: DeadLetterState
  readonly at: number
  readonly replays?: number
  readonly next_at?: number | null
  readonly last_run_id?: string | null
  readonly error_code?: ErrorCode | null
  readonly error?: string | null
  readonly effect_certainty?: EffectCertainty
  /** Where it is given, the letter has to have so many replays yet: the same replay is not begun twice. */
  readonly expect_replays?: number
}

/** Letters to remove: those with these ids, or those in these states, or both; created before a time. */
export interface DeadLetterSelection {
  readonly ids?: readonly string[]
  readonly state?: readonly DeadLetterState[]
  /** created_at before, milliseconds since the epoch. */
  readonly before?: number
}

export interface DeadLetterStats {
  readonly by_state: Readonly<Record<DeadLetterState, number>>
  /** Of those that are open or being replayed. */
  readonly by_worker: Readonly<Record<string, number>>
  readonly count: number
  readonly bytes: number
  /** Removed or not taken for want of room, since the journal was made. */
  readonly dropped: number
  readonly rejected: number
  /** created_at of the oldest one that is open. */
  readonly oldest_at: number | null
}

/** The part of the journal's port that is about dead letters. */
export interface DeadLetterStore {
  getDeadLetter(id: string): Promise<DeadLetter | null>
  listDeadLetters(query: DeadLetterQuery): Promise<readonly DeadLetter[]>
  /** Open letters whose time has come (`next_at` at or before `now`), the earliest first. */
  dueDeadLetters(now: number, limit: number): Promise<readonly DeadLetter[]>
  changeDeadLetter(change: DeadLetterChange): Promise<DeadLetter | null>
  /** Removes at most `limit`, oldest first, never one that is being replayed; the number removed. */
  deleteDeadLetters(selection: DeadLetterSelection, limit: number): Promise<number>
  deadLetterStats(): Promise<DeadLetterStats>
}
