/**
 * The peer of the journal: node:sqlite in one thread, with nothing around it. It has the journal's own schema and SQL,
 * the connection settings that the journal reports of itself, and the same bytes, encoded before the clock starts.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { MIGRATIONS } from '../../src/store/migrations/index.ts'
import { encodeEnd, encodeEvents, encodeRun, type Row } from '../../src/store/rows.ts'
import { prepareChanges, type Statements } from '../../src/store/statements.ts'
import type { NewRun } from '../../src/store/store.ts'
import { closedLoop, type LoadResult } from '../harness/load.ts'
import { serveSide } from '../harness/side.ts'
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

function insertEvents(run: number | bigint, after: number, cells: Row): void {
  for (let at = 0; at < cells.length; at += 3) {
    sql.insertEvent.run(run, after + 1 + at / 3, cells[at] ?? null, cells[at + 1] ?? null, cells[at + 2] ?? null)
  }
}

const BEGIN = encodeEvents(BEGIN_EVENTS)
const FINISH = encodeEvents(END_EVENTS)
const END = encodeEnd(SAMPLE_END)

function createRun(row: Row): number | bigint {
  const { lastInsertRowid } = sql.insertRun.run(...row)
  insertEvents(lastInsertRowid, 0, BEGIN)
  return lastInsertRowid
}

function finishRun(id: number | bigint, row: Row): void {
  sql.updateRun.get('completed', row[15] ?? null, ...END, id)
  insertEvents(id, BEGIN_EVENTS.length, FINISH)
}

/** Calls `work` for each group of `size`, and tells how long all of them took. */
function timed<T>(items: readonly T[], size: number, work: (group: readonly T[]) => void): { seconds: number } {
  const began = performance.now()
  for (let at = 0; at < items.length; at += size) work(items.slice(at, at + size))
  return { seconds: (performance.now() - began) / 1000 }
}

function encodedRuns(count: number, make: () => NewRun): Row[] {
  return Array.from({ length: count }, () => encodeRun(make()))
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
    const rows = encodedRuns(count, () => sampleRun(SAMPLE_END))
    return timed(rows, perTransaction, (group) => {
      transaction(() => {
        for (const row of group) sql.insertRun.run(...row)
      })
    })
  },
  /** Each run in two transactions, as it is journaled: one that begins it, one that ends it. */
  async runs({ count, perTransaction }: { count: number; perTransaction: number }): Promise<{ seconds: number }> {
    const rows = encodedRuns(count, () => sampleRun())
    return timed(rows, perTransaction, (group) => {
      let ids: (number | bigint)[] = []
      transaction(() => {
        ids = group.map(createRun)
      })
      transaction(() => {
        for (const [index, id] of ids.entries()) finishRun(id, group[index] as Row)
      })
    })
  },
  /** What the two commits of one run take, one run after the other. */
  commits({ count }: { count: number }): Promise<LoadResult> {
    const rows = encodedRuns(count, () => sampleRun())
    return closedLoop({ count, concurrency: 1 }, async (index) => {
      const row = rows[index] as Row
      let id: number | bigint = 0
      transaction(() => {
        id = createRun(row)
      })
      transaction(() => finishRun(id, row))
    })
  },
  async count(): Promise<number> {
    return Number(db.prepare('SELECT count(*) AS n FROM runs').get()?.n)
  },
}

export type BareSqlite = typeof methods

serveSide(methods, async () => db?.close())
