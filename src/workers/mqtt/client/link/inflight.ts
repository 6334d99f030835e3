import type { Clock } from '../../../../core/clock.ts'
import { type MhvError, mhvError, systemCode } from '../../../../core/errors.ts'
import type { OutgoingMessage, PublishAck, SendListener } from '../mqtt-session.ts'
import { createAbortGroup } from './abort-group.ts'
import { createAckWatch } from './ack-watch.ts'
import type { Endpoint } from './endpoint.ts'
import type { BrokerLimits } from './link.ts'
import type { MqttClient } from './mqtt-library.ts'
import { NOT_AUTHORIZED, PACKET_TOO_LARGE, reasonText } from './reason-codes.ts'
import { createSending } from './sending.ts'

/** Bytes of a PUBLISH beside topic and payload, at the most that it usually is. */
const HEADER = 64

interface Item {
  readonly message: OutgoingMessage
  readonly signal: AbortSignal
  readonly listener: SendListener
  sent: boolean
  settled: boolean
}

export interface InflightParts {
  readonly client: MqttClient
  readonly endpoint: Endpoint
  readonly limits: BrokerLimits
  /** QoS 1 and 2 messages that may be unacknowledged: a broker ends the connection of whoever sends more. */
  readonly window: number
  /** MQTT 5, and not 3.1.1. */
  readonly five: boolean
  readonly clock: Clock
  /** Seconds without the acknowledgement that is due next, after which the link is given up. */
  readonly ack_timeout: number
  isOpen(): boolean
  finish(reason: MhvError): void
  readonly over: Promise<MhvError>
}

/** The messages of one link on their way to the broker. mqtt.js neither keeps to a window nor fails what is in flight. */
export function createInflight(parts: InflightParts) {
  const { client, endpoint, limits, window, clock } = parts
  const sending = createSending(client, parts.five)
  const open = new Set<Item>()
  const aborts = createAbortGroup<Item>((item, reason) => {
    // What was sent stays in flight, and keeps its place in the window until it is acknowledged.
    if (!item.sent) open.delete(item)
    fail(item, reason)
  })
  /** QoS 1 and 2, which wait for a place in the window. */
  const waiting = createQueue<Item>()
  /** QoS 0, which waits until the stream has taken what it was given. */
  const unsent = createQueue<Item>()
  let inflight = 0
  let draining = false
  const watch = createAckWatch({
    clock,
    seconds: parts.ack_timeout,
    oldest: oldestSent,
    unwritten: () => client.stream.writableLength,
    onOverdue() {
      const why = `${endpoint.name}: the connection was lost: a message was not acknowledged within ${parts.ack_timeout} s`
      const details = { endpoint: endpoint.name, unacknowledged: true }
      parts.finish(mhvError('MHV_MQTT_CONNECTION_LOST', why, { details }))
    },
  })

  void parts.over.then((reason) => {
    watch.stop()
    for (const item of open) fail(item, lostError(item, reason))
    open.clear()
    waiting.clear()
    unsent.clear()
  })

  /** Whether it had no end yet: a listener is told of one. */
  function settle(item: Item): boolean {
    if (item.settled) return false
    item.settled = true
    aborts.remove(item.signal, item)
    return true
  }

  function fail(item: Item, error: unknown): void {
    if (settle(item)) item.listener.failed(error, item.message)
  }

  /** The first of QoS 1 or 2: where it waits for its place, so do all behind it. */
  function oldestSent(): Item | undefined {
    for (const item of open) if (item.message.qos > 0) return item.sent ? item : undefined
    return undefined
  }

  function next(): void {
    while (inflight < window) {
      const item = waiting.take()
      if (item === undefined) return
      if (!item.settled) send(item)
    }
  }

  /** In order, as fast as the stream takes them. */
  function sendUnsent(): void {
    while (!sending.needsDrain()) {
      const item = unsent.take()
      if (item === undefined) return
      if (!item.settled) send(item)
    }
    if (draining) return
    draining = true
    sending.onceDrained(() => {
      draining = false
      if (parts.isOpen()) sendUnsent()
    })
  }

  function send(item: Item): void {
    const { message } = item
    const counted = message.qos > 0
    if (counted) {
      inflight += 1
      watch.begin()
    }
    item.sent = true
    try {
      sending.send(message, (error, packet) => answered(item, error, packet))
    } catch (error) {
      // No packet can hold it, so it was not sent.
      if (counted) inflight -= 1
      open.delete(item)
      fail(item, mhvError('MHV_MQTT_PUBLISH_REJECTED', `the message cannot be written: ${String(error)}`))
    }
  }

  function answered(item: Item, error: Error | null | undefined, packet: unknown): void {
    const { message } = item
    // mqtt.js knows only that it is over; the reason comes with `over`.
    if (error && !('code' in error) && !parts.isOpen()) return
    if (message.qos > 0) inflight -= 1
    open.delete(item)
    if (error) fail(item, publishError(message, error, endpoint))
    else {
      const { reasonCode = 0 } = (packet ?? {}) as { reasonCode?: number }
      const ack = { qos: message.qos, reason_code: reasonCode, endpoint: endpoint.name, at: clock.now() }
      if (settle(item)) item.listener.acknowledged(ack, message)
    }
    if (message.qos > 0) next()
  }

  return {
    send(message: OutgoingMessage, signal: AbortSignal, listener: SendListener): void {
      const refusal = refusalOf(message, limits, endpoint)
      if (refusal !== undefined) {
        listener.failed(refusal, message)
        return
      }
      if (!parts.isOpen()) {
        listener.failed(mhvError('MHV_MQTT_NOT_CONNECTED', `${endpoint.name}: no connection`), message)
        return
      }
      const item: Item = { message, signal, listener, sent: false, settled: false }
      aborts.add(signal, item)
      open.add(item)
      if (message.qos === 0) {
        unsent.add(item)
        if (!draining) sendUnsent()
      } else {
        waiting.add(item)
        next()
      }
    },
  }
}

