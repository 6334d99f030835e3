import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { idFloor } from '../core/ids.ts'
import { RUN_STATUSES } from '../core/run-status.ts'
import { BATCH_STATES, type BatchQuery } from './batch.ts'
import { BATCH_COLUMNS } from './batch-rows.ts'
import { type DeadLetterQuery, PINNING_STATES } from './dead-letter.ts'
import { LETTER_SELECT, stateList } from './dead-letter-changes.ts'
import { OUTBOX_COLUMNS } from './dead-letter-rows.ts'
import type { Query, QueryAnswer } from './protocol.ts'
import { recordsQuery } from './record-rows.ts'
import { type Row, RUN_COLUMNS, type SqlValue } from './rows.ts'
import { pageSize } from './rules.ts'
import { prepareRows } from './statements.ts'
import type { RunQuery } from './store.ts'

/** The reader's statements. */

const COLUMNS = RUN_COLUMNS.join(', ')

/** Filters with an index of their own, the most selective first. */
const INDEXED = ['parent', 'target', 'operation', 'principal', 'worker'] as const

/** Page queries differ by their filters; more statements than these are not kept. */
const MAX_STATEMENTS = 64

/** For a clock that goes back between the two. */
const CLOCK_SLACK_MS = 3_600_000

export interface Sql {
  readonly text: string
  readonly values: readonly SqlValue[]
}

interface Condition {
  /** The index that serves it. */
  readonly index?: string
  readonly text: string
  readonly value?: SqlValue
}

/**
 * Nearly all runs are `completed`, and no index has them: looking for those, walking the runs is as fast. SQLite takes
 * the index of the others only where the query says that it means no completed ones.
 */
function statusCondition(status: RunQuery['status']): Condition[] {
  if (status === undefined) return []
  const text = `status IN (${RUN_STATUSES.filter((one) => status.includes(one)).map((one) => `'${one}'`)})`
  if (status.length === 0 || status.includes('completed')) return [{ text }]
  return [{ index: 'runs_by_status', text: `status <> 'completed' AND ${text}` }]
}

function conditions({ since, until, before, ...query }: RunQuery): Condition[] {
  const found: Condition[] = []
  for (const column of INDEXED) {
    const value = query[column]
    if (value !== undefined) found.push({ index: `runs_by_${column}`, text: `${column} = ?`, value })
  }
  found.push(...statusCondition(query.status))
  if (since !== undefined) {
    found.push({ text: 'accepted_at >= ?', value: since })
    // A run's id is made after the time at which it was accepted is read, and never goes back: the walk may end there.
    found.push({ text: 'run_id >= ?', value: idFloor(since - CLOCK_SLACK_MS) })
  }
  if (until !== undefined) found.push({ text: 'accepted_at < ?', value: until })
  if (before !== undefined) found.push({ text: 'run_id < ?', value: before })
  return found
}

/**
 * A page of runs. The first condition that has an index decides which one is used, since SQLite, without statistics,
 * would rather walk all runs. The page is found in the index, and only its own rows are read.
 */
export function runsQuery(query: RunQuery): Sql {
  const found = conditions(query)
  const index = found.find((condition) => condition.index !== undefined)?.index
  const hint = index === undefined ? '' : `INDEXED BY ${index}`
  const filter = found.length === 0 ? '' : `WHERE ${found.map(({ text }) => text).join(' AND ')}`
  const ids = `SELECT id FROM runs ${hint} ${filter} ORDER BY run_id DESC LIMIT ?`
  return {
    text: `SELECT ${COLUMNS} FROM runs WHERE id IN (${ids}) ORDER BY run_id DESC`,
    values: [...found.flatMap(({ value }) => (value === undefined ? [] : [value])), pageSize(query.limit)],
  }
}

/** Runs in no final status, oldest first. */
export const UNFINISHED = `SELECT ${COLUMNS} FROM runs INDEXED BY runs_by_status
  WHERE status <> 'completed' AND status IN ('pending', 'running') ORDER BY run_id`

const RUN_NUMBER = '(SELECT id FROM runs WHERE run_id = ?)'

