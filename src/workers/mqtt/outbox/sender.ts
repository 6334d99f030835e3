import type { Clock } from '../../../core/clock.ts'
import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import { MESSAGE_FAULTS, MESSAGE_PASSING } from '../client/link/reason-codes.ts'
import {
  MESSAGE_ID_PROPERTY,
  type MqttSession,
  type OutgoingMessage,
  type PublishAck,
  type SendListener,
} from '../client/mqtt-session.ts'
import { createLanes, type Held, type Lane } from './lanes.ts'

/** What became of a send. A message whose connection was lost has no outcome yet: it is sent again. */
export type SendOutcome =
  | { readonly state: 'delivered'; readonly ack: PublishAck }
  | { readonly state: 'refused'; readonly error: MhvError }
  | { readonly state: 'expired' }

export interface Sender {
  add(held: Held): void
  remove(held: Held): void
  /** It was to leave, and stays. */
  stay(held: Held): void
  /** There is a connection: all that waits now has waited for it. */
  connected(): void
  /** Sends what may be sent. */
  pump(): void
  inFlight(): number
  resent(): number
  /** Sends nothing more, and resolves when what is on its way has come back, or after `ms`. */
  stop(ms: number): Promise<void>
}

/** Codes after which the message is sent again; all others of a publish are an answer. */
const AGAIN: readonly string[] = ['MHV_MQTT_NOT_CONNECTED', 'MHV_MQTT_CONNECTION_LOST']
/** Codes that say that this message will never be taken. */
const FINAL = /^MHV_MQTT_(NOT_AUTHORIZED|PUBLISH_REJECTED|MESSAGE_TOO_LARGE|TOPIC_INVALID|TOPIC_DENIED)$/
/** Times that a message has to end the connection when it is on its way alone: once may be somebody else's. */
const FAULTS = 2
/** Look again for a connection after a failure that came without losing it, in milliseconds. */
const AGAIN_MS = 1_000
/** Replayed messages that may go at once, as a part of the rate per second. */
const BURST_PART = 0.1
/** Shortest pause between two steps of a replay, in milliseconds. */
const STEP_MS = 20

