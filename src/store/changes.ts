import type { DatabaseSync } from 'node:sqlite'
import { type EffectCertainty, isFinal, type RunStatus } from '../core/run-status.ts'
import { createBatchChanges } from './batch-changes.ts'
import type { DeadLetterState } from './dead-letter.ts'
import { createLetterChanges, type LetterChanges } from './dead-letter-changes.ts'
import type { LetterRow } from './dead-letter-rows.ts'
import { createOutboxChanges } from './outbox-changes.ts'
import type { Answers, Change, ChangeOf, ChangeOp, ClaimRow } from './protocol.ts'
import { createRecordChanges } from './record-changes.ts'
import { EVENT_CELLS, HEAD_COLUMNS, type Row, RUN_COLUMNS } from './rows.ts'
import { decideChange, decideClaim, type HeldKey, keptUntil, type RunState, runExists, unknownRun } from './rules.ts'
import { first, prepareChanges, type Statements } from './statements.ts'

/** Values per chunk in a change of output: stream, gap_bytes, bytes. */
export const CHUNK_CELLS = 3
/** Values per entry in a change of state: key, JSON. */
export const STATE_CELLS = 2

const STATUS_AT = RUN_COLUMNS.indexOf('status')
const DEADLINE_AT = RUN_COLUMNS.indexOf('deadline')
const FENCE_AT = RUN_COLUMNS.indexOf('fence')
const END_AT = HEAD_COLUMNS.length
const CHECK_KEY = ['', 'check'] as const

interface FoundRun extends RunState {
  readonly id: number
  readonly started_at: number | null
  /** 0 while it goes on. */
  readonly attempts: number
}

function toState(row: Row): FoundRun {
  return {
    id: row[0] as number,
    status: row[1] as RunStatus,
    effect_certainty: row[2] as EffectCertainty | null,
    started_at: row[3] as number | null,
    attempts: Number(row[4] ?? 0),
  }
}

function findRun(sql: Statements, run_id: string): FoundRun | undefined {
  const row = first(sql.findRun, run_id)
  return row === undefined ? undefined : toState(row)
}

function findKey(sql: Statements, [principal, operation, target, key]: ClaimRow): (HeldKey & FoundRun) | undefined {
  const row = first(sql.findKey, principal, operation, target, key)
  if (row === undefined) return undefined
  const letter = row[7] as DeadLetterState | null
  return { ...toState(row), digest: row[5] as string, expires_at: row[6] as number, letter }
}

function insertEvents(sql: Statements, run: number, after: number, events: Row): void {
  let seq = after
  for (let at = 0; at < events.length; at += EVENT_CELLS) {
    seq += 1
    sql.insertEvent.run(run, seq, events[at] ?? null, events[at + 1] ?? null, events[at + 2] ?? null)
  }
}

function addEvents(sql: Statements, run: number, events: Row): void {
  if (events.length > 0) insertEvents(sql, run, Number(first(sql.lastEvent, run)?.[0] ?? 0), events)
}

/** The number of the new run. */
function insertRun(sql: Statements, run: Row, events: Row, claim: ClaimRow | null): number {
  const { changes, lastInsertRowid } = sql.insertRun.run(...run)
  if (changes === 0) throw runExists(String(run[0]))
  const id = Number(lastInsertRowid)
  if (claim !== null) sql.putKey.run(...claim, id)
  insertEvents(sql, id, 0, events)
  return id
}

function reopenRun(sql: Statements, held: HeldKey & FoundRun, claim: ClaimRow, run: Row, events: Row): Row {
  const [principal, operation, target, key, , expires_at] = claim
  const [status = null, started_at = null] = run.slice(STATUS_AT)
  const facts = [run[DEADLINE_AT] ?? null, run[FENCE_AT] ?? null]
  const row = first(sql.reopenRun, status, started_at, ...run.slice(END_AT), ...facts, held.id)
  sql.extendKey.run(keptUntil(held, { expires_at }), principal, operation, target, key)
  addEvents(sql, held.id, events)
  return row ?? []
}

/** Writes the letter of a run that has just ended; the run's row as it is then. */
function withLetter(sql: Statements, letters: LetterChanges, id: number, letter: LetterRow): Row {
  letters.add(id, letter)
  return first(sql.runHead, id) ?? []
}

function createRun(sql: Statements, letters: LetterChanges, change: ChangeOf<'createRun'>): Answers['createRun'] {
  const [, run, events, claim, now, letter] = change
  const held = claim === null ? undefined : findKey(sql, claim)
  const kind = claim === null ? 'created' : decideClaim(held, { digest: claim[4] }, now)
  if (kind === 'created' || held === undefined || claim === null) {
    const id = insertRun(sql, run, events, claim)
    return letter === null ? 'created' : ['created', withLetter(sql, letters, id, letter), 0]
  }
  if (kind === 'reopened') {
    letters.setAside(held.id, now)
    const row = reopenRun(sql, held, claim, run, events)
    return [kind, letter === null ? row : withLetter(sql, letters, held.id, letter), held.attempts]
  }
  return [kind, first(sql.runRow, held.id) ?? [], 0]
}

