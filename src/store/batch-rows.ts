import type { BatchChange, BatchEvent, BatchRecord, NewBatch, NewBatchEvent } from './batch.ts'
import {
  decodeJson,
  encodeInteger,
  encodeJson,
  encodeText,
  numberAt,
  optionalInteger,
  optionalText,
  type Row,
  type SqlValue,
  textAt,
} from './rows.ts'

/** Columns of `batches` in the order of `encodeBatch` and `decodeBatch`. */
export const BATCH_COLUMNS = [
  'id',
  'operation',
  'principal',
  'key',
  'state',
  'facts',
  'progress',
  'created_at',
  'updated_at',
  'finished_at',
] as const

export function encodeBatch(batch: NewBatch): Row {
  const created_at = encodeInteger(batch.created_at)
  return [
    encodeText(batch.id),
    encodeText(batch.operation),
    encodeText(batch.principal),
    optionalText(batch.key),
    'running',
    encodeJson(batch.facts),
    encodeJson(batch.progress),
    created_at,
    created_at,
    null,
  ]
}

export function decodeBatch(row: Row): BatchRecord {
  return {
    id: textAt(row, 0),
    operation: textAt(row, 1),
    principal: textAt(row, 2),
    key: row[3] as string | null,
    state: row[4] as BatchRecord['state'],
    facts: decodeJson(row[5]) as BatchRecord['facts'],
    progress: decodeJson(row[6]) as BatchRecord['progress'],
    created_at: numberAt(row, 7),
    updated_at: numberAt(row, 8),
    finished_at: row[9] as number | null,
  }
}

/** State, progress (null: as it is), updated_at, finished_at (null: as it is). */
export function encodeBatchChange({ to, progress, at, finished_at }: BatchChange): Row {
  return [
    to,
    progress === undefined ? null : encodeJson(progress),
    encodeInteger(at),
    optionalInteger(finished_at ?? null),
  ]
}

/** Values per event in what `encodeBatchEvents` returns: type, time, JSON. */
export const BATCH_EVENT_CELLS = 3

export function encodeBatchEvents(events: readonly NewBatchEvent[]): Row {
  const cells: SqlValue[] = []
  for (const { type, at, data } of events) cells.push(type, encodeInteger(at), encodeJson(data))
  return cells
}

/** The event of a row seq, type, at, data. */
export function decodeBatchEvent(row: Row): BatchEvent {
  return {
    seq: numberAt(row, 0),
    type: row[1] as BatchEvent['type'],
    at: numberAt(row, 2),
    data: decodeJson(row[3]) as BatchEvent['data'],
  }
}
