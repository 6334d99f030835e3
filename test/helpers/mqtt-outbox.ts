import assert from 'node:assert/strict'
import { type MhvError, mhvError } from '../../src/core/errors.ts'
import { createRedactor } from '../../src/governance/redaction.ts'
import { recordsOf, stateOf } from '../../src/runtime/worker-journal.ts'
import type { Store } from '../../src/store/store.ts'
import type { FakeClock } from '../../src/testing/fake-clock.ts'
import type {
  MqttSession,
  OutgoingMessage,
  PublishAck,
  SendListener,
} from '../../src/workers/mqtt/client/mqtt-session.ts'
import { createOutbox } from '../../src/workers/mqtt/outbox/create-outbox.ts'
import { COUNTS, decodeEntry, type Entry, MESSAGES, parseEntryKey } from '../../src/workers/mqtt/outbox/entry.ts'
import { createLedger, NO_COUNTS } from '../../src/workers/mqtt/outbox/ledger.ts'
import type { Outbox, OutboxCounts, OutboxMessage } from '../../src/workers/mqtt/outbox/outbox.ts'
import { outboxSettings } from '../../src/workers/mqtt/outbox/settings.ts'

/** An outbox on a journal, with a broker in memory. */

/** A broker in memory: what it has taken, in order, and acknowledgements that the test gives or loses. */
export function fakeBroker() {
  interface Sent {
    readonly message: OutgoingMessage
    resolve(ack: PublishAck): void
    reject(error: unknown): void
  }
  const taken: { readonly topic: string; readonly text: string }[] = []
  const open: Sent[] = []
  const listeners = new Set<() => void>()
  let connected = false
  let refuses: (message: OutgoingMessage) => MhvError | undefined = () => undefined
  const session = {
    client_id: 'test',
    protocol: '5' as const,
    state: () => (connected ? ('connected' as const) : ('waiting' as const)),
    endpoint: () => 'mqtt://fake',
    onConnected(listener: () => void) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    onDisconnected: () => () => undefined,
    send(message: OutgoingMessage, _signal: AbortSignal, listener: SendListener) {
      if (!connected) listener.failed(mhvError('MHV_MQTT_NOT_CONNECTED', 'no connection'), message)
      else
        open.push({
          message,
          resolve: (ack) => listener.acknowledged(ack, message),
          reject: (error) => listener.failed(error, message),
        })
    },
  }
  const ack = (message: OutgoingMessage) => ({ qos: message.qos, reason_code: 0, endpoint: 'mqtt://fake', at: 0 })
  return {
    session: session as unknown as MqttSession,
    taken,
    inFlight: () => open.length,
    refuse(how: typeof refuses) {
      refuses = how
    },
    connect() {
      if (connected) return
      connected = true
      for (const listener of listeners) listener()
    },
    /** Another connection takes the place of this one; the result breaks the old one, with what is on its way over it. */
    replace() {
      const before = open.splice(0)
      for (const listener of listeners) listener()
      return () => {
        for (const { reject } of before) reject(mhvError('MHV_MQTT_CONNECTION_LOST', 'ended'))
      }
    },
    /** The broker takes what was sent first, and its acknowledgement arrives. */
    acknowledge(count = 1) {
      for (const sent of open.splice(0, count)) {
        const refusal = refuses(sent.message)
        if (refusal === undefined) taken.push(textOf(sent.message))
        if (refusal === undefined) sent.resolve(ack(sent.message))
        else sent.reject(refusal)
      }
    },
    /** The connection breaks: the broker has taken the first `arrived` of what was on its way, and nobody knows. */
    cut(arrived = 0) {
      if (!connected) return
      connected = false
      for (const [index, { message, reject }] of open.splice(0).entries()) {
        if (index < arrived) taken.push(textOf(message))
        reject(mhvError('MHV_MQTT_CONNECTION_LOST', 'cut'))
      }
    },
  }
}

function textOf({ topic, payload }: OutgoingMessage) {
  return { topic, text: Buffer.from(payload).toString() }
}

export function message(topic: string, text: string, more: Partial<OutboxMessage> = {}): OutboxMessage {
  return { topic, payload: Buffer.from(text), qos: 1, retain: false, overflow: 'reject', expires_at: null, ...more }
}

export type Broker = ReturnType<typeof fakeBroker>
interface Settings {
  readonly max_size?: number
  readonly max_bytes?: number
  readonly replay_rate?: number
}

export const silentLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
export const SITE = 'site/1'

/** An outbox on what the store has: opening it again without closing it is what a crash leaves. */
export async function openOn(store: Store, clock: FakeClock, broker: Broker, settings: Settings = {}) {
  const journal = { store, redactor: createRedactor() }
  const [state, records] = [stateOf(journal, 'mqtt'), recordsOf(journal, 'mqtt')]
  const entries: Entry[] = (await state.list(MESSAGES)).map(({ key, value }) =>
    decodeEntry(parseEntryKey(key).seq, value),
  )
  const [counted] = await state.list(COUNTS)
  const ledger = createLedger(
    { target: SITE, state, records, clock, log: silentLog },
    (counted?.value as OutboxCounts) ?? NO_COUNTS,
  )
  const outbox = createOutbox({
    target: SITE,
    session: broker.session,
    settings: outboxSettings.parse({ max_size: 100, max_bytes: 1_000_000, replay_rate: 1_000_000, ...settings }),
    ledger,
    clock,
    log: silentLog,
    entries,
    window: 20,
  })
  return { outbox, state, records, ledger }
}

export async function steps(clock: FakeClock, count = 6): Promise<void> {
  for (let step = 0; step < count; step++) await clock.advance(20)
}

export function assertSum(outbox: Outbox): void {
  const { accepted, delivered, refused, expired, dropped, removed, waiting } = outbox.status()
  assert.equal(accepted, delivered + refused + expired + dropped + removed + waiting)
}

/** The first time that each text came, by topic. */
export function firsts(broker: Broker): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const { topic, text } of broker.taken) {
    const list = found.get(topic) ?? []
    if (!list.includes(text)) list.push(text)
    found.set(topic, list)
  }
  return found
}