/** What, of which (state or worker), how much; and the totals. */
const LETTER_STATS = `
  SELECT 'state', state, count(*), min(created_at) FROM dead_letters GROUP BY state
  UNION ALL SELECT 'worker', worker, count(*), NULL FROM dead_letters
    WHERE state IN (${stateList(PINNING_STATES)}) GROUP BY worker
  UNION ALL SELECT 'totals', count, bytes, NULL FROM dead_letter_totals
  UNION ALL SELECT 'lost', dropped, rejected, NULL FROM dead_letter_totals`

/** A page of dead letters, newest first. */
function lettersQuery({ state, before, limit, ...query }: DeadLetterQuery): Sql {
  const found: Condition[] = LETTER_FILTERS.flatMap((column) => {
    const value = query[column]
    return value === undefined ? [] : [{ text: `d.${column} = ?`, value }]
  })
  if (state !== undefined) found.push({ text: `d.state IN (${stateList(state)})` })
  if (before !== undefined) found.push({ text: 'd.id < ?', value: before })
  const filter = found.length === 0 ? '' : `WHERE ${found.map(({ text }) => text).join(' AND ')}`
  return {
    text: `SELECT ${LETTER_SELECT} FROM dead_letters AS d ${filter} ORDER BY d.id DESC LIMIT ?`,
    values: [...found.flatMap(({ value }) => (value === undefined ? [] : [value])), pageSize(limit)],
  }
}

/** A page of batches, newest first. */
function batchesQuery({ state, operation, before, limit }: BatchQuery): Sql {
  const found: Condition[] = []
  if (state !== undefined)
    found.push({ text: `state IN (${BATCH_STATES.filter((one) => state.includes(one)).map((one) => `'${one}'`)})` })
  if (operation !== undefined) found.push({ text: 'operation = ?', value: operation })
  if (before !== undefined) found.push({ text: 'id < ?', value: before })
  const filter = found.length === 0 ? '' : `WHERE ${found.map(({ text }) => text).join(' AND ')}`
  return {
    text: `SELECT ${BATCH_COLUMNS} FROM batches ${filter} ORDER BY id DESC LIMIT ?`,
    values: [...found.flatMap(({ value }) => (value === undefined ? [] : [value])), pageSize(limit)],
  }
}

const LETTER_FILTERS = ['worker', 'operation', 'target', 'principal'] as const

function prepareQueries(db: DatabaseSync) {
  return {
    getRun: prepareRows(db, `SELECT ${COLUMNS} FROM runs WHERE run_id = ?`),
    unfinishedRuns: prepareRows(db, UNFINISHED),
    getEvents: prepareRows(
      db,
      `SELECT seq, type, at, data FROM events WHERE run = ${RUN_NUMBER} AND seq > ? ORDER BY seq LIMIT ?`,
    ),
    getOutput: prepareRows(
      db,
      `SELECT seq, stream, gap_bytes, bytes FROM output WHERE run = ${RUN_NUMBER} AND seq > ? ORDER BY seq`,
    ),
    listAudit: prepareRows(db, 'SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?'),
    stateGet: prepareRows(db, 'SELECT value FROM worker_state WHERE worker = ? AND key = ?'),
    stateList: prepareRows(db, 'SELECT key, value FROM worker_state WHERE worker = ? AND key >= ? ORDER BY key'),
    recordStats: prepareRows(
      db,
      `SELECT t.count, t.bytes, (SELECT min(at) FROM records WHERE worker = t.worker AND stream = t.stream)
        FROM record_totals AS t WHERE t.worker = ? AND t.stream = ?`,
    ),
    countRuns: prepareRows(db, 'SELECT count(*) FROM runs'),
    getDeadLetter: prepareRows(db, `SELECT ${LETTER_SELECT} FROM dead_letters AS d WHERE d.id = ?`),
    dueDeadLetters: prepareRows(
      db,
      `SELECT ${LETTER_SELECT} FROM dead_letters AS d
        WHERE d.state = 'open' AND d.next_at IS NOT NULL AND d.next_at <= ? ORDER BY d.next_at, d.id LIMIT ?`,
    ),
    deadLetterStats: prepareRows(db, LETTER_STATS),
    dueOutbox: prepareRows(
      db,
      `SELECT ${OUTBOX_COLUMNS.map((column) => `o.${column}`)}
        FROM (SELECT min(id) AS id FROM outbox GROUP BY destination) AS next JOIN outbox AS o ON o.id = next.id
        WHERE o.next_at <= ? ORDER BY o.next_at, o.id LIMIT ?`,
    ),
    getBatch: prepareRows(db, `SELECT ${BATCH_COLUMNS} FROM batches WHERE id = ?`),
    getKeyedBatch: prepareRows(db, `SELECT ${BATCH_COLUMNS} FROM batches WHERE principal = ? AND key = ?`),
    getBatchEvents: prepareRows(
      db,
      'SELECT seq, type, at, data FROM batch_events WHERE batch = ? AND seq > ? ORDER BY seq LIMIT ?',
    ),
    outboxStats: prepareRows(
      db,
      'SELECT destination, count(*), min(at), sum(octet_length(payload)) FROM outbox GROUP BY destination ORDER BY 1',
    ),
  }
}

