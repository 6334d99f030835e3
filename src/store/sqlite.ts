import { resolve } from 'node:path'
import { type Clock, systemClock } from '../core/clock.ts'
import { entryPoint } from '../core/entry-point.ts'
import { createBatchCalls } from './batch-calls.ts'
import { createLetterCalls } from './dead-letter-calls.ts'
import {
  encodeAdopt,
  encodeAppendAudit,
  encodeAppendEvents,
  encodeAssertOwner,
  encodeChange,
  encodeCheck,
  encodeCreate,
  encodeExpireKeys,
  encodeGetKeyedRun,
  encodeOutput,
  encodeStateApply,
  encodeStateDelete,
  encodeStateSet,
} from './encode.ts'
import { bytesOnDisk, createFile, requireFile } from './journal-file.ts'
import type { Query, QueryAnswer } from './protocol.ts'
import { type Reader, startReader } from './reader.ts'
import { createRecordCalls } from './record-calls.ts'
import {
  decodeAudit,
  decodeChunk,
  decodeEvent,
  decodeJson,
  decodeRun,
  decodeWritten,
  encodeText,
  type Row,
} from './rows.ts'
import { checkChange, checkNewRun, KEYS_AT_ONCE, rowLimit, storeClosed } from './rules.ts'
import type { Pragmas } from './schema.ts'
import { type CreateOutcome, JOURNAL_FORMAT, type NewRun, type RunChange, type RunRecord, type Store } from './store.ts'
import { WRITER_LIMITS, type WriterLimits } from './write-queue.ts'
import { refusingWriter, startWriter, type Writer } from './writer.ts'

export interface SqliteOptions {
  /** The journal's file; its folder has to be there. */
  readonly path: string
  readonly clock?: Clock
  /** Takes no lock and changes nothing; every write is refused with MHV_JOURNAL_UNAVAILABLE. */
  readonly readOnly?: boolean
  /** How long a thread waits for another process that holds the journal. Default: 5,000. */
  readonly busyTimeoutMs?: number
  readonly writerLimits?: Partial<WriterLimits>
}

/** For tests only, where they need a journal that is worse than the product's. */
export interface SqliteInternals {
  readonly pragmas?: Partial<Pragmas>
  /** False: goes on writing although another process has taken the journal over. */
  readonly fenced?: boolean
  readonly writerEntry?: URL
  readonly readerEntry?: URL
}

const DEFAULT_BUSY_TIMEOUT_MS = 5000

/** 4 MB of log. Two to sixteen times as much was not measurably faster, and the log needs that room for good. */
const WAL_AUTOCHECKPOINT = 1000

/** Bytes. A reader that takes long holds the log up and makes it grow; afterwards it is cut to this size again. */
const LOG_SIZE_LIMIT = 16 * 1024 * 1024

function pragmasOf(options: SqliteOptions, internals: SqliteInternals): Pragmas {
  return {
    journal_mode: 'wal',
    synchronous: 2,
    foreign_keys: 1,
    wal_autocheckpoint: WAL_AUTOCHECKPOINT,
    journal_size_limit: LOG_SIZE_LIMIT,
    busy_timeout: options.busyTimeoutMs ?? DEFAULT_BUSY_TIMEOUT_MS,
    ...internals.pragmas,
  }
}

interface Connections {
  readonly path: string
  readonly clock: Clock
  readonly writer: Writer
  /** Throws when the store is closed or its writer has died. */
  assertOpen(): void
  query(query: Query): Promise<QueryAnswer>
  readerPragmas(): Promise<Reader['pragmas']>
  close(): Promise<void>
}

