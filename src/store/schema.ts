import type { DatabaseSync } from 'node:sqlite'
import { mhvError } from '../core/errors.ts'
import { MIGRATIONS } from './migrations/index.ts'
import { JOURNAL_FORMAT } from './store.ts'

/** `application_id` of a journal: 'mhvJ' in ASCII. Tells it from any other program's database. */
const APPLICATION_ID = 0x6d68764a

/** Settings of a connection, as SQLite reports them when asked. */
export interface Pragmas {
  readonly journal_mode: 'wal'
  /** 2 is FULL: every commit is synced to the disk before it is acknowledged. */
  readonly synchronous: number
  /** 1: the schema's references are enforced. */
  readonly foreign_keys: number
  /** Pages in the write-ahead log after which a commit moves them into the file. */
  readonly wal_autocheckpoint: number
  /** Bytes that the write-ahead log keeps on the disk after it was moved into the file. */
  readonly journal_size_limit: number
  /** Milliseconds that a thread waits for another process. */
  readonly busy_timeout: number
}

export function readPragma(db: DatabaseSync, name: string): string | number {
  const row = db.prepare(`PRAGMA ${name}`).get() ?? {}
  const value = Object.values(row)[0]
  return typeof value === 'number' ? value : String(value)
}

/**
 * Sets each pragma and asks for it again, since SQLite passes over what it cannot or will not do (no write-ahead log
 * on some network file systems) without an error.
 *
 * @throws MHV_JOURNAL_UNAVAILABLE naming the pragma that was not taken
 */
export function assertPragmas(db: DatabaseSync, pragmas: Pragmas, path: string): Record<string, string | number> {
  const facts: Record<string, string | number> = {}
  for (const [name, wanted] of Object.entries(pragmas)) {
    db.exec(`PRAGMA ${name} = ${wanted}`)
    const actual = readPragma(db, name)
    if (actual !== wanted) {
      const message = `journal ${path}: ${name} is ${actual}, not ${wanted}; use a local file system`
      throw mhvError('MHV_JOURNAL_UNAVAILABLE', message, { details: { path, pragma: name, wanted, actual } })
    }
    facts[name] = actual
  }
  return facts
}

/**
 * The format of the journal; 0 for a database without anything in it.
 *
 * @throws MHV_JOURNAL_NEWER where a later version of this program wrote it
 * @throws MHV_JOURNAL_CORRUPT where it is another program's database; SQLite's own error where it is none
 */
export function readFormat(db: DatabaseSync, path: string): number {
  const format = Number(readPragma(db, 'user_version'))
  const tables = Number(db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n)
  if (format === 0 && tables === 0) return 0
  if (readPragma(db, 'application_id') !== APPLICATION_ID) {
    throw mhvError('MHV_JOURNAL_CORRUPT', `${path} is a database, but not a journal of Mahavishnu`, {
      remedy: 'Choose another instance folder, or move the file away.',
      details: { path },
    })
  }
  if (format > JOURNAL_FORMAT) {
    const message = `journal ${path} has format ${format}; this version of Mahavishnu knows formats up to ${JOURNAL_FORMAT}`
    throw mhvError('MHV_JOURNAL_NEWER', message, { details: { path, format, supported: JOURNAL_FORMAT } })
  }
  return format
}

/**
 * Brings the journal to the format of this program and takes the next fence: every missing migration and the new
 * numbers in one transaction. Whoever had the journal open for writing is fenced from then on.
 *
 * @returns the fence
 */
export function migrate(db: DatabaseSync, path: string): number {
  db.exec('BEGIN IMMEDIATE')
  try {
    // Asked inside the transaction: another process may have been faster.
    const format = readFormat(db, path)
    for (const migration of MIGRATIONS) {
      if (migration.format > format) db.exec(migration.sql)
    }
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
    db.exec(`PRAGMA user_version = ${JOURNAL_FORMAT}`)
    const fence = Number(db.prepare('UPDATE instance SET fence = fence + 1 RETURNING fence').get()?.fence)
    db.exec('COMMIT')
    return fence
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}
