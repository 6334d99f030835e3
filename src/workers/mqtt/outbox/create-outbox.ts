import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import { type MhvError, mhvError } from '../../../core/errors.ts'
import { newId } from '../../../core/ids.ts'
import type { MqttSession } from '../client/mqtt-session.ts'
import { type Entry, sizeOf } from './entry.ts'
import type { Batch, Held } from './lanes.ts'
import type { Ledger, RemovalReason } from './ledger.ts'
import type { AcceptedMessages, HeldMessage, MessageOutcome, Outbox, OutboxMessage, OutboxStatus } from './outbox.ts'
import { createSender, type SendOutcome } from './sender.ts'
import type { OutboxSettings } from './settings.ts'

/** Pause between two looks for messages whose time is over, in milliseconds. */
const EXPIRY_MS = 1_000
/** How long acknowledgements that are on their way are waited for at the end, in milliseconds. */
const CLOSE_MS = 1_000

export interface OutboxParts {
  readonly target: string
  readonly session: MqttSession
  readonly settings: OutboxSettings
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Logger
  /** What was on disk, in order. */
  readonly entries: readonly Entry[]
  /** Messages on their way at once. */
  readonly window: number
  /** Told of every message that has its outcome, and of what was turned away. */
  readonly onOutcome?: (topic: string, outcome: RemovalReason, seconds: number) => void
  readonly onRejected?: (messages: readonly OutboxMessage[]) => void
}

export interface ClosableOutbox extends Outbox {
  close(): Promise<void>
}

