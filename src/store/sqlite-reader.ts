import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { mhvError } from '../core/errors.ts'
import { journalError, openingError } from './journal-errors.ts'
import type { Query, QueryAnswer, ReaderData, ThreadReady, ToReader } from './protocol.ts'
import { createQueries } from './queries.ts'
import { readFormat, readPragma } from './schema.ts'
import { JOURNAL_FORMAT } from './store.ts'

/** The thread that reads: one read-only connection, one answer per query, in order. */

/** Of the connection, for `facts`. */
const REPORTED = ['journal_mode', 'busy_timeout', 'page_size']

function connect(location: string | URL, { path, busyTimeoutMs }: ReaderData): DatabaseSync {
  const db = new DatabaseSync(location, { readOnly: true, timeout: busyTimeoutMs })
  try {
    const format = readFormat(db, path)
    if (format === JOURNAL_FORMAT) return db
    const message = `journal ${path} has format ${format}; reading needs ${JOURNAL_FORMAT}`
    throw mhvError('MHV_INSTANCE_INVALID', message, {
      remedy: 'Start Mahavishnu once on this instance folder: it brings the journal up to date.',
      details: { path, format, supported: JOURNAL_FORMAT },
    })
  } catch (error) {
    db.close()
    throw error
  }
}

function hasLog(path: string): boolean {
  return (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
}

/**
 * Even reading needs a small file beside the journal. Where that cannot be made (a full disk, a folder that is not
 * ours, a read-only snapshot) and no log shows that somebody writes, the journal is read as a file that stays as it is.
 */
function open(data: ReaderData): DatabaseSync {
  try {
    return connect(data.path, data)
  } catch (error) {
    const { code } = openingError(error, data.path)
    if ((code !== 'MHV_INSTANCE_INVALID' && code !== 'MHV_JOURNAL_FULL') || hasLog(data.path)) throw error
    const location = pathToFileURL(data.path)
    location.searchParams.set('immutable', '1')
    return connect(location, data)
  }
}

function buffersOf(query: Query, rows: QueryAnswer): ArrayBuffer[] {
  if (query[0] !== 'getOutput') return []
  return rows.flatMap((row) => (row[3] instanceof Uint8Array ? [row[3].buffer as ArrayBuffer] : []))
}

function serve(port: MessagePort, db: DatabaseSync, path: string): void {
  const answer = createQueries(db)
  port.on('message', (message: ToReader) => {
    if (message === 'close') {
      db.close()
      port.close()
      return
    }
    try {
      const rows = answer(message)
      port.postMessage(rows, buffersOf(message, rows))
    } catch (error) {
      port.postMessage({ error: journalError(error, path).toWire() })
    }
  })
}

function start(port: MessagePort, data: ReaderData): void {
  try {
    const db = open(data)
    serve(port, db, data.path)
    const pragmas = Object.fromEntries(REPORTED.map((name) => [name, readPragma(db, name)]))
    port.postMessage({ pragmas, fence: 0 } satisfies ThreadReady)
  } catch (error) {
    port.postMessage({ error: openingError(error, data.path).toWire() })
  }
}

if (parentPort !== null) start(parentPort, workerData)
