import type { BatchStore } from './batch.ts'
import { decodeBatch, decodeBatchEvent, encodeBatch, encodeBatchChange, encodeBatchEvents } from './batch-rows.ts'
import type { Query, QueryAnswer } from './protocol.ts'
import { encodeText, type Row } from './rows.ts'
import { rowLimit } from './rules.ts'
import type { Writer } from './writer.ts'

interface Threads {
  assertOpen(): void
  query(query: Query): Promise<QueryAnswer>
  readonly writer: Writer
}

/** About how many bytes the values of a message have. */
function sizeOf(...rows: Row[]): number {
  return rows.flat().reduce<number>((bytes, value) => bytes + (typeof value === 'string' ? value.length : 8), 64)
}

/** The port's calls about batches, sent to the two threads. */
export function createBatchCalls({ assertOpen, query, writer }: Threads): BatchStore {
  return {
    async createBatch(batch, events) {
      assertOpen()
      const answer = await writer.send<'createBatch'>(() => {
        const [row, cells] = [encodeBatch(batch), encodeBatchEvents(events)]
        return { change: ['createBatch', row, cells], bytes: sizeOf(row, cells) }
      })
      return decodeBatch(answer)
    },
    async changeBatch(change) {
      assertOpen()
      const answer = await writer.send<'changeBatch'>(() => {
        const [values, cells] = [encodeBatchChange(change), encodeBatchEvents(change.events)]
        return {
          change: ['changeBatch', encodeText(change.id), [...change.from], values, cells],
          bytes: sizeOf(values, cells),
        }
      })
      return answer === null ? null : decodeBatch(answer)
    },
    async getBatch(id) {
      const [row] = await query(['getBatch', encodeText(id)])
      return row === undefined ? null : decodeBatch(row)
    },
    async getKeyedBatch(principal, key) {
      const [row] = await query(['getKeyedBatch', encodeText(principal), encodeText(key)])
      return row === undefined ? null : decodeBatch(row)
    },
    async listBatches(filter) {
      return (await query(['listBatches', filter])).map(decodeBatch)
    },
    async getBatchEvents(id, after, limit) {
      return (await query(['getBatchEvents', encodeText(id), after, rowLimit(limit)])).map(decodeBatchEvent)
    },
  }
}
