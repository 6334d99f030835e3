import { checkRecord, type NewRecord, type RecordQuery, type RecordStats, type StoredRecord } from '../core/records.ts'
import type { Sql } from './queries.ts'
import { decodeJson, encodeInteger, encodeJson, encodeText, numberAt, type Row, type SqlValue, textAt } from './rows.ts'
import { pageSize } from './rules.ts'

/** Values per record in a change: key, at, meta, payload, bytes. */
export const RECORD_CELLS = 5

/** Records that one step of `retainRecords` removes. */
export const RECORDS_AT_ONCE = 500

/** key, at, meta, payload, bytes of each, one after the other. The payloads are copied: see encodeOutput. */
export function encodeRecords(records: readonly NewRecord[]): Row {
  const cells: SqlValue[] = []
  for (const record of records) {
    checkRecord(record)
    const [key, meta] = [encodeText(record.key), encodeJson(record.meta)]
    const payload = new Uint8Array(record.payload)
    cells.push(key, encodeInteger(record.at), meta, payload, payload.byteLength + key.length + meta.length)
  }
  return cells
}

const RECORD_COLUMNS = 'id, key, at, meta, payload'

/** The record of a row of RECORD_COLUMNS. */
export function decodeRecord(row: Row): StoredRecord {
  return {
    id: numberAt(row, 0),
    key: textAt(row, 1),
    at: numberAt(row, 2),
    meta: decodeJson(row[3]) as StoredRecord['meta'],
    payload: row[4] as Uint8Array,
  }
}

/** The stats of a row count, bytes, oldest at; of an empty stream where there is none. */
export function decodeRecordStats(row: Row | undefined): RecordStats {
  return { count: Number(row?.[0] ?? 0), bytes: Number(row?.[1] ?? 0), oldest_at: (row?.[2] as number | null) ?? null }
}

/** A page of records, newest first. The page is found in the index, and only its own rows are read. */
export function recordsQuery(worker: string, query: RecordQuery): Sql {
  const { stream, key, key_prefix = '', since, until, before, limit } = query
  const found: (readonly [text: string, ...values: SqlValue[]])[] = [
    ['worker = ?', encodeText(worker)],
    ['stream = ?', encodeText(stream)],
  ]
  if (since !== undefined) found.push(['at >= ?', since])
  if (until !== undefined) found.push(['at < ?', until])
  if (before !== undefined) found.push(['(at, id) < (?, ?)', before.at, before.id])
  if (key !== undefined) found.push(['key = ?', encodeText(key)])
  // Not LIKE: that has wildcards, and knows no case.
  if (key_prefix !== '')
    found.push(['substr(key, 1, ?) = ?', [...encodeText(key_prefix)].length, encodeText(key_prefix)])
  const filter = found.map(([text]) => text).join(' AND ')
  const ids = `SELECT id FROM records INDEXED BY records_by_time WHERE ${filter} ORDER BY at DESC, id DESC LIMIT ?`
  return {
    text: `SELECT ${RECORD_COLUMNS} FROM records WHERE id IN (${ids}) ORDER BY at DESC, id DESC`,
    values: [...found.flatMap(([, ...values]) => values), pageSize(limit)],
  }
}
