import type { WireError } from '../core/errors.ts'
import type { RecordQuery } from '../core/records.ts'
import type { RunStatus } from '../core/run-status.ts'
import type { BatchQuery, BatchState } from './batch.ts'
import type { DeadLetterQuery, DeadLetterState } from './dead-letter.ts'
import type { LetterRow } from './dead-letter-rows.ts'
import type { Row, SqlValue } from './rows.ts'
import type { Pragmas } from './schema.ts'
import type { CreateOutcome, RunQuery } from './store.ts'

/**
 * What crosses between the client and the two threads. Both threads answer in the order in which they were asked, so
 * nothing has a number. The first message of a thread is `ThreadReady` or a refusal.
 */

/** Principal, operation, target ('' for none), key, digest, expires_at. */
export type ClaimRow = readonly [string, string, string, string, string, number]

export type Change =
  | readonly [op: 'createRun', run: Row, events: Row, claim: ClaimRow | null, now: number, letter: LetterRow | null]
  | readonly [
      op: 'changeRun',
      id: string,
      from: readonly RunStatus[],
      to: RunStatus,
      at: number | null,
      end: Row,
      ev: Row,
      letter: LetterRow | null,
    ]
  | readonly [op: 'adoptRun', run_id: string, from_fence: number, events: Row]
  | readonly [op: 'appendEvents', run_id: string, events: Row]
  | readonly [op: 'appendOutput', run_id: string, chunks: Row]
  | readonly [op: 'appendAudit', entry: Row]
  | readonly [op: 'stateSet', worker: string, key: string, json: string]
  | readonly [op: 'stateDelete', worker: string, key: string]
  | readonly [op: 'stateApply', worker: string, set: Row, deleted: readonly string[]]
  | readonly [op: 'appendRecords', worker: string, stream: string, records: Row]
  | readonly [
      op: 'retainRecords',
      worker: string,
      stream: string,
      before: number | null,
      max_bytes: number | null,
      limit: number,
    ]
  | readonly [op: 'expireKeys', now: number, limit: number]
  | readonly [
      op: 'changeDeadLetter',
      id: string,
      from: readonly DeadLetterState[],
      to: DeadLetterState,
      at: number,
      replays: number | null,
      fields: readonly (readonly [column: string, value: SqlValue])[],
    ]
  | readonly [
      op: 'deleteDeadLetters',
      ids: readonly string[] | null,
      states: readonly DeadLetterState[] | null,
      before: number | null,
      limit: number,
    ]
  | readonly [op: 'enqueueOutbox', entry: Row]
  | readonly [op: 'outboxDone', id: string]
  | readonly [op: 'outboxFailed', id: string, attempts: number, next_at: number, error: string]
  | readonly [op: 'createBatch', batch: Row, events: Row]
  | readonly [op: 'changeBatch', id: string, from: readonly BatchState[], values: Row, events: Row]
  | readonly [op: 'getKeyedRun', principal: string, operation: string, target: string, key: string, now: number]
  | readonly [op: 'assertOwner']
  | readonly [op: 'check']

export type ChangeOp = Change[0]
export type ChangeOf<Op extends ChangeOp> = Extract<Change, readonly [Op, ...unknown[]]>

/** What the writer answers, by change. A row lacks what the client has sent itself. */
export interface Answers {
  /** HEAD_COLUMNS for `created` and `reopened`, RUN_COLUMNS for the others. */
  createRun: 'created' | readonly [kind: CreateOutcome['kind'], run: Row, attempts_before: number]
  /** HEAD_COLUMNS. */
  changeRun: Row | null
  /** RUN_COLUMNS. */
  adoptRun: Row | null
  appendEvents: null
  appendOutput: null
  appendAudit: null
  stateSet: null
  stateDelete: null
  stateApply: null
  appendRecords: null
  /** How many records were removed. */
  retainRecords: number
  /** How many keys were removed. */
  expireKeys: number
  /** See decodeDeadLetter. */
  changeDeadLetter: Row | null
  deleteDeadLetters: number
  enqueueOutbox: boolean
  outboxDone: boolean
  outboxFailed: boolean
  /** BATCH_COLUMNS. */
  createBatch: Row
  changeBatch: Row | null
  /** The digest, then RUN_COLUMNS. */
  getKeyedRun: Row | null
  assertOwner: null
  check: null
}
export type Answer = Answers[ChangeOp]

export type Query =
  | readonly [op: 'getRun', run_id: string]
  | readonly [op: 'listRuns', query: RunQuery]
  | readonly [op: 'unfinishedRuns']
  | readonly [op: 'getEvents', run_id: string, after: number, limit: number]
  | readonly [op: 'getOutput', run_id: string, after: number, maxBytes: number]
  | readonly [op: 'listAudit', after: number, limit: number]
  | readonly [op: 'stateGet', worker: string, key: string]
  | readonly [op: 'stateList', worker: string, prefix: string]
  | readonly [op: 'listRecords', worker: string, query: RecordQuery]
  | readonly [op: 'recordStats', worker: string, stream: string]
  | readonly [op: 'countRuns']
  | readonly [op: 'getDeadLetter', id: string]
  | readonly [op: 'listDeadLetters', query: DeadLetterQuery]
  | readonly [op: 'dueDeadLetters', now: number, limit: number]
  | readonly [op: 'deadLetterStats']
  | readonly [op: 'dueOutbox', now: number, limit: number]
  | readonly [op: 'outboxStats']
  | readonly [op: 'getBatch', id: string]
  | readonly [op: 'getKeyedBatch', principal: string, key: string]
  | readonly [op: 'listBatches', query: BatchQuery]
  | readonly [op: 'getBatchEvents', id: string, after: number, limit: number]

/** Every query answers with rows; what a row has is known by its decoder. */
export type QueryAnswer = readonly Row[]

/** Changes to commit; or the end, after which nothing may come. */
export type ToWriter = readonly Change[] | 'close'

/** A query to answer; or the end. */
export type ToReader = Query | 'close'

export interface Refusal {
  readonly error: WireError
}

export interface ThreadReady {
  readonly pragmas: Readonly<Record<string, string | number>>
  /** Of this opening; 0 from the thread that reads. */
  readonly fence: number
}

export interface WriterData {
  readonly path: string
  readonly pragmas: Pragmas
  /** Whether each transaction looks that the fence is still its own. */
  readonly fenced: boolean
}

export interface ReaderData {
  readonly path: string
  readonly busyTimeoutMs: number
}

export function isRefusal(message: unknown): message is Refusal {
  return typeof message === 'object' && message !== null && 'error' in message
}
