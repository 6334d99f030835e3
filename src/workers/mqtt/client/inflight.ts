import type { Clock } from '../../../core/clock.ts'
import { type MhvError, mhvError, systemCode } from '../../../core/errors.ts'
import { createAbortGroup } from './abort-group.ts'
import type { Endpoint } from './endpoint.ts'
import type { BrokerLimits } from './link.ts'
import type { MqttClient } from './mqtt-library.ts'
import type { OutgoingMessage, PublishAck } from './mqtt-session.ts'
import { NOT_AUTHORIZED, PACKET_TOO_LARGE, reasonText } from './reason-codes.ts'
import { createSending } from './sending.ts'

/** Bytes of a PUBLISH beside topic and payload, at the most that it usually is. */
const HEADER = 64

interface Item {
  readonly message: OutgoingMessage
  readonly signal: AbortSignal
  sent: boolean
  settled: boolean
  resolve(ack: PublishAck): void
  reject(error: unknown): void
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
  isOpen(): boolean
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
    settle(item)
    item.reject(reason)
  })
  /** QoS 1 and 2, which wait for a place in the window. */
  const waiting = createQueue<Item>()
  /** QoS 0, which waits until the stream has taken what it was given. */
  const unsent = createQueue<Item>()
  let inflight = 0
  let draining = false

  void parts.over.then((reason) => {
    for (const item of open) fail(item, lostError(item, reason))
    open.clear()
    waiting.clear()
    unsent.clear()
  })

  function settle(item: Item): void {
    if (item.settled) return
    item.settled = true
    aborts.remove(item.signal, item)
  }

  function fail(item: Item, error: unknown): void {
    settle(item)
    item.reject(error)
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
    if (counted) inflight += 1
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
    if (message.qos > 0) inflight -= 1
    open.delete(item)
    if (error) fail(item, publishError(message, error, endpoint))
    else {
      const { reasonCode = 0 } = (packet ?? {}) as { reasonCode?: number }
      settle(item)
      item.resolve({ qos: message.qos, reason_code: reasonCode, endpoint: endpoint.name, at: clock.now() })
    }
    if (message.qos > 0) next()
  }

  return {
    publish(message: OutgoingMessage, signal: AbortSignal): Promise<PublishAck> {
      const refusal = refusalOf(message, limits, endpoint)
      if (refusal !== undefined) return Promise.reject(refusal)
      if (!parts.isOpen()) return Promise.reject(mhvError('MHV_MQTT_NOT_CONNECTED', `${endpoint.name}: no connection`))
      return new Promise((resolve, reject) => {
        const item: Item = { message, signal, sent: false, settled: false, resolve, reject }
        aborts.add(signal, item)
        open.add(item)
        if (message.qos === 0) {
          unsent.add(item)
          if (!draining) sendUnsent()
        } else {
          waiting.add(item)
          next()
        }
      })
    },
  }
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
  return mhvError('MHV_MQTT_CONNECTION_LOST', reason.message, { details: { topic: message.topic }, cause: reason })
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
