import type { Clock } from '../../../core/clock.ts'
import { type MhvError, mhvError, systemCode } from '../../../core/errors.ts'
import { createAbortGroup } from './abort-group.ts'
import type { Endpoint } from './endpoint.ts'
import type { BrokerLimits } from './link.ts'
import type { MqttClient } from './mqtt-library.ts'
import type { OutgoingMessage, PublishAck } from './mqtt-session.ts'
import { NOT_AUTHORIZED, PACKET_TOO_LARGE, reasonText } from './reason-codes.ts'

/** Bytes of a PUBLISH beside topic and payload, at the most that it usually is. */
const HEADER = 64

interface Item {
  readonly message: OutgoingMessage
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
  readonly clock: Clock
  isOpen(): boolean
  readonly over: Promise<MhvError>
}

/** The messages of one link on their way to the broker. mqtt.js neither keeps to a window nor fails what is in flight. */
export function createInflight(parts: InflightParts) {
  const { client, endpoint, limits, window, clock } = parts
  const open = new Set<Item>()
  const aborts = createAbortGroup()
  let waiting: Item[] = []
  /** Index of the first of `waiting`. */
  let head = 0
  let inflight = 0

  void parts.over.then((reason) => {
    for (const item of open) item.reject(lostError(item, reason))
    open.clear()
    waiting = []
    head = 0
  })

  function next(): void {
    while (inflight < window && head < waiting.length) {
      const item = waiting[head] as Item
      head += 1
      if (!item.settled) send(item)
    }
    if (head === waiting.length || head > 10_000) {
      waiting = waiting.slice(head)
      head = 0
    }
  }

  function send(item: Item): void {
    const { message } = item
    const counted = message.qos > 0
    if (counted) inflight += 1
    item.sent = true
    client.publish(message.topic, bytesOf(message.payload), optionsOf(message), (error, packet) => {
      if (counted) {
        inflight -= 1
        next()
      }
      open.delete(item)
      if (error) item.reject(publishError(message, error, endpoint))
      else {
        const { reasonCode = 0 } = (packet ?? {}) as { reasonCode?: number }
        item.resolve({ qos: message.qos, reason_code: reasonCode, endpoint: endpoint.name, at: clock.now() })
      }
    })
  }

  return {
    publish(message: OutgoingMessage, signal: AbortSignal): Promise<PublishAck> {
      const refusal = refusalOf(message, limits, endpoint)
      if (refusal !== undefined) return Promise.reject(refusal)
      if (!parts.isOpen()) return Promise.reject(mhvError('MHV_MQTT_NOT_CONNECTED', `${endpoint.name}: no connection`))
      return new Promise((resolve, reject) => {
        const settle = () => {
          item.settled = true
          release()
        }
        const item: Item = {
          message,
          sent: false,
          settled: false,
          resolve(ack) {
            settle()
            resolve(ack)
          },
          reject(error) {
            settle()
            reject(error)
          },
        }
        const onAbort = () => {
          // What was sent stays in flight, and keeps its place in the window until it is acknowledged.
          if (!item.sent) open.delete(item)
          item.reject(signal.reason)
        }
        const release = aborts.add(signal, onAbort)
        open.add(item)
        if (message.qos === 0) send(item)
        else {
          waiting.push(item)
          next()
        }
      })
    },
  }
}

function optionsOf(message: OutgoingMessage) {
  const { qos, retain } = message
  const properties = {
    ...(message.expiry_seconds === undefined ? {} : { messageExpiryInterval: message.expiry_seconds }),
    ...(message.content_type === undefined ? {} : { contentType: message.content_type }),
    ...(message.response_topic === undefined ? {} : { responseTopic: message.response_topic }),
    ...(message.correlation_data === undefined ? {} : { correlationData: bytesOf(message.correlation_data) }),
    ...(message.user_properties === undefined
      ? {}
      : { userProperties: message.user_properties as Record<string, string | string[]> }),
  }
  return Object.keys(properties).length === 0 ? { qos, retain } : { qos, retain, properties }
}

function bytesOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
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