/** Sends one message; the promise is of what its listener is told. */
export function sendOne(
  to: { send(message: OutgoingMessage, signal: AbortSignal, listener: SendListener): void },
  message: OutgoingMessage,
  signal: AbortSignal,
): Promise<PublishAck> {
  return new Promise((resolve, reject) => to.send(message, signal, { acknowledged: resolve, failed: reject }))
}

/** First in, first out. */
function createQueue<T>() {
  let items: (T | undefined)[] = []
  /** Index of the first that is still there. */
  let head = 0

  function clear(): void {
    items = []
    head = 0
  }

  return {
    add: (item: T) => void items.push(item),
    take(): T | undefined {
      const item = items[head]
      items[head] = undefined
      head += 1
      if (head >= items.length) clear()
      else if (head > 10_000) {
        items = items.slice(head)
        head = 0
      }
      return item
    },
    clear,
  }
}

/** What the broker said when it took us that it does not take; to send it would end the connection. */
function refusalOf(message: OutgoingMessage, limits: BrokerLimits, endpoint: Endpoint): MhvError | undefined {
  const refuse = (why: string) => mhvError('MHV_MQTT_PUBLISH_REJECTED', `${endpoint.name} takes no ${why}`)
  if (message.retain && !limits.retain) return refuse('retained messages')
  if (message.qos > limits.max_qos) return refuse(`messages of QoS ${message.qos}`)
  const size = message.payload.length + Buffer.byteLength(message.topic) + HEADER
  if (size <= limits.max_packet) return undefined
  const why = `${endpoint.name} takes packets of ${limits.max_packet} bytes; this one has about ${size}`
  return mhvError('MHV_MQTT_MESSAGE_TOO_LARGE', why)
}

/** Whatever was not sent yet has certainly not arrived. */
function lostError({ message, sent }: Item, reason: MhvError): MhvError {
  if (!sent) {
    return mhvError(
      'MHV_MQTT_NOT_CONNECTED',
      `the connection was lost before the message was sent: ${reason.message}`,
      {
        retryAfter: 1,
      },
    )
  }
  const { reason_code = null } = reason.details ?? {}
  const details = { topic: message.topic, reason_code }
  return mhvError('MHV_MQTT_CONNECTION_LOST', reason.message, { details, cause: reason })
}

function publishError({ topic }: OutgoingMessage, error: Error, endpoint: Endpoint): MhvError {
  const code = 'code' in error && typeof error.code === 'number' ? error.code : undefined
  const details = { endpoint: endpoint.name, topic, reason_code: code ?? null }
  if (code === undefined) {
    const why = `${endpoint.name}: ${systemCode(error) ?? error.message}`
    return mhvError('MHV_MQTT_CONNECTION_LOST', why, { details, cause: error })
  }
  const why = `${endpoint.name} refused the message to ${JSON.stringify(topic)}, ${reasonText(code)}`
  if (code === NOT_AUTHORIZED) return mhvError('MHV_MQTT_NOT_AUTHORIZED', why, { details })
  if (code === PACKET_TOO_LARGE) return mhvError('MHV_MQTT_MESSAGE_TOO_LARGE', why, { details })
  return mhvError('MHV_MQTT_PUBLISH_REJECTED', why, { details })
}
