import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { RUN_STATUSES } from '../core/result.ts'
import type { Query, QueryAnswer } from './protocol.ts'
import { type Row, RUN_COLUMNS, type SqlValue } from './rows.ts'
import { pageSize } from './rules.ts'
import { prepareRows } from './statements.ts'
import type { RunQuery } from './store.ts'

/** The reader's statements. */

const COLUMNS = RUN_COLUMNS.join(', ')

/** Filters with an index of their own, the most selective first. */
const INDEXED = ['target', 'operation', 'principal', 'worker'] as const

/** Page queries differ by their filters; more statements than these are not kept. */
const MAX_STATEMENTS = 64

export interface Sql {
  readonly text: string
  readonly values: readonly SqlValue[]
}

interface Condition {
  /** Group of conditions that one index serves. */
  readonly by: string
  readonly text: string
  readonly value?: SqlValue
}

/** Statuses as literals: only then does SQLite see that the partial index by status has them all. */
function statusCondition(status: RunQuery['status']): Condition[] {
  if (status === undefined) return []
  const known = RUN_STATUSES.filter((one) => status.includes(one)).map((one) => `'${one}'`)
  // Nearly all runs are `completed`: looking for those, walking the runs is faster than any index.
  return [{ by: status.includes('completed') ? 'none' : 'status', text: `status IN (${known.join(', ')})` }]
}

function conditions({ since, until, ...query }: RunQuery): Condition[] {
  const found: Condition[] = []
  for (const column of INDEXED) {
    const value = query[column]
    if (value !== undefined) found.push({ by: column, text: `${column} = ?`, value })
  }
  found.push(...statusCondition(query.status))
  if (since !== undefined) found.push({ by: 'time', text: 'accepted_at >= ?', value: since })
  if (until !== undefined) found.push({ by: 'time', text: 'accepted_at < ?', value: until })
  return found
}

/**
 * A page of runs. The first condition that has an index leads; the others carry a `+`, which keeps SQLite from
 * choosing theirs. The page is found in the index alone, and only its rows are read.
 */
export function runsQuery(query: RunQuery): Sql {
  const found = conditions(query)
  const lead = found.find((condition) => condition.by !== 'none')?.by
  const where = found.map((condition) => (condition.by === lead ? condition.text : `+${condition.text}`))
  const values = found.flatMap((condition) => (condition.value === undefined ? [] : [condition.value]))
  if (query.before !== undefined) {
    where.push('run_id < ?')
    values.push(query.before)
  }
  const filter = where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`
  const ids = `SELECT id FROM runs ${filter} ORDER BY run_id DESC LIMIT ?`
  return {
    text: `SELECT ${COLUMNS} FROM runs WHERE id IN (${ids}) ORDER BY run_id DESC`,
    values: [...values, pageSize(query.limit)],
  }
}

const RUN_NUMBER = '(SELECT id FROM runs WHERE run_id = ?)'

function prepareQueries(db: DatabaseSync) {
  return {
    getRun: prepareRows(db, `SELECT ${COLUMNS} FROM runs WHERE run_id = ?`),
    unfinishedRuns: prepareRows(
      db,
      `SELECT ${COLUMNS} FROM runs WHERE status IN ('pending', 'running') ORDER BY run_id`,
    ),
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
    countRuns: prepareRows(db, 'SELECT count(*) FROM runs'),
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

  function listRuns(query: RunQuery): QueryAnswer {
    const { text, values } = runsQuery(query)
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
        return listRuns(query[1])
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
      case 'countRuns':
        return all(sql.countRuns)
    }
  }
}