/** The writing thread, and the reading one from the first query on; one that has died is started anew. */
function connect(options: SqliteOptions, path: string, writer: Writer, entry: URL): Connections {
  const busyTimeoutMs = options.busyTimeoutMs ?? DEFAULT_BUSY_TIMEOUT_MS
  let reader: Promise<Reader> | undefined
  let closing: Promise<void> | undefined

  function forget(): void {
    reader = undefined
  }
  function getReader(): Promise<Reader> {
    if (reader === undefined) {
      reader = startReader(entry, { path, busyTimeoutMs }, forget)
      reader.catch(forget)
    }
    return reader
  }
  async function close(): Promise<void> {
    // The writer last: it then has the only connection, and puts the journal into its one file.
    await reader?.then((started) => started.close()).catch(() => {})
    await writer.close()
  }
  function assertOpen(): void {
    if (closing !== undefined) throw storeClosed()
    writer.assertAlive()
  }
  return {
    path,
    clock: options.clock ?? systemClock,
    writer,
    assertOpen,
    async query(query) {
      assertOpen()
      return (await getReader()).ask(query)
    },
    async readerPragmas() {
      return (await getReader()).pragmas
    },
    close() {
      closing ??= close()
      return closing
    },
  }
}

async function createRun({ assertOpen, writer, clock }: Connections, run: NewRun): Promise<CreateOutcome> {
  assertOpen()
  checkNewRun(run)
  let sent: Row = []
  const answer = await writer.send(() => {
    const encoded = encodeCreate(run, clock.now(), writer.fence)
    sent = encoded.change[1]
    return encoded
  })
  // From what was sent, not from what was given: the answer is what a later read will say.
  if (answer === 'created') return { kind: answer, run: decodeWritten(sent), attempts_before: 0 }
  const [kind, row, attempts_before] = answer
  return { kind, run: decodeRun([...row, ...sent.slice(row.length)]), attempts_before }
}

async function changeRun({ assertOpen, writer }: Connections, change: RunChange): Promise<RunRecord | null> {
  assertOpen()
  checkChange(change)
  let end: Row = []
  const row = await writer.send(() => {
    const encoded = encodeChange(change)
    end = encoded.change[5]
    return encoded
  })
  return row === null ? null : decodeWritten([...row, ...end])
}

/** In bounded steps, so that other changes get their turn between them. */
async function expireKeys({ assertOpen, writer }: Connections, now: number): Promise<number> {
  assertOpen()
  let total = 0
  for (;;) {
    const removed = await writer.send(() => encodeExpireKeys(now, KEYS_AT_ONCE))
    total += removed
    if (removed < KEYS_AT_ONCE) return total
  }
}

function writing(connections: Connections) {
  const { assertOpen, writer } = connections
  return {
    createRun: (run) => createRun(connections, run),
    changeRun: (change) => changeRun(connections, change),
    async adoptRun(adoption) {
      assertOpen()
      const row = await writer.send(() => encodeAdopt(adoption))
      return row === null ? null : decodeRun(row)
    },
    async getKeyedRun(scope, now) {
      assertOpen()
      const row = await writer.send<'getKeyedRun'>(() => encodeGetKeyedRun(scope, now))
      return row === null ? null : { digest: String(row[0]), run: decodeRun(row.slice(1)) }
    },
    async appendEvents(run_id, events) {
      assertOpen()
      await writer.send(() => encodeAppendEvents(run_id, events))
    },
    async appendOutput(run_id, chunks) {
      assertOpen()
      await writer.send(() => encodeOutput(run_id, chunks))
    },
    async appendAudit(entry) {
      assertOpen()
      await writer.send(() => encodeAppendAudit(entry))
    },
    async stateSet(worker, key, value) {
      assertOpen()
      await writer.send(() => encodeStateSet(worker, key, value))
    },
    async stateDelete(worker, key) {
      assertOpen()
      await writer.send(() => encodeStateDelete(worker, key))
    },
    async stateApply(worker, changes) {
      assertOpen()
      await writer.send(() => encodeStateApply(worker, changes))
    },
    expireKeys: (now) => expireKeys(connections, now),
  } satisfies Partial<Store>
}

