import type { WireError } from '../core/errors.ts'
import type { RunStatus } from '../core/run-status.ts'
import type { Row } from './rows.ts'
import type { Pragmas } from './schema.ts'
import type { CreateOutcome, RunQuery } from './store.ts'

/**
 * What crosses between the client and the two threads. Both threads answer in the order in which they were asked, so
 * nothing has a number. The first message of a thread is `ThreadReady` or a refusal.
 */

/** Principal, operation, target ('' for none), key, digest, expires_at. */
export type ClaimRow = readonly [string, string, string, string, string, number]

export type Change =
  | readonly [op: 'createRun', run: Row, events: Row, claim: ClaimRow | null, now: number]
  | readonly [
      op: 'changeRun',
      id: string,
      from: readonly RunStatus[],
      to: RunStatus,
      at: number | null,
      end: Row,
      ev: Row,
    ]
  | readonly [op: 'appendEvents', run_id: string, events: Row]
  | readonly [op: 'appendOutput', run_id: string, chunks: Row]
  | readonly [op: 'appendAudit', entry: Row]
  | readonly [op: 'stateSet', worker: string, key: string, json: string]
  | readonly [op: 'stateDelete', worker: string, key: string]
  | readonly [op: 'expireKeys', now: number, limit: number]
  | readonly [op: 'check']

export type ChangeOp = Change[0]
export type ChangeOf<Op extends ChangeOp> = Extract<Change, readonly [Op, ...unknown[]]>

/** What the writer answers, by change. A row lacks what the client has sent itself. */
export interface Answers {
  /** HEAD_COLUMNS for `reopened`, RUN_COLUMNS for the others. */
  createRun: 'created' | readonly [kind: CreateOutcome['kind'], run: Row, attempts_before: number]
  /** HEAD_COLUMNS. */
  changeRun: Row | null
  appendEvents: null
  appendOutput: null
  appendAudit: null
  stateSet: null
  stateDelete: null
  /** How many keys were removed. */
  expireKeys: number
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
  | readonly [op: 'countRuns']

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
}

export interface WriterData {
  readonly path: string
  readonly pragmas: Pragmas
}

export interface ReaderData {
  readonly path: string
  readonly busyTimeoutMs: number
}

export function isRefusal(message: unknown): message is Refusal {
  return typeof message === 'object' && message !== null && 'error' in message
}
