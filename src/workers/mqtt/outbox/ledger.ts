import type { Clock } from '../../../core/clock.ts'
import type { Logger, WorkerRecords, WorkerState } from '../../../core/context.ts'
import { toMhvError } from '../../../core/errors.ts'
import type { NewRecord } from '../../../core/records.ts'
import { countsKey, type Entry, encodeEntry, entryKeysOf } from './entry.ts'
import type { OutboxCounts } from './outbox.ts'

export type CountName = keyof OutboxCounts

/** Why an entry goes. `delivered` is only counted; the others are journaled one by one as well. */
export type RemovalReason = 'delivered' | 'refused' | 'expired' | 'dropped' | 'removed'

export const NO_COUNTS: OutboxCounts = {
  accepted: 0,
  delivered: 0,
  refused: 0,
  expired: 0,
  dropped: 0,
  removed: 0,
  rejected: 0,
}

/** Name of the stream of records that tells of every message that was not delivered. */
export function lostStream(target: string): string {
  return `outbox/${target}`
}

/** The disk's side of an outbox: what is added and removed is written in groups, each with the counts that result. */
export interface Ledger {
  /**
   * On disk when it resolves, with all that was removed before; none of them when it rejects. Those that give way go with
   * the same write, or stay.
   */
  add(entries: readonly Entry[], givingWay?: readonly Entry[]): Promise<void>
  /** Written soon; tried again until the journal takes it. */
  remove(entry: Entry, reason: RemovalReason, why?: string): void
  /** Counts calls that were turned away. */
  reject(messages: number): void
  /** What is known: removals that are still to be written are in it, additions that are not written yet are not. */
  counts(): OutboxCounts
  /** Writes what is known; resolves when it is on disk, or after some tries. */
  close(): Promise<void>
}

/** Removals of acknowledged messages wait so long for company, in milliseconds: forgetting one late means a duplicate. */
const LINGER_MS = 50
/** Wait after a write that the journal did not take, in milliseconds. */
const RETRY_MS = 500
/** Tries of the last write when the outbox is closed. */
const LAST_TRIES = 3

interface Removal {
  readonly entry: Entry
  readonly reason: RemovalReason
  readonly note: NewRecord | null
}

interface Addition {
  readonly entries: readonly Entry[]
  readonly givingWay: readonly Removal[]
  resolve(): void
  reject(error: unknown): void
}

export function createLedger(
  parts: {
    readonly target: string
    readonly state: WorkerState
    readonly records: WorkerRecords
    readonly clock: Clock
    readonly log: Logger
  },
  stored: OutboxCounts,
): Ledger {
  const { target, state, records, clock, log } = parts
  const keyOf = entryKeysOf(target)
  let additions: Addition[] = []
  let removals: Removal[] = []
  /** On disk. */
  let written = stored
  const known: { -readonly [name in CountName]: number } = { ...stored }
  let rejected = 0
  let working: Promise<void> | undefined
  let cancelLinger: (() => void) | undefined
  let closed = false

  function countsWith(added: readonly Addition[], gone: readonly Removal[], turnedAway: number): OutboxCounts {
    const counts = { ...written, rejected: written.rejected + turnedAway }
    for (const { entries } of added) counts.accepted += entries.length
    for (const { reason } of gone) counts[reason] += 1
    return counts
  }

  /** One group: everything that is there now. True where the journal took it. */
  async function writeGroup(): Promise<boolean> {
    const [added, own, turnedAway] = [additions, removals, rejected]
    const gone = [...own, ...added.flatMap(({ givingWay }) => givingWay)]
    additions = []
    removals = []
    rejected = 0
    const counts = countsWith(added, gone, turnedAway)
    try {
      const notes = gone.flatMap(({ note }) => (note === null ? [] : [note]))
      // First the record: a loss may be told twice after a crash, never not at all.
      if (notes.length > 0) await records.append(lostStream(target), notes)
      const messages = added.flatMap(({ entries }) =>
        entries.map((entry) => [keyOf(entry.seq), encodeEntry(entry)] as const),
      )
      await state.apply({
        set: [...messages, [countsKey(target), counts]],
        delete: gone.map(({ entry }) => keyOf(entry.seq)),
      })
      written = counts
      for (const { entries, givingWay, resolve } of added) {
        known.accepted += entries.length
        for (const { reason } of givingWay) known[reason] += 1
        resolve()
      }
      return true
    } catch (error) {
      // Who adds is told, and holds nothing. What is gone stays gone: it is written down as soon as that is possible.
      removals = [...own, ...removals]
      rejected += turnedAway
      for (const { reject } of added) reject(error)
      const { code, message } = toMhvError(error)
      log.error('the outbox could not be written', { target, error_code: code, message })
      return false
    }
  }

  function noteOf({ id, bytes, accepted_at, message }: Entry, event: RemovalReason, why = ''): NewRecord {
    const meta = { id, event, why, qos: message.qos, bytes, accepted_at }
    return { key: message.topic, at: clock.now(), payload: new Uint8Array(0), meta }
  }

  function removal(entry: Entry, reason: RemovalReason, why?: string): Removal {
    return { entry, reason, note: reason === 'delivered' ? null : noteOf(entry, reason, why) }
  }

  const hasWork = () => additions.length > 0 || removals.length > 0 || rejected > 0

  async function work(): Promise<void> {
    for (let failures = 0; hasWork(); ) {
      if (await writeGroup()) failures = 0
      else {
        failures += 1
        if (closed && failures >= LAST_TRIES) return
        await clock.sleep(RETRY_MS)
      }
    }
  }

  function begin(): void {
    cancelLinger?.()
    cancelLinger = undefined
    working ??= work().finally(() => {
      working = undefined
      // What came between the last look and now.
      if (hasWork() && !closed) begin()
    })
  }

  function linger(): void {
    if (working === undefined && !closed) cancelLinger ??= clock.after(LINGER_MS, begin)
  }

  return {
    add(entries, givingWay = []) {
      return new Promise((resolve, reject) => {
        const leaving = givingWay.map((entry) => removal(entry, 'dropped', 'the outbox was full'))
        additions.push({ entries, givingWay: leaving, resolve, reject })
        begin()
      })
    },
    remove(entry, reason, why) {
      removals.push(removal(entry, reason, why))
      known[reason] += 1
      linger()
    },
    reject(messages) {
      rejected += messages
      known.rejected += messages
      linger()
    },
    counts: () => ({ ...known }),
    async close() {
      closed = true
      if (hasWork()) begin()
      await working
    },
  }
}