function reading({ query }: Connections) {
  return {
    async getRun(run_id) {
      const [row] = await query(['getRun', encodeText(run_id)])
      return row === undefined ? null : decodeRun(row)
    },
    async listRuns(filter) {
      return (await query(['listRuns', filter])).map(decodeRun)
    },
    async unfinishedRuns(): Promise<readonly RunRecord[]> {
      return (await query(['unfinishedRuns'])).map(decodeRun)
    },
    async getEvents(run_id, after, limit) {
      return (await query(['getEvents', encodeText(run_id), after, rowLimit(limit)])).map((row) =>
        decodeEvent(run_id, row),
      )
    },
    async getOutput(run_id, after, maxBytes) {
      return (await query(['getOutput', encodeText(run_id), after, maxBytes])).map(decodeChunk)
    },
    async listAudit({ after = 0, limit }) {
      return (await query(['listAudit', after, rowLimit(limit)])).map(decodeAudit)
    },
    async stateGet(worker, key) {
      const [row] = await query(['stateGet', encodeText(worker), encodeText(key)])
      return row === undefined ? undefined : decodeJson(row[0])
    },
    async stateList(worker, prefix) {
      const rows = await query(['stateList', encodeText(worker), encodeText(prefix)])
      return rows.map((row) => ({ key: String(row[0]), value: decodeJson(row[1]) }))
    },
  } satisfies Partial<Store>
}

function maintaining(connections: Connections, readOnly: boolean) {
  const { assertOpen, path, query, readerPragmas, writer } = connections
  return {
    fence: writer.fence,
    async assertOwner() {
      assertOpen()
      await writer.send(encodeAssertOwner)
    },
    async check() {
      assertOpen()
      if (!readOnly) await writer.send(encodeCheck)
      await query(['getRun', ''])
    },
    async facts() {
      const [rows, bytes] = await Promise.all([query(['countRuns']), bytesOnDisk(path)])
      const pragmas = readOnly ? await readerPragmas() : writer.pragmas
      return { kind: 'sqlite', format: JOURNAL_FORMAT, runs: Number(rows[0]?.[0]), bytes, pragmas }
    },
    close: () => connections.close(),
  } satisfies Partial<Store>
}

/**
 * Opens the journal in an SQLite file, making it when it is not there. All of SQLite's work is done on two threads:
 * one that writes, and one that reads and is started by the first read. An open store does not keep the process alive
 * unless something is asked of it.
 *
 * @throws MHV_INSTANCE_INVALID where the file cannot be opened or, reading only, is not there; MHV_JOURNAL_NEWER;
 *   MHV_JOURNAL_CORRUPT where it is no journal; MHV_JOURNAL_FULL; MHV_JOURNAL_UNAVAILABLE
 */
export async function openSqliteStore(options: SqliteOptions, internals: SqliteInternals = {}): Promise<Store> {
  const path = resolve(options.path)
  const readOnly = options.readOnly ?? false
  await (readOnly ? requireFile(path) : createFile(path))
  const writerEntry = internals.writerEntry ?? entryPoint(import.meta.url, './sqlite-writer')
  const readerEntry = internals.readerEntry ?? entryPoint(import.meta.url, './sqlite-reader')
  const limits = { ...WRITER_LIMITS, ...options.writerLimits }
  const data = { path, pragmas: pragmasOf(options, internals), fenced: internals.fenced ?? true }
  const writer = readOnly ? refusingWriter(path) : await startWriter(writerEntry, data, limits)
  const connections = connect(options, path, writer, readerEntry)
  // Whether the journal can be read is to be known now. With a writer, that is known already.
  if (readOnly) await connections.readerPragmas()
  return {
    ...writing(connections),
    ...reading(connections),
    ...createLetterCalls(connections),
    ...createBatchCalls(connections),
    ...createRecordCalls(connections),
    ...maintaining(connections, readOnly),
  }
}
