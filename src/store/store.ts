import type { Principal, StateChanges } from '../core/context.ts'
import type { ErrorCode } from '../core/error-table.ts'
import type { NewRunEvent, RunEvent } from '../core/events.ts'
import type { Effect, Priority } from '../core/operation.ts'
import type { EffectCertainty, FinalStatus, RunStatus } from '../core/run-status.ts'
import type { BatchStore } from './batch.ts'
import type { DeadLetterStore, NewDeadLetter } from './dead-letter.ts'
import type { OutboxStore } from './outbox.ts'
import type { RecordStore } from './records.ts'

/**
 * The journal's port. Everything in it is asynchronous, redacted by the caller, and JSON or bytes. A promise of a
 * write is fulfilled only when the write is on stable storage. Each method that writes is one atomic change.
 *
 * Errors: MHV_JOURNAL_FULL (no room), MHV_JOURNAL_UNAVAILABLE (did not take it), MHV_JOURNAL_CORRUPT,
 * MHV_INSTANCE_FENCED (another process has opened the journal for writing since; nothing was written, nor will be).
 */

/** Number of the journal's format: raised by every migration. An older program refuses a newer one by name. */
export const JOURNAL_FORMAT = 4

/** Facts of a run that never change. Times are milliseconds since the epoch. */
export interface RunFacts {
  readonly run_id: string
  readonly worker: string
  readonly operation: string
  readonly target: string | null
  readonly tier: string | null
  readonly worker_id: string
  readonly principal: Principal['id']
  readonly surface: string
  readonly effect: Effect
  readonly priority: Priority
  readonly reason: string | null
  /** The normalised input, with references instead of secrets: enough to run it again exactly. */
  readonly input: unknown
  readonly accepted_at: number
  readonly deadline: number
  /** The run whose dead letter this one replays. */
  readonly replay_of: string | null
  /** The batch that this run is one target of. */
  readonly parent: string | null
}

/** How a run ended. */
export interface RunEnd {
  readonly status: FinalStatus
  readonly effect_certainty: EffectCertainty
  readonly output: string | null
  readonly data: unknown
  readonly error: string | null
  readonly error_code: ErrorCode | null
  readonly error_details: Readonly<Record<string, unknown>> | null
  readonly exit_code: number | null
  readonly attempts: number
  readonly finished_at: number
}

/** A run as the journal has it; the fields of its end are null while it goes on. */
export interface RunRecord extends RunFacts {
  readonly status: RunStatus
  readonly started_at: number | null
  readonly end: RunEnd | null
  /** The fence of the process that has it, or that had it last: see `Store.fence`. */
  readonly fence: number
  /** Id of its dead letter; null where it has none, or where the letters were full. */
  readonly dead_letter: string | null
}

/** Who may use a key again, and for what. */
export interface KeyScope {
  readonly principal: string
  readonly operation: string
  readonly target: string | null
  readonly key: string
}

/** The run that a key leads to now. */
export interface KeyedRun {
  readonly digest: string
  readonly run: RunRecord
}

export interface IdempotencyClaim {
  readonly key: string
  /** SHA-256 of operation, target and normalised input, hex. */
  readonly digest: string
  /** Until when the key is kept, milliseconds since the epoch. */
  readonly expires_at: number
}

export interface NewRun {
  readonly facts: RunFacts
  /** `pending` or `running` with no end; a final status with its end (a read, journaled once). */
  readonly status: RunStatus
  readonly started_at: number | null
  readonly end?: RunEnd
  readonly events: readonly NewRunEvent[]
  readonly idempotency?: IdempotencyClaim
  /** Only with an end. */
  readonly dead_letter?: NewDeadLetter
}

/**
 * - `created`: the run is there now.
 * - `attached`: the key was used with the same input; this is that run, running or finished.
 * - `reopened`: that run had failed with certainty none; the same run is now `status` again, its facts unchanged but
 *   for the new deadline, with the events added.
 * - `mismatch`: the key was used with another input; nothing was written.
 */
export interface CreateOutcome {
  readonly kind: 'created' | 'attached' | 'reopened' | 'mismatch'
  readonly run: RunRecord
  /** Attempts that the run had before it was reopened; 0 for the other kinds. */
  readonly attempts_before: number
}

export interface RunChange {
  readonly run_id: string
  /** The change happens only from one of these. */
  readonly from: readonly RunStatus[]
  readonly to: RunStatus
  readonly started_at?: number
  readonly end?: RunEnd
  readonly events: readonly NewRunEvent[]
  /** Only with an end. */
  readonly dead_letter?: NewDeadLetter
}

export interface RunAdoption {
  readonly run_id: string
  readonly from_fence: number
  readonly events: readonly NewRunEvent[]
}

