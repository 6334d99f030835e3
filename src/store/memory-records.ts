import type { RecordQuery, StoredRecord } from '../core/records.ts'
import { decodeRecord, encodeRecords, RECORD_CELLS } from './record-rows.ts'
import type { RecordStore } from './records.ts'
import { encodeInteger, encodeText, numberAt } from './rows.ts'
import { pageSize } from './rules.ts'

interface Kept {
  readonly record: StoredRecord
  readonly bytes: number
}

const byPlace = (a: Kept, b: Kept) => a.record.at - b.record.at || a.record.id - b.record.id

function matches(
  { at, id, key }: StoredRecord,
  { key: exact, key_prefix = '', since, until, before }: RecordQuery,
): boolean {
  return (
    (exact === undefined || key === encodeText(exact)) &&
    key.startsWith(encodeText(key_prefix)) &&
    (since === undefined || at >= since) &&
    (until === undefined || at < until) &&
    (before === undefined || at < before.at || (at === before.at && id < before.id))
  )
}

/** The records of a store in memory. Each call runs to its end at once. */
export function createMemoryRecords(call: <T>(work: () => T) => Promise<T>): RecordStore {
  /** By worker and stream; each in order. */
  const streams = new Map<string, Kept[]>()
  let lastId = 0
  const nameOf = (worker: string, stream: string) => JSON.stringify([encodeText(worker), encodeText(stream)])
  const found = (worker: string, stream: string) => streams.get(nameOf(worker, stream)) ?? []

  return {
    appendRecords: (worker, stream, records) =>
      call(() => {
        const cells = encodeRecords(records)
        const kept = [...found(worker, stream)]
        for (let at = 0; at < cells.length; at += RECORD_CELLS) {
          lastId += 1
          const row = cells.slice(at, at + RECORD_CELLS)
          kept.push({ record: decodeRecord([lastId, ...row]), bytes: numberAt(row, RECORD_CELLS - 1) })
        }
        streams.set(nameOf(worker, stream), kept.sort(byPlace))
      }),
    listRecords: (worker, query) =>
      call(() =>
        found(worker, query.stream)
          .map(({ record }) => record)
          .filter((record) => matches(record, query))
          .reverse()
          .slice(0, pageSize(query.limit)),
      ),
    retainRecords: (worker, stream, { before, max_bytes }) =>
      call(() => {
        for (const limit of [before, max_bytes]) encodeInteger(limit ?? 0)
        const kept = found(worker, stream)
        let held = kept.reduce((sum, { bytes }) => sum + bytes, 0)
        let removed = 0
        for (const { record, bytes } of kept) {
          if (held <= (max_bytes ?? held) && record.at >= (before ?? -Infinity)) break
          held -= bytes
          removed += 1
        }
        streams.set(nameOf(worker, stream), kept.slice(removed))
        return removed
      }),
    recordStats: (worker, stream) =>
      call(() => {
        const kept = found(worker, stream)
        const bytes = kept.reduce((sum, each) => sum + each.bytes, 0)
        return { count: kept.length, bytes, oldest_at: kept[0]?.record.at ?? null }
      }),
  }
}
