/**
 * A journal as short as it can be: node:sqlite in the thread that calls it, with nothing around it. It has our journal's
 * own schema and SQL, the connection settings that our journal reports of itself, and the same bytes.
 */
import { DatabaseSync } from 'node:sqlite'
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
import { first, prepareChanges, prepareRows } from '../../src/store/statements.ts'
import { BEGIN_EVENTS, END_EVENTS, SAMPLE_END, sampleRun } from '../sample-run.ts'

export interface BareJournalOptions {
  readonly path: string
  /** Settings of the connection, by name. */
  readonly pragmas: Readonly<Record<string, string | number>>
  /** A journal whose last run is what is written here from now on; without one, the sample run. */
  readonly like?: string
}

export type RowId = number | bigint

export interface BareJournal {
  /** Commits what the work has written; synced to the disk when it returns, as our journal's commits are. */
  transaction(work: () => void): void
  insertRow(row: Row): void
  /** Rows that runs begin with, each with an id of its own. */
  beginRows(count: number): Row[]
  /** A run and the events of its beginning. */
  beginRun(row: Row): RowId
  /** Its end, and the event of that. */
  finishRun(id: RowId): void
  count(): number
  close(): void
}

/** A run as two commits write it: the row it begins with, the values that end it, and the events of each. */
interface Pattern {
  readonly begin: Row
  readonly beginEvents: Row
  readonly started_at: SqlValue
  readonly end: Row
  readonly endEvents: Row
}

const RUN_ID_AT = RUN_COLUMNS.indexOf('run_id')
const STATUS_AT = RUN_COLUMNS.indexOf('status')
const STARTED_AT = RUN_COLUMNS.indexOf('started_at')
const END_AT = RUN_COLUMNS.length - END_COLUMNS.length

function samplePattern(): Pattern {
  const run = sampleRun()
  return {
    begin: encodeRun(run, 1),
    beginEvents: encodeEvents(BEGIN_EVENTS),
    started_at: run.started_at,
    end: encodeEnd(SAMPLE_END),
    endEvents: encodeEvents(END_EVENTS),
  }
}

function beginValue(value: SqlValue, at: number): SqlValue {
  if (at === STATUS_AT) return 'running'
  return at >= END_AT ? null : value
}

/** The last run of a journal, taken apart into what it was begun and what it was finished with. */
function patternOf(path: string): Pattern {
  const journal = new DatabaseSync(path, { readOnly: true })
  const row =
    first(prepareRows(journal, `SELECT ${RUN_COLUMNS.join(', ')}, id FROM runs ORDER BY id DESC LIMIT 1`)) ?? []
  const events = prepareRows(journal, 'SELECT type, at, data FROM events WHERE run = ? ORDER BY seq')
    .all(row.at(-1) ?? null)
    .map((event) => event as unknown as Row)
  journal.close()
  const last = events.at(-1) ?? []
  if (row[STATUS_AT] !== 'completed' || last[0] !== 'finished') throw new Error('the last run has not completed')
  return {
    begin: row.slice(0, RUN_COLUMNS.length).map(beginValue),
    beginEvents: events.slice(0, -1).flat(),
    started_at: row[STARTED_AT] ?? null,
    end: row.slice(END_AT, RUN_COLUMNS.length),
    endEvents: last,
  }
}

export function openBareJournal({ path, pragmas, like }: BareJournalOptions): BareJournal {
  const db = new DatabaseSync(path)
  for (const [name, value] of Object.entries(pragmas)) db.exec(`PRAGMA ${name} = ${value}`)
  for (const migration of MIGRATIONS) db.exec(migration.sql)
  const sql = prepareChanges(db)
  const begin = db.prepare('BEGIN IMMEDIATE')
  const commit = db.prepare('COMMIT')
  const pattern = like === undefined ? samplePattern() : patternOf(like)

  function insertEvents(run: RowId, after: number, cells: Row): void {
    for (let at = 0; at < cells.length; at += EVENT_CELLS) {
      const seq = after + 1 + at / EVENT_CELLS
      sql.insertEvent.run(run, seq, cells[at] ?? null, cells[at + 1] ?? null, cells[at + 2] ?? null)
    }
  }

  return {
    transaction(work) {
      begin.run()
      work()
      commit.run()
    },
    insertRow: (row) => void sql.insertRun.run(...row),
    beginRows: (count) => Array.from({ length: count }, () => pattern.begin.with(RUN_ID_AT, newId(systemClock))),
    beginRun(row) {
      const { lastInsertRowid } = sql.insertRun.run(...row)
      insertEvents(lastInsertRowid, 0, pattern.beginEvents)
      return lastInsertRowid
    },
    finishRun(id) {
      sql.updateRun.get('completed', pattern.started_at, ...pattern.end, id)
      insertEvents(id, pattern.beginEvents.length / EVENT_CELLS, pattern.endEvents)
    },
    count: () => Number(db.prepare('SELECT count(*) AS n FROM runs').get()?.n),
    close: () => db.close(),
  }
}
