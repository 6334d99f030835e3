import type { WorkerContext } from '../../../core/context.ts'
import { toMhvError } from '../../../core/errors.ts'
import type { BrokerCall, MqttConnection } from '../client/mqtt-session.ts'
import { matchesFilter } from '../client/topics/topics.ts'
import type { MqttSettings, MqttTarget } from '../settings.ts'
import { type ClosableOutbox, createOutbox, type OutboxParts } from './create-outbox.ts'
import { COUNTS, decodeEntry, type Entry, MESSAGES, parseEntryKey } from './entry.ts'
import { createLedger, lostStream, NO_COUNTS } from './ledger.ts'
import type { Outbox, OutboxCounts, Outboxes, OverflowPolicy } from './outbox.ts'
import type { OutboxSettings } from './settings.ts'

/** What messages of a topic do where there is no room, when their call does not say. */
export function overflowOf({ telemetry_topics }: OutboxSettings, topic: string): OverflowPolicy {
  return telemetry_topics.some((filter) => matchesFilter(filter, topic)) ? 'drop_oldest' : 'reject'
}

/** How long the records of lost messages are kept, and how many bytes of them for each target. */
const KEEP_MS = 30 * 86_400_000
const KEEP_BYTES = 16 * 1_048_576
const TIDY_MS = 3_600_000

interface Stored {
  readonly entries: ReadonlyMap<string, readonly Entry[]>
  readonly counts: ReadonlyMap<string, OutboxCounts>
}

async function readStored({ state }: Pick<WorkerContext, 'state'>): Promise<Stored> {
  const entries = new Map<string, Entry[]>()
  const counts = new Map<string, OutboxCounts>()
  for (const { key, value } of await state.list(MESSAGES)) {
    const { target, seq } = parseEntryKey(key)
    const list = entries.get(target) ?? []
    list.push(decodeEntry(seq, value))
    entries.set(target, list)
  }
  for (const { key, value } of await state.list(COUNTS)) {
    counts.set(decodeURIComponent(key.slice(COUNTS.length)), { ...NO_COUNTS, ...(value as OutboxCounts) })
  }
  return { entries, counts }
}

/**
 * Reads what is on disk. Targets that have messages there get their outbox, and so their connection, at once; others at
 * their first message.
 */
export async function openOutboxes(
  context: WorkerContext<MqttSettings>,
  connection: Pick<MqttConnection, 'broker'>,
  observe: Pick<OutboxParts, 'onOutcome' | 'onRejected'> = {},
): Promise<Outboxes> {
  const { clock, log, state, records } = context
  const stored = await readStored(context)
  const open = new Map<string, ClosableOutbox>()

  function of(target: string, call: BrokerCall): Outbox {
    const found = open.get(target)
    if (found !== undefined) return found
    const entries = stored.entries.get(target) ?? []
    const ledger = createLedger({ target, state, records, clock, log }, stored.counts.get(target) ?? NO_COUNTS)
    const outbox = createOutbox({
      ...observe,
      target,
      session: connection.broker(call),
      settings: call.settings.outbox,
      ledger,
      clock,
      log,
      entries,
      window: call.settings.throttling.max_inflight,
    })
    open.set(target, outbox)
    return outbox
  }

  let cancelTidy: (() => void) | undefined
  async function tidy(): Promise<void> {
    for (const target of new Set([...open.keys(), ...stored.counts.keys()])) {
      await records.retain(lostStream(target), { before: clock.now() - KEEP_MS, max_bytes: KEEP_BYTES })
    }
  }
  function tidyAgain(): void {
    cancelTidy = clock.after(TIDY_MS, () => {
      void tidy()
        .catch((error: unknown) => log.error('old records of the outbox could not be removed', { error }))
        .finally(tidyAgain)
    })
  }

  const known = new Map((await context.targets()).map((each) => [each.target.name, each]))
  for (const [target, { length }] of stored.entries) {
    const found = known.get(target)
    if (found === undefined) {
      log.warn('messages wait for a target that is not in the inventory any more', { target, messages: length })
      continue
    }
    try {
      of(target, { target: found.target.address as MqttTarget, settings: found.settings as MqttSettings })
    } catch (error) {
      const { code, message } = toMhvError(error)
      log.error('messages wait for a target that cannot be used', {
        target,
        messages: length,
        error_code: code,
        message,
      })
    }
  }
  tidyAgain()
  return {
    of,
    all: () => open,
    async close() {
      cancelTidy?.()
      await Promise.all([...open.values()].map((outbox) => outbox.close()))
    },
  }
}
