import type { Query, QueryAnswer } from './protocol.ts'
import { decodeRecord, decodeRecordStats, encodeRecords, RECORDS_AT_ONCE } from './record-rows.ts'
import type { RecordStore } from './records.ts'
import { encodeInteger, encodeText } from './rows.ts'
import type { Writer } from './writer.ts'

interface Threads {
  assertOpen(): void
  query(query: Query): Promise<QueryAnswer>
  readonly writer: Writer
}

/** Bytes of a message beside those of its records. */
const OVERHEAD = 64

/** The port's calls about records, sent to the two threads. */
export function createRecordCalls({ assertOpen, query, writer }: Threads): RecordStore {
  return {
    async appendRecords(worker, stream, records) {
      assertOpen()
      await writer.send<'appendRecords'>(() => {
        const cells = encodeRecords(records)
        const transfer = cells.flatMap((cell) => (cell instanceof Uint8Array ? [cell.buffer as ArrayBuffer] : []))
        const bytes = cells.reduce<number>((sum, cell) => sum + (typeof cell === 'number' ? cell : 0), OVERHEAD)
        return {
          change: ['appendRecords', encodeText(worker), encodeText(stream), cells],
          // Times are among the numbers, and far too large for bytes.
          bytes: Math.min(bytes, OVERHEAD + records.reduce((sum, { payload }) => sum + payload.byteLength + 256, 0)),
          transfer,
        }
      })
    },
    async listRecords(worker, filter) {
      return (await query(['listRecords', encodeText(worker), filter])).map(decodeRecord)
    },
    async retainRecords(worker, stream, { before, max_bytes }) {
      assertOpen()
      const limits = [before, max_bytes].map((limit) => (limit === undefined ? null : encodeInteger(limit)))
      const [oldest = null, most = null] = limits
      let total = 0
      // In bounded steps, so that other changes get their turn between them.
      for (;;) {
        const removed = await writer.send<'retainRecords'>(() => ({
          change: ['retainRecords', encodeText(worker), encodeText(stream), oldest, most, RECORDS_AT_ONCE],
          bytes: OVERHEAD,
        }))
        total += removed
        if (removed < RECORDS_AT_ONCE) return total
      }
    },
    async recordStats(worker, stream) {
      const [row] = await query(['recordStats', encodeText(worker), encodeText(stream)])
      return decodeRecordStats(row)
    },
  }
}
