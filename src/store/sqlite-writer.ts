import { DatabaseSync } from 'node:sqlite'
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { createGroupCommit } from './group-commit.ts'
import { openingError } from './journal-errors.ts'
import type { Change, ThreadReady, ToWriter, WriterData } from './protocol.ts'
import { assertPragmas, migrate, readFormat } from './schema.ts'

/**
 * The thread that owns the journal's one writing connection. It takes lists of changes, commits whatever has arrived
 * as one transaction, and answers each transaction with one list, in the order of the changes.
 */

function open({ path, pragmas }: WriterData) {
  const db = new DatabaseSync(path, { timeout: pragmas.busy_timeout })
  try {
    // Before anything is set: a newer version's journal, or another program's database, is not to be touched.
    readFormat(db, path)
    const facts = assertPragmas(db, pragmas, path)
    return { db, facts, fence: migrate(db, path) }
  } catch (error) {
    db.close()
    throw error
  }
}

function serve(port: MessagePort, db: DatabaseSync, { path, fenced }: WriterData, fence: number): void {
  const commit = createGroupCommit(db, path, { fence, fenced })
  let closing = false

  function accept(message: ToWriter | undefined): readonly Change[] | undefined {
    if (message === 'close') closing = true
    return message === 'close' ? undefined : message
  }

  port.on('message', (message: ToWriter) => {
    let first: ToWriter | undefined = message
    const replies = commit(() => {
      const next = first ?? receiveMessageOnPort(port)?.message
      first = undefined
      return accept(next)
    })
    if (replies.length > 0) port.postMessage(replies)
    if (!closing) return
    // The last connection to close moves the log into the file and removes it.
    db.close()
    port.close()
  })
}

function start(port: MessagePort, data: WriterData): void {
  try {
    const { db, facts, fence } = open(data)
    serve(port, db, data, fence)
    port.postMessage({ pragmas: facts, fence } satisfies ThreadReady)
  } catch (error) {
    port.postMessage({ error: openingError(error, data.path).toWire() })
  }
}

if (parentPort !== null) start(parentPort, workerData)