export interface RunQuery {
  readonly worker?: string
  readonly operation?: string
  readonly target?: string
  readonly principal?: string
  /** Id of a batch. */
  readonly parent?: string
  readonly status?: readonly RunStatus[]
  /** accepted_at at or after, and before. */
  readonly since?: number
  readonly until?: number
  /** Newest first. At most 1,000. */
  readonly limit: number
  /** Only runs with a smaller id than this one: the last of the page before. */
  readonly before?: string
}

/** A piece of output in the order in which it came. `gap_bytes` counts bytes that were not kept just before it. */
export interface NewOutputChunk {
  readonly stream: 'stdout' | 'stderr'
  readonly bytes: Uint8Array
  readonly gap_bytes: number
}

export interface OutputChunk extends NewOutputChunk {
  /** 1 for the first chunk of a run; rises by one over both streams. */
  readonly seq: number
}

export interface AuditEntry {
  /** Rises by one; given by the store. */
  readonly seq: number
  readonly at: number
  readonly principal: string
  /** What was asked for: an operation id or a control call. */
  readonly action: string
  readonly target: string | null
  readonly decision: 'allow' | 'deny' | 'approve'
  /** The rule that decided, or null where none matched. */
  readonly rule: string | null
  readonly run_id: string | null
  readonly details: Readonly<Record<string, unknown>>
}
export type NewAuditEntry = Omit<AuditEntry, 'seq'>

export interface StoreFacts {
  readonly kind: 'sqlite' | 'memory'
  readonly format: number
  readonly runs: number
  /** Bytes on disk; 0 for memory. */
  readonly bytes: number
  /** What was asserted of the database at start, for `doctor`. */
  readonly pragmas: Readonly<Record<string, string | number>>
}

export interface Store extends BatchStore, DeadLetterStore, OutboxStore, RecordStore {
  /**
   * The number of this opening: every opening for writing takes the one after the last. A journal that has been opened
   * for writing again refuses all that this one still sends, with MHV_INSTANCE_FENCED. 0 where it is only read.
   */
  readonly fence: number
  /** Writes a new run, its first events and its idempotency key in one transaction. */
  createRun(run: NewRun): Promise<CreateOutcome>
  /** Compare and set. The record after the change, or null when the run was in no status of `from`. */
  changeRun(change: RunChange): Promise<RunRecord | null>
  /**
   * Takes over an unfinished run from the process that had it, which is gone: the run gets this opening's fence and the
   * events, and stays as it is. Null where its fence is not `from_fence` any longer, or it is not `running`.
   */
  adoptRun(adoption: RunAdoption): Promise<RunRecord | null>
  appendEvents(run_id: string, events: readonly NewRunEvent[]): Promise<void>
  appendOutput(run_id: string, chunks: readonly NewOutputChunk[]): Promise<void>
  appendAudit(entry: NewAuditEntry): Promise<void>

  getRun(run_id: string): Promise<RunRecord | null>
  /** The run of a key that is kept at `now`; null where there is none. It sees every write that was sent before it. */
  getKeyedRun(scope: KeyScope, now: number): Promise<KeyedRun | null>
  listRuns(query: RunQuery): Promise<readonly RunRecord[]>
  /** Runs in no final status, oldest first. */
  unfinishedRuns(): Promise<readonly RunRecord[]>
  /** Events with a seq greater than `after`, in order. */
  getEvents(run_id: string, after: number, limit: number): Promise<readonly RunEvent[]>
  /** Chunks with a seq greater than `after`, in order, until `maxBytes` are reached (at least one chunk). */
  getOutput(run_id: string, after: number, maxBytes: number): Promise<readonly OutputChunk[]>
  listAudit(query: { readonly after?: number; readonly limit: number }): Promise<readonly AuditEntry[]>

  stateGet(worker: string, key: string): Promise<unknown>
  stateSet(worker: string, key: string, value: unknown): Promise<void>
  stateDelete(worker: string, key: string): Promise<void>
  /** Deletes, then sets, in one transaction. */
  stateApply(worker: string, changes: StateChanges): Promise<void>
  stateList(worker: string, prefix: string): Promise<readonly { readonly key: string; readonly value: unknown }[]>

  /** Removes idempotency keys past their time, unless their run has an open dead letter; the number removed. */
  expireKeys(now: number): Promise<number>
  /** Fulfilled while this opening is the last one for writing. Writes nothing. Throws MHV_INSTANCE_FENCED. */
  assertOwner(): Promise<void>
  /** A write and a read that leave nothing behind: fulfilled when the journal works. */
  check(): Promise<void>
  facts(): Promise<StoreFacts>
  /** Commits what has arrived, then closes. Later calls are refused with MHV_JOURNAL_UNAVAILABLE. */
  close(): Promise<void>
}
