import type { ErrorCode } from '../core/error-table.ts'
import type { Effect, Priority } from '../core/operation.ts'

/**
 * Batches: one operation over many targets. A batch is the parent of the runs that it makes, one for each target; its
 * own record says what is to be done and how far it is. Times are milliseconds since the epoch.
 */

/**
 * - `running`: it makes runs.
 * - `stopping`: it makes none any longer; those that are there come to their end.
 * - `completed`: there was an outcome for every target.
 * - `failed`: more targets failed than may, so the rest was left alone.
 * - `stopped`: somebody stopped it.
 */
export const BATCH_STATES = ['running', 'stopping', 'completed', 'failed', 'stopped'] as const
export type BatchState = (typeof BATCH_STATES)[number]

/** States in which it has not ended. */
export const OPEN_BATCHES = ['running', 'stopping'] as const satisfies readonly BatchState[]

/**
 * - `target_refused`: there is no run for a target, and it counts as failed.
 * - `target_cut_off`: the stop of the instance has cancelled its run before that acted; it is its turn again.
 * - `rerun_started`: written into the log of the batch whose failed targets are done again, just before that begins.
 */
export const BATCH_EVENT_TYPES = [
  'started',
  'batch_started',
  'target_refused',
  'target_cut_off',
  'limit_exceeded',
  'stop_requested',
  'resumed',
  'finished',
  'rerun_started',
] as const

export interface NewBatchEvent {
  readonly type: (typeof BATCH_EVENT_TYPES)[number]
  readonly at: number
  /** JSON facts, already redacted. */
  readonly data: Readonly<Record<string, unknown>>
}

export interface BatchEvent extends NewBatchEvent {
  /** 1 for the first event of a batch; rises by one. */
  readonly seq: number
}

/** What never changes of a batch. */
export interface BatchFacts {
  readonly select: string
  readonly effect: Effect
  /** The input of every run, normalised, with references instead of secrets. */
  readonly input: unknown
  /** Names of targets in their order: one list for each batch, which begins when the one before has ended. */
  readonly batches: readonly (readonly string[])[]
  /** Most runs at once. */
  readonly parallel: number
  /** Most targets that may fail; null: all of them. */
  readonly failure_limit: number | null
  /** Deadline of each run in seconds; null: that of the operation. */
  readonly timeout: number | null
  readonly priority: Priority
  readonly reason: string | null
  readonly plan_digest: string
  /** SHA-256 of what was asked for, hex: what its key is bound to. */
  readonly request_digest: string
  /** The batch of which this one does the failed targets again. */
  readonly rerun_of: string | null
}

export interface BatchProgress {
  /** Targets with an outcome, failed ones included. */
  readonly done: number
  readonly failed: number
  /** Targets for which there was no run. */
  readonly refused: number
  readonly total: number
  /** Why it ended early. */
  readonly error_code: ErrorCode | null
}

export interface BatchRecord {
  /** ULID. */
  readonly id: string
  readonly operation: string
  readonly principal: string
  /** Idempotency key: of one principal, one batch has it. */
  readonly key: string | null
  readonly state: BatchState
  readonly facts: BatchFacts
  readonly progress: BatchProgress
  readonly created_at: number
  readonly updated_at: number
  readonly finished_at: number | null
}

export type NewBatch = Omit<BatchRecord, 'state' | 'updated_at' | 'finished_at'>

export interface BatchChange {
  readonly id: string
  /** The change happens only from one of these. */
  readonly from: readonly BatchState[]
  readonly to: BatchState
  readonly at: number
  readonly progress?: BatchProgress
  readonly finished_at?: number
  readonly events: readonly NewBatchEvent[]
}

export interface BatchQuery {
  readonly state?: readonly BatchState[]
  readonly operation?: string
  /** Newest first. At most 1,000. */
  readonly limit: number
  /** Only batches with a smaller id than this one: the last of the page before. */
  readonly before?: string
}

/** The part of the journal's port that is about batches. */
export interface BatchStore {
  /**
   * Writes a new batch, `running`, with its first events. Where the principal has used its key before, nothing is written
   * and that batch is the answer: it has another id.
   */
  createBatch(batch: NewBatch, events: readonly NewBatchEvent[]): Promise<BatchRecord>
  /** Compare and set. The record after the change, or null when the batch was in no state of `from`. */
  changeBatch(change: BatchChange): Promise<BatchRecord | null>
  getBatch(id: string): Promise<BatchRecord | null>
  getKeyedBatch(principal: string, key: string): Promise<BatchRecord | null>
  listBatches(query: BatchQuery): Promise<readonly BatchRecord[]>
  /** Events with a seq greater than `after`, in order. */
  getBatchEvents(id: string, after: number, limit: number): Promise<readonly BatchEvent[]>
}