export function createOutbox(parts: OutboxParts): ClosableOutbox {
  const { target, session, settings, ledger, clock, log } = parts
  const held = new Map<string, Held>()
  /** Those that may give way to newer ones, the oldest first. */
  const droppable = new Set<Held>()
  const expiring = new Set<Held>()
  let lastSeq = parts.entries.at(-1)?.seq ?? 0
  /** Messages and bytes that are held, or about to be. */
  let size = 0
  let bytes = 0
  let cancelExpiry: (() => void) | undefined
  let closed = false

  const sender = createSender({
    session,
    clock,
    window: parts.window,
    replayRate: settings.replay_rate,
    held: () => held.values(),
    onOutcome: (each: Held, outcome: SendOutcome) => {
      if (outcome.state === 'refused') {
        const { code, message } = outcome.error
        log.warn('a message was refused and is given up', { target, id: each.entry.id, error_code: code, message })
        settle(each, outcome, 'refused', `${code}: ${message}`)
      } else settle(each, outcome, outcome.state)
    },
    onProblem: ({ code, message }: MhvError) =>
      log.error('a message could not be sent and is tried again', { target, error_code: code, message }),
  })

  function hold(entry: Entry, batch: Batch | null, index: number): void {
    const state = { sends: 0, faults: 0, sending: false, replay: batch === null, gone: false, leaving: false }
    const each: Held = { entry, batch, index, ...state }
    held.set(entry.id, each)
    if (entry.message.overflow === 'drop_oldest') droppable.add(each)
    if (entry.message.expires_at !== null) expiring.add(each)
    sender.add(each)
  }

  function settle(each: Held, outcome: MessageOutcome, reason: RemovalReason, why?: string): void {
    if (each.gone) return
    size -= 1
    bytes -= each.entry.bytes
    ledger.remove(each.entry, reason, why)
    end(each, outcome, reason)
  }

  /** It is counted, and its removal written or about to be. */
  function end(each: Held, outcome: MessageOutcome, reason: RemovalReason): void {
    each.gone = true
    const { entry, batch, index } = each
    held.delete(entry.id)
    droppable.delete(each)
    expiring.delete(each)
    sender.remove(each)
    parts.onOutcome?.(entry.message.topic, reason, Math.max(0, clock.now() - entry.accepted_at) / 1000)
    if (batch === null) return
    batch.outcomes[index] = outcome
    batch.open -= 1
    if (batch.open === 0) batch.settle()
  }

  /** The messages that would have to go for these; null where that is not allowed, or not enough. */
  function makeRoom(messages: readonly OutboxMessage[], needed: number): readonly Held[] | null {
    const fits = (freed: number, freedBytes: number) =>
      size - freed + messages.length <= settings.max_size && bytes - freedBytes + needed <= settings.max_bytes
    if (fits(0, 0)) return []
    if (messages.some(({ overflow }) => overflow === 'reject')) return null
    const victims: Held[] = []
    let freed = 0
    for (const each of droppable) {
      if (each.sending || each.leaving) continue
      victims.push(each)
      freed += each.entry.bytes
      if (fits(victims.length, freed)) return victims
    }
    return null
  }

  function full(messages: readonly OutboxMessage[]): MhvError {
    ledger.reject(messages.length)
    parts.onRejected?.(messages)
    const { max_size, max_bytes } = settings
    const why = `the outbox of ${target} holds ${size} of ${max_size} messages and ${bytes} of ${max_bytes} bytes; there is no room for ${messages.length} more`
    return mhvError('MHV_MQTT_OUTBOX_FULL', why, {
      retryAfter: 1,
      details: { target, waiting: size, bytes, max_size, max_bytes },
    })
  }

  function newEntry(message: OutboxMessage, now: number): Entry {
    lastSeq += 1
    return { seq: lastSeq, id: newId(clock), message, accepted_at: now, bytes: sizeOf(message) }
  }

  async function accept(messages: readonly OutboxMessage[]): Promise<AcceptedMessages> {
    if (closed) throw mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
    const needed = messages.reduce((sum, message) => sum + sizeOf(message), 0)
    const victims = makeRoom(messages, needed)
    if (victims === null) throw full(messages)
    const now = clock.now()
    const entries = messages.map((message) => newEntry(message, now))
    const freed = victims.reduce((sum, { entry }) => sum + entry.bytes, 0)
    size += entries.length - victims.length
    bytes += needed - freed
    for (const victim of victims) victim.leaving = true
    try {
      await ledger.add(
        entries,
        victims.map(({ entry }) => entry),
      )
    } catch (error) {
      size -= entries.length - victims.length
      bytes -= needed - freed
      // What is not written has replaced nothing.
      for (const victim of victims) sender.stay(victim)
      sender.pump()
      throw error
    }
    for (const victim of victims) end(victim, { state: 'dropped' }, 'dropped')
    const done = Promise.withResolvers<void>()
    const outcomes: MessageOutcome[] = entries.map(() => ({ state: 'accepted' }))
    const batch: Batch = { outcomes, open: entries.length, settle: done.resolve }
    if (entries.length === 0) done.resolve()
    for (const [index, entry] of entries.entries()) hold(entry, batch, index)
    if (expiring.size > 0) watchExpiry()
    sender.pump()
    return { ids: entries.map(({ id }) => id), outcomes: () => [...outcomes], settled: done.promise }
  }

  function watchExpiry(): void {
    if (closed) return
    cancelExpiry ??= clock.after(EXPIRY_MS, () => {
      cancelExpiry = undefined
      const now = clock.now()
      for (const each of expiring) {
        if (!each.sending && !each.leaving && (each.entry.message.expires_at ?? now + 1) <= now)
          settle(each, { state: 'expired' }, 'expired')
      }
      if (expiring.size > 0) watchExpiry()
    })
  }

  function status(): OutboxStatus {
    const [oldest] = held.values()
    let replaying = 0
    for (const each of held.values()) if (each.replay) replaying += 1
    return {
      ...ledger.counts(),
      waiting: held.size,
      in_flight: sender.inFlight(),
      bytes,
      max_size: settings.max_size,
      max_bytes: settings.max_bytes,
      replaying,
      oldest_at: oldest?.entry.accepted_at ?? null,
      resent: sender.resent(),
    }
  }

  for (const entry of parts.entries) {
    size += 1
    bytes += entry.bytes
    hold(entry, null, 0)
  }
  if (expiring.size > 0) watchExpiry()
  const stopListening = session.onConnected(sender.connected)
  sender.pump()

  return {
    accept,
    status,
    held(after, limit) {
      const found: HeldMessage[] = []
      for (const each of held.values()) {
        if (each.entry.seq <= after) continue
        if (found.length === limit) break
        found.push(heldMessage(each))
      }
      return found
    },
    async drop(ids) {
      let dropped = 0
      let in_flight = 0
      for (const id of ids) {
        const each = held.get(id)
        if (each === undefined || each.leaving) continue
        dropped += 1
        if (each.sending) in_flight += 1
        settle(each, { state: 'dropped' }, 'removed', 'dropped by an operator')
      }
      // Goes into the same group as the removals.
      await ledger.add([])
      return { dropped, in_flight }
    },
    async close() {
      closed = true
      cancelExpiry?.()
      stopListening()
      await sender.stop(CLOSE_MS)
      await ledger.close()
    },
  }
}

function heldMessage({ entry, sending, sends }: Held): HeldMessage {
  const { seq, id, message, accepted_at, bytes } = entry
  const { topic, qos, retain, overflow, expires_at, payload } = message
  return { id, seq, topic, qos, retain, bytes, overflow, accepted_at, expires_at, in_flight: sending, sends, payload }
}