function changeRun(sql: Statements, letters: LetterChanges, change: ChangeOf<'changeRun'>): Answers['changeRun'] {
  const [, run_id, from, to, started_at, end, events, letter] = change
  const run = findRun(sql, run_id)
  if (run === undefined || !decideChange(run, run_id, from, to)) return null
  // A run that is taken up again has not started yet, whenever it did before.
  const before = isFinal(run.status) ? null : run.started_at
  if (isFinal(run.status)) letters.setAside(run.id, null)
  const row = first(sql.updateRun, to, started_at ?? before, ...end, run.id)
  addEvents(sql, run.id, events)
  return letter === null ? (row ?? null) : withLetter(sql, letters, run.id, letter)
}

function adoptRun(sql: Statements, fence: number, change: ChangeOf<'adoptRun'>): Answers['adoptRun'] {
  const [, run_id, from_fence, events] = change
  const id = first(sql.adoptRun, fence, run_id, from_fence)?.[0]
  if (id === undefined) return null
  addEvents(sql, Number(id), events)
  return first(sql.runRow, Number(id)) ?? null
}

function appendEvents(sql: Statements, [, run_id, events]: ChangeOf<'appendEvents'>): null {
  const run = findRun(sql, run_id)
  if (run === undefined) throw unknownRun(run_id)
  addEvents(sql, run.id, events)
  return null
}

function appendOutput(sql: Statements, [, run_id, chunks]: ChangeOf<'appendOutput'>): null {
  const run = findRun(sql, run_id)
  if (run === undefined) throw unknownRun(run_id)
  let seq = Number(first(sql.lastChunk, run.id)?.[0] ?? 0)
  for (let at = 0; at < chunks.length; at += CHUNK_CELLS) {
    seq += 1
    sql.insertChunk.run(run.id, seq, chunks[at] ?? null, chunks[at + 1] ?? null, chunks[at + 2] ?? null)
  }
  return null
}

function applyState(sql: Statements, [, worker, set, deleted]: ChangeOf<'stateApply'>): null {
  for (const key of deleted) sql.deleteState.run(worker, key)
  for (let at = 0; at < set.length; at += STATE_CELLS) {
    sql.setState.run(worker, set[at] ?? null, set[at + 1] ?? null)
  }
  return null
}

function check(sql: Statements): null {
  sql.setState.run(...CHECK_KEY, 'true')
  if (first(sql.getState, ...CHECK_KEY)?.[0] !== 'true') throw new Error('a row that was just written is not there')
  sql.deleteState.run(...CHECK_KEY)
  return null
}

/**
 * The function that applies one change inside an open transaction. An error of the table is thrown only before
 * anything was written, so the transaction may go on; after any other error it has to be rolled back.
 */
export function createChanges(db: DatabaseSync, fence: number): (change: Change) => Answers[ChangeOp] {
  const sql = prepareChanges(db)
  const letters = createLetterChanges(db)
  const outbox = createOutboxChanges(db)
  const batches = createBatchChanges(db)
  const records = createRecordChanges(db)
  return (change) => {
    switch (change[0]) {
      case 'createRun':
        return createRun(sql, letters, change)
      case 'changeRun':
        return changeRun(sql, letters, change)
      case 'adoptRun':
        return adoptRun(sql, fence, change)
      case 'appendEvents':
        return appendEvents(sql, change)
      case 'appendOutput':
        return appendOutput(sql, change)
      case 'appendAudit':
        sql.insertAudit.run(...change[1])
        return null
      case 'stateSet':
        sql.setState.run(change[1], change[2], change[3])
        return null
      case 'stateDelete':
        sql.deleteState.run(change[1], change[2])
        return null
      case 'stateApply':
        return applyState(sql, change)
      case 'appendRecords':
        return records.append(change)
      case 'retainRecords':
        return records.retain(change)
      case 'expireKeys':
        return Number(sql.expireKeys.run(change[1], change[2]).changes)
      case 'changeDeadLetter':
        return letters.change(change)
      case 'deleteDeadLetters':
        return letters.remove(change)
      case 'enqueueOutbox':
        return outbox.enqueue(change)
      case 'outboxDone':
        return outbox.done(change)
      case 'outboxFailed':
        return outbox.failed(change)
      case 'createBatch':
        return batches.create(change)
      case 'changeBatch':
        return batches.change(change)
      case 'getKeyedRun': {
        const [, ...scope] = change
        return first(sql.keyedRun, ...scope) ?? null
      }
      case 'assertOwner':
        // Every transaction has looked at the fence already.
        return null
      case 'check':
        return check(sql)
    }
  }
}