export function createSender(parts: {
  readonly session: MqttSession
  readonly clock: Clock
  /** Messages on their way at once. */
  readonly window: number
  /** Messages per second of a replay. */
  readonly replayRate: number
  /** All messages without an outcome. */
  readonly held: () => Iterable<Held>
  onOutcome(held: Held, outcome: SendOutcome): void
  onProblem(error: MhvError): void
}): Sender {
  const { session, clock, window, replayRate } = parts
  const lanes = createLanes()
  const closing = new AbortController()
  const burst = Math.max(1, replayRate * BURST_PART)
  let tokens = burst
  let refilledAt = clock.monotonic()
  let inFlight = 0
  let resent = 0
  let cancelStep: (() => void) | undefined
  let cancelAgain: (() => void) | undefined
  /** A send has failed, and neither has a connection been made since nor the time come to look again. */
  let paused = false
  /**
   * What was on its way when a broker ended the connection because of a message. Until each of them has its outcome, they
   * go one by one: whoever sends all of them again, again ends the connection, for everybody, for ever.
   */
  const suspects = new Set<Held>()
  let idle: (() => void) | undefined
  let stopped = false
  /** A message is being handed to the session. */
  let entering = false

  function mayReplay(): boolean {
    const now = clock.monotonic()
    tokens = Math.min(burst, tokens + ((now - refilledAt) / 1000) * replayRate)
    refilledAt = now
    if (tokens < 1) return false
    tokens -= 1
    return true
  }

  function pump(): void {
    while (!stopped && !paused && inFlight < (suspects.size > 0 ? 1 : window) && session.state() === 'connected') {
      const taken = lanes.take(mayReplay)
      if (taken === undefined) break
      send(taken.lane, taken.held)
    }
    if (lanes.hasPaced()) stepSoon()
  }

  /** The next messages of a replay. */
  function stepSoon(): void {
    if (stopped) return
    cancelStep ??= clock.after(Math.max(STEP_MS, 1000 / replayRate), () => {
      cancelStep = undefined
      lanes.resumePaced()
      pump()
    })
  }

  /** Not at once: what failed with the connection there would fail again, and nothing else would get its turn. */
  function againLater(): void {
    paused = true
    if (stopped) return
    cancelAgain ??= clock.after(AGAIN_MS, () => {
      cancelAgain = undefined
      paused = false
      pump()
    })
  }

  function send(lane: Lane, held: Held): void {
    const { expires_at } = held.entry.message
    const leftMs = expires_at === null ? null : expires_at - clock.now()
    if (leftMs !== null && leftMs <= 0) {
      parts.onOutcome(held, { state: 'expired' })
      lanes.returned(lane, held)
      return
    }
    inFlight += 1
    if (held.sends > 1) resent += 1
    entering = true
    session.send(outgoing(held, lane, leftMs), closing.signal, listener)
    entering = false
  }

  /** One for all messages: a promise for each costs a tenth of the rate. */
  const listener: SendListener = {
    acknowledged(ack, message) {
      const { held, lane } = message as Sent
      suspects.delete(held)
      if (!held.gone) parts.onOutcome(held, { state: 'delivered', ack })
      returned(lane, held)
    },
    failed(error, message) {
      // Told before `send` has returned: what comes of it must not go on in the middle of `pump`.
      if (entering) queueMicrotask(() => comeBack(message as Sent, error))
      else comeBack(message as Sent, error)
    },
  }

  function comeBack({ held, lane }: Sent, error: unknown): void {
    failed(held, toMhvError(error))
    returned(lane, held)
  }

  function failed(held: Held, error: MhvError): void {
    if (held.gone || closing.signal.aborted) return
    if (MESSAGE_FAULTS.has(error.details?.['reason_code']) && error.code === 'MHV_MQTT_CONNECTION_LOST') {
      if (suspects.has(held)) held.faults += 1
      suspects.add(held)
      if (held.faults >= FAULTS) {
        const why = `the broker ends the connection when it gets this message: ${error.message}`
        const refused = mhvError('MHV_MQTT_PUBLISH_REJECTED', why, { details: error.details, cause: error })
        suspects.delete(held)
        parts.onOutcome(held, { state: 'refused', error: refused })
        return
      }
    }
    if (FINAL.test(error.code) && !MESSAGE_PASSING.has(error.details?.['reason_code'])) {
      parts.onOutcome(held, { state: 'refused', error })
      return
    }
    if (!AGAIN.includes(error.code)) parts.onProblem(error)
    againLater()
  }

  function returned(lane: Lane, held: Held): void {
    inFlight -= 1
    lanes.returned(lane, held)
    if (inFlight === 0) idle?.()
    pump()
  }

  return {
    add: (held) => lanes.add(held),
    remove(held) {
      suspects.delete(held)
      lanes.remove(held)
    },
    stay: (held) => lanes.stay(held),
    connected() {
      for (const held of parts.held()) held.replay = true
      lanes.interrupt()
      paused = false
      pump()
    },
    pump,
    inFlight: () => inFlight,
    resent: () => resent,
    async stop(ms) {
      stopped = true
      cancelStep?.()
      cancelAgain?.()
      const settled = new Promise<void>((resolve) => {
        idle = resolve
      })
      const late = new AbortController()
      const stopping = inFlight === 0 ? Promise.resolve() : settled
      await Promise.race([stopping, clock.sleep(ms, late.signal).catch(() => undefined)])
      late.abort()
      closing.abort(new Error('the outbox is closed'))
    },
  }
}

/** A message on its way, and whose it is. */
interface Sent extends OutgoingMessage {
  readonly held: Held
  readonly lane: Lane
}

/** Field by field, as in `publishHeld`. */
function outgoing(held: Held, lane: Lane, leftMs: number | null): Sent {
  const { id, message } = held.entry
  const { user_properties } = message
  return {
    held,
    lane,
    topic: message.topic,
    payload: message.payload,
    qos: message.qos,
    retain: message.retain,
    expiry_seconds: leftMs === null ? undefined : Math.max(1, Math.ceil(leftMs / 1000)),
    content_type: message.content_type,
    response_topic: message.response_topic,
    correlation_data: message.correlation_data,
    user_properties:
      user_properties === undefined ? { [MESSAGE_ID_PROPERTY]: id } : { ...user_properties, [MESSAGE_ID_PROPERTY]: id },
  }
}
