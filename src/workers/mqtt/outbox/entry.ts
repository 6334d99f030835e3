import { isUtf8 } from 'node:buffer'
import type { Qos } from '../client/mqtt-session.ts'
import type { OutboxMessage, OverflowPolicy } from './outbox.ts'

/** A message as it is held: in memory and, as JSON, in the worker's state. */
export interface Entry {
  /** Rises by one with every message of the outbox, and gives their order. */
  readonly seq: number
  /** ULID; with MQTT 5 it goes along in the user properties. */
  readonly id: string
  readonly message: OutboxMessage
  readonly accepted_at: number
  /** Of its JSON, about. */
  readonly bytes: number
}

/** Where the outboxes lie in the worker's state: their messages, and their counts. */
export const MESSAGES = 'outbox/messages/'
export const COUNTS = 'outbox/counts/'

const SEQ_DIGITS = 16

/** Keys of this target's messages sort as the messages were accepted. */
export function entryKeysOf(target: string): (seq: number) => string {
  const prefix = `${MESSAGES}${encodeURIComponent(target)}/`
  return (seq) => prefix + String(seq).padStart(SEQ_DIGITS, '0')
}

export function countsKey(target: string): string {
  return COUNTS + encodeURIComponent(target)
}

/** Target and number of a key of `entryKeysOf`. */
export function parseEntryKey(key: string): { readonly target: string; readonly seq: number } {
  const [target = '', seq = ''] = key.slice(MESSAGES.length).split('/')
  return { target: decodeURIComponent(target), seq: Number(seq) }
}

/** Bytes as JSON: text where they are UTF-8, which is read and written several times as fast as base64. */
type Bytes = { readonly text: string } | { readonly base64: string }

function encodeBytes(bytes: Uint8Array): Bytes {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return isUtf8(buffer) ? { text: buffer.toString('utf8') } : { base64: buffer.toString('base64') }
}

function decodeBytes(bytes: Bytes): Uint8Array {
  return 'text' in bytes ? Buffer.from(bytes.text, 'utf8') : Buffer.from(bytes.base64, 'base64')
}

/** Short names: they are written with every message. */
interface StoredEntry {
  readonly v: 1
  readonly id: string
  readonly topic: string
  readonly payload: Bytes
  readonly qos: Qos
  readonly retain: boolean
  readonly overflow: OverflowPolicy
  readonly at: number
  readonly expires_at: number | null
  readonly content_type?: string | undefined
  readonly response_topic?: string | undefined
  readonly correlation?: Bytes | undefined
  readonly user?: OutboxMessage['user_properties'] | undefined
}

export function encodeEntry({ id, message, accepted_at }: Entry): StoredEntry {
  const { topic, payload, qos, retain, overflow, expires_at, correlation_data } = message
  return {
    v: 1,
    id,
    topic,
    payload: encodeBytes(payload),
    qos,
    retain,
    overflow,
    at: accepted_at,
    expires_at,
    // What is undefined is not in the JSON.
    content_type: message.content_type,
    response_topic: message.response_topic,
    correlation: correlation_data === undefined ? undefined : encodeBytes(correlation_data),
    user: message.user_properties,
  }
}

export function decodeEntry(seq: number, value: unknown): Entry {
  const stored = value as StoredEntry
  const { correlation, user, content_type, response_topic } = stored
  const message: OutboxMessage = {
    topic: stored.topic,
    payload: decodeBytes(stored.payload),
    qos: stored.qos === 2 ? 2 : 1,
    retain: stored.retain,
    overflow: stored.overflow,
    expires_at: stored.expires_at,
    ...(content_type === undefined ? {} : { content_type }),
    ...(response_topic === undefined ? {} : { response_topic }),
    ...(correlation === undefined ? {} : { correlation_data: decodeBytes(correlation) }),
    ...(user === undefined ? {} : { user_properties: user }),
  }
  return { seq, id: stored.id, message, accepted_at: stored.at, bytes: sizeOf(message) }
}

/** Bytes of an entry beside payload and topic. */
const OVERHEAD = 200

/** What a message counts for in `max_bytes`. */
export function sizeOf({ topic, payload, user_properties }: OutboxMessage): number {
  const user = user_properties === undefined ? 0 : JSON.stringify(user_properties).length
  return OVERHEAD + Buffer.byteLength(topic) + payload.byteLength + user
}