function all(statement: StatementSync, ...values: SqlValue[]): QueryAnswer {
  return statement.all(...values) as unknown as QueryAnswer
}

/** Rows one by one, up to the first that is refused; the statement is reset, or it would hold an old snapshot. */
function takeWhile(statement: StatementSync, values: SqlValue[], keep: (row: Row) => boolean): QueryAnswer {
  const rows: Row[] = []
  for (const entry of statement.iterate(...values)) {
    const row = entry as unknown as Row
    if (!keep(row)) break
    rows.push(row)
  }
  return rows
}

/** Keeps rows while their bytes (column 3) are at most `maxBytes` together, and the first one whatever it has. */
function withinBytes(maxBytes: number): (row: Row) => boolean {
  let total = 0
  let count = 0
  return (row) => {
    total += row[3] instanceof Uint8Array ? row[3].byteLength : 0
    count += 1
    return count === 1 || total <= maxBytes
  }
}

/** The function that answers one query. */
export function createQueries(db: DatabaseSync): (query: Query) => QueryAnswer {
  const sql = prepareQueries(db)
  const pages = new Map<string, StatementSync>()

  function page({ text, values }: Sql): QueryAnswer {
    if (pages.size > MAX_STATEMENTS) pages.clear()
    const statement = pages.get(text) ?? prepareRows(db, text)
    pages.set(text, statement)
    return all(statement, ...values)
  }

  return (query) => {
    switch (query[0]) {
      case 'getRun':
        return all(sql.getRun, query[1])
      case 'listRuns':
        return page(runsQuery(query[1]))
      case 'unfinishedRuns':
        return all(sql.unfinishedRuns)
      case 'getEvents':
        return all(sql.getEvents, query[1], query[2], query[3])
      case 'getOutput':
        return takeWhile(sql.getOutput, [query[1], query[2]], withinBytes(query[3]))
      case 'listAudit':
        return all(sql.listAudit, query[1], query[2])
      case 'stateGet':
        return all(sql.stateGet, query[1], query[2])
      case 'stateList':
        return takeWhile(sql.stateList, [query[1], query[2]], (row) => String(row[0]).startsWith(query[2]))
      case 'listRecords':
        return page(recordsQuery(query[1], query[2]))
      case 'recordStats':
        return all(sql.recordStats, query[1], query[2])
      case 'countRuns':
        return all(sql.countRuns)
      case 'getDeadLetter':
        return all(sql.getDeadLetter, query[1])
      case 'listDeadLetters':
        return page(lettersQuery(query[1]))
      case 'dueDeadLetters':
        return all(sql.dueDeadLetters, query[1], query[2])
      case 'deadLetterStats':
        return all(sql.deadLetterStats)
      case 'dueOutbox':
        return all(sql.dueOutbox, query[1], query[2])
      case 'outboxStats':
        return all(sql.outboxStats)
      case 'getBatch':
        return all(sql.getBatch, query[1])
      case 'getKeyedBatch':
        return all(sql.getKeyedBatch, query[1], query[2])
      case 'listBatches':
        return page(batchesQuery(query[1]))
      case 'getBatchEvents':
        return all(sql.getBatchEvents, query[1], query[2], query[3])
    }
  }
}
