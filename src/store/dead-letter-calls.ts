import {
  DEAD_LETTER_STATES,
  type DeadLetterState,
  type DeadLetterStats,
  type DeadLetterStore,
  PINNING_STATES,
} from './dead-letter.ts'
import { decodeDeadLetter, decodeOutboxEntry } from './dead-letter-rows.ts'
import {
  encodeEnqueue,
  encodeLetterChange,
  encodeLetterRemoval,
  encodeOutboxDone,
  encodeOutboxFailed,
} from './encode.ts'
import type { OutboxStats, OutboxStore } from './outbox.ts'
import type { Query, QueryAnswer } from './protocol.ts'
import { encodeText } from './rows.ts'
import { rowLimit } from './rules.ts'
import type { Writer } from './writer.ts'

interface Threads {
  assertOpen(): void
  query(query: Query): Promise<QueryAnswer>
  readonly writer: Writer
}

/** The port's calls about dead letters and the outbox, sent to the two threads. */
export function createLetterCalls({ assertOpen, query, writer }: Threads): DeadLetterStore & OutboxStore {
  return {
    async getDeadLetter(id) {
      const [row] = await query(['getDeadLetter', encodeText(id)])
      return row === undefined ? null : decodeDeadLetter(row)
    },
    async listDeadLetters(filter) {
      return (await query(['listDeadLetters', filter])).map(decodeDeadLetter)
    },
    async dueDeadLetters(now, limit) {
      return (await query(['dueDeadLetters', now, rowLimit(limit)])).map(decodeDeadLetter)
    },
    async changeDeadLetter(change) {
      assertOpen()
      const row = await writer.send(() => encodeLetterChange(change))
      return row === null ? null : decodeDeadLetter(row)
    },
    async deleteDeadLetters(selection, limit) {
      assertOpen()
      return writer.send(() => encodeLetterRemoval(selection, rowLimit(limit)))
    },
    async deadLetterStats() {
      return toLetterStats(await query(['deadLetterStats']))
    },
    async enqueueOutbox(entry) {
      assertOpen()
      return writer.send(() => encodeEnqueue(entry))
    },
    async dueOutbox(now, limit) {
      return (await query(['dueOutbox', now, rowLimit(limit)])).map(decodeOutboxEntry)
    },
    async outboxDone(id) {
      assertOpen()
      return writer.send(() => encodeOutboxDone(id))
    },
    async outboxFailed(id, failure) {
      assertOpen()
      return writer.send(() => encodeOutboxFailed(id, failure))
    },
    async outboxStats() {
      return toOutboxStats(await query(['outboxStats']))
    },
  }
}

/** The statistics of a journal without letters. */
export function noLetters(): { -readonly [Key in keyof DeadLetterStats]: DeadLetterStats[Key] } {
  const by_state = Object.fromEntries(DEAD_LETTER_STATES.map((state) => [state, 0])) as Record<DeadLetterState, number>
  return { by_state, by_worker: {}, count: 0, bytes: 0, dropped: 0, rejected: 0, oldest_at: null }
}

function toLetterStats(rows: QueryAnswer): DeadLetterStats {
  const stats = noLetters()
  const by_state: Record<string, number> = { ...stats.by_state }
  const by_worker: Record<string, number> = {}
  for (const [what, name, amount, oldest] of rows) {
    if (what === 'state') by_state[String(name)] = Number(amount)
    if (what === 'state' && name === PINNING_STATES[0]) stats.oldest_at = Number(oldest)
    if (what === 'worker') by_worker[String(name)] = Number(amount)
    if (what === 'totals') [stats.count, stats.bytes] = [Number(name), Number(amount)]
    if (what === 'lost') [stats.dropped, stats.rejected] = [Number(name), Number(amount)]
  }
  return { ...stats, by_state: by_state as DeadLetterStats['by_state'], by_worker }
}

function toOutboxStats(rows: QueryAnswer): OutboxStats {
  const sum = (index: number) => rows.reduce((total, row) => total + Number(row[index]), 0)
  return {
    waiting: sum(1),
    by_destination: Object.fromEntries(rows.map((row) => [String(row[0]), Number(row[1])])),
    oldest_at: rows.length === 0 ? null : Math.min(...rows.map((row) => Number(row[2]))),
    bytes: sum(3),
  }
}
