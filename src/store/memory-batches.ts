import { mhvError } from '../core/errors.ts'
import type { BatchEvent, BatchRecord, BatchStore, NewBatchEvent } from './batch.ts'
import { decodeBatch, decodeBatchEvent, encodeBatch, encodeBatchChange, encodeBatchEvents } from './batch-rows.ts'
import { byBytes } from './memory-letters.ts'
import { encodeText } from './rows.ts'
import { pageSize, rowLimit } from './rules.ts'

interface KeptBatch {
  record: BatchRecord
  readonly events: BatchEvent[]
}

function addEvents(batch: KeptBatch, events: readonly NewBatchEvent[]): void {
  for (const event of events) {
    batch.events.push(decodeBatchEvent([batch.events.length + 1, ...encodeBatchEvents([event])]))
  }
}

/** The batches of a store in memory. Each call runs to its end at once. */
export function createMemoryBatches(call: <T>(work: () => T) => Promise<T>): BatchStore {
  const batches = new Map<string, KeptBatch>()
  const found = (id: string) => batches.get(encodeText(id))
  function keyed(principal: string, key: string | null): BatchRecord | undefined {
    if (key === null) return undefined
    const records = [...batches.values()].map(({ record }) => record)
    return records.find((record) => record.principal === principal && record.key === key)
  }
  return {
    createBatch: (given, events) =>
      call(() => {
        const batch: KeptBatch = { record: decodeBatch(encodeBatch(given)), events: [] }
        const held = keyed(batch.record.principal, batch.record.key)
        if (held !== undefined) return held
        if (batches.has(batch.record.id)) throw mhvError('MHV_INTERNAL', `there is a batch ${batch.record.id} already`)
        addEvents(batch, events)
        batches.set(batch.record.id, batch)
        return batch.record
      }),
    changeBatch: (change) =>
      call(() => {
        encodeBatchChange(change)
        encodeBatchEvents(change.events)
        const batch = found(change.id)
        if (batch === undefined || !change.from.includes(batch.record.state)) return null
        const { to: state, at: updated_at, progress, finished_at } = change
        batch.record = {
          ...batch.record,
          state,
          updated_at,
          ...(progress === undefined ? {} : { progress: structuredClone(progress) }),
          ...(finished_at === undefined ? {} : { finished_at }),
        }
        addEvents(batch, change.events)
        return batch.record
      }),
    getBatch: (id) => call(() => found(id)?.record ?? null),
    getKeyedBatch: (principal, key) => call(() => keyed(encodeText(principal), encodeText(key)) ?? null),
    listBatches: ({ state, operation, limit, before }) =>
      call(() =>
        [...batches.values()]
          .map(({ record }) => record)
          .filter((record) => state === undefined || state.includes(record.state))
          .filter((record) => operation === undefined || record.operation === operation)
          .filter((record) => before === undefined || byBytes(record.id, before) < 0)
          .sort((a, b) => byBytes(b.id, a.id))
          .slice(0, pageSize(limit)),
      ),
    getBatchEvents: (id, after, limit) =>
      call(() => (found(id)?.events ?? []).filter(({ seq }) => seq > after).slice(0, rowLimit(limit))),
  }
}
