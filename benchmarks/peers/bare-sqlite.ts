/**
 * The peer of the journal: node:sqlite in one thread, with nothing around it. It has the journal's own schema and SQL,
 * the connection settings that the journal reports of itself, and the same bytes, encoded before the clock starts.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { systemClock } from '../../src/core/clock.ts'
import { newId } from '../../src/core/ids.ts'
import { MIGRATIONS } from '../../src/store/migrations/index.ts'
import {
  END_COLUMNS,
  EVENT_CELLS,
  encodeEnd,
  encodeEvents,
  encodeRun,
  type Row,
  RUN_COLUMNS,
  type SqlValue,
} from '../../src/store/rows.ts'
import { first, prepareChanges, prepareRows, type Statements } from '../../src/store/statements.ts'
import { serveSide } from '../harness/side.ts'
import { median } from '../harness/stats.ts'
import { BEGIN_EVENTS, END_EVENTS, SAMPLE_END, sampleRun } from '../sample-run.ts'

let db: DatabaseSync
let sql: Statements
let begin: StatementSync
let commit: StatementSync

/** One transaction, committed as the journal's are: synced to the disk before it returns. */
function transaction(work: () => void): void {
  begin.run()
  work()
  commit.run()
}

/** A run as two commits write it: the row it begins with, the values that end it, and the events of each. */
interface Pattern {
  readonly begin: Row
  readonly beginEvents: Row
  readonly started_at: SqlValue
  readonly end: Row
  readonly endEvents: Row
}

let pattern: Pattern = {
  begin: encodeRun(sampleRun()),
  beginEvents: encodeEvents(BEGIN_EVENTS),
  started_at: sampleRun().started_at,
  end: encodeEnd(SAMPLE_END),
  endEvents: encodeEvents(END_EVENTS),
}

function insertEvents(run: number | bigint, after: number, cells: Row): void {
  for (let at = 0; at < cells.length; at += EVENT_CELLS) {
    const seq = after + 1 + at / EVENT_CELLS
    sql.insertEvent.run(run, seq, cells[at] ?? null, cells[at + 1] ?? null, cells[at + 2] ?? null)
  }
}

function createRun(row: Row): number | bigint {
  const { lastInsertRowid } = sql.insertRun.run(...row)
  insertEvents(lastInsertRowid, 0, pattern.beginEvents)
  return lastInsertRowid
}

function finishRun(id: number | bigint): void {
  sql.updateRun.get('completed', pattern.started_at, ...pattern.end, id)
  insertEvents(id, pattern.beginEvents.length / EVENT_CELLS, pattern.endEvents)
}

const RUN_ID_AT = RUN_COLUMNS.indexOf('run_id')
const STATUS_AT = RUN_COLUMNS.indexOf('status')
const END_AT = RUN_COLUMNS.length - END_COLUMNS.length

/** The last run of a journal, taken apart into what it was begun and what it was finished with. */
function readPattern(path: string): Pattern {
  const journal = new DatabaseSync(path, { readOnly: true })
  const run = prepareRows(journal, `SELECT ${RUN_COLUMNS.join(', ')}, id FROM runs ORDER BY id DESC LIMIT 1`)
  const row = first(run) ?? []
  const events = prepareRows(journal, 'SELECT type, at, data FROM events WHERE run = ? ORDER BY seq')
    .all(row.at(-1) ?? null)
    .map((event) => event as unknown as Row)
  journal.close()
  const last = events.at(-1) ?? []
  if (row[STATUS_AT] !== 'completed' || last[0] !== 'finished') throw new Error('the last run has not completed')
  return {
    begin: row.slice(0, RUN_COLUMNS.length).map((value, at) => beginValue(value, at)),
    beginEvents: events.slice(0, -1).flat(),
    started_at: row[STATUS_AT + 1] ?? null,
    end: row.slice(END_AT, RUN_COLUMNS.length),
    endEvents: last,
  }
}

function beginValue(value: SqlValue, at: number): SqlValue {
  if (at === STATUS_AT) return 'running'
  return at >= END_AT ? null : value
}

/** Rows that runs begin with, each with an id of its own. */
function beginRows(count: number): Row[] {
  return Array.from({ length: count }, () => pattern.begin.with(RUN_ID_AT, newId(systemClock)))
}

/** Calls `work` for each group of `size`, and tells how long all of them took. */
function timed<T>(items: readonly T[], size: number, work: (group: readonly T[]) => void): { seconds: number } {
  const began = performance.now()
  for (let at = 0; at < items.length; at += size) work(items.slice(at, at + size))
  return { seconds: (performance.now() - began) / 1000 }
}

const methods = {
  async open({ path, pragmas }: { path: string; pragmas: Readonly<Record<string, string | number>> }): Promise<void> {
    db = new DatabaseSync(path)
    for (const [name, value] of Object.entries(pragmas)) db.exec(`PRAGMA ${name} = ${value}`)
    for (const migration of MIGRATIONS) db.exec(migration.sql)
    sql = prepareChanges(db)
    begin = db.prepare('BEGIN IMMEDIATE')
    commit = db.prepare('COMMIT')
  },
  /** Bytes of one row, as text. */
  async rowBytes(): Promise<number> {
    return Buffer.byteLength(encodeRun(sampleRun(SAMPLE_END)).join(''))
  },
  async rows({ count, perTransaction }: { count: number; perTransaction: number }): Promise<{ seconds: number }> {
    const rows = Array.from({ length: count }, () => encodeRun(sampleRun(SAMPLE_END)))
    return timed(rows, perTransaction, (group) => {
      transaction(() => {
        for (const row of group) sql.insertRun.run(...row)
      })
    })
  },
  /** Each run in two transactions, as it is journaled: one that begins it, one that ends it. */
  async runs({ count, perTransaction }: { count: number; perTransaction: number }): Promise<{ seconds: number }> {
    const rows = beginRows(count)
    return timed(rows, perTransaction, (group) => {
      let ids: (number | bigint)[] = []
      transaction(() => {
        ids = group.map(createRun)
      })
      transaction(() => {
        for (const id of ids) finishRun(id)
      })
    })
  },
  /** From now on `runs` and `commits` write the bytes of the last run in that journal. */
  async copyLast({ path }: { path: string }): Promise<void> {
    pattern = readPattern(path)
  },
  /** What the two commits of one run take, with a rest before each that is not counted. */
  async commits({ count, pauseMs }: { count: number; pauseMs: number }): Promise<{ p50: number }> {
    const took: number[] = []
    const timedTransaction = async (work: () => void) => {
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
      const began = performance.now()
      transaction(work)
      return performance.now() - began
    }
    for (const row of beginRows(count)) {
      let id: number | bigint = 0
      const begun = await timedTransaction(() => {
        id = createRun(row)
      })
      took.push(begun + (await timedTransaction(() => finishRun(id))))
    }
    return { p50: median(took) }
  },
  async count(): Promise<number> {
    return Number(db.prepare('SELECT count(*) AS n FROM runs').get()?.n)
  },
}

export type BareSqlite = typeof methods

serveSide(methods, async () => db?.close())
