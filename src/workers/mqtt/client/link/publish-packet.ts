import type { OutgoingMessage } from '../mqtt-session.ts'

/**
 * PUBLISH packets as bytes: OASIS MQTT 5.0, 3.3, and MQTT 3.1.1, 3.3. mqtt.js writes each of them in seven or more
 * pieces, which costs it most of its time; here a packet is measured first and then written in one piece, beside others.
 */

/** Most that a packet may have after its fixed header: 1.5.5, four bytes of seven bits. */
const MAX_REMAINING = 268_435_455
/** Longest string and longest binary data: 1.5.4 and 1.5.6. */
const MAX_FIELD = 65_535
const PUBLISH = 0x30
const RETAIN = 0x01

/** Identifiers of properties: 2.2.2.2. */
const EXPIRY = 0x02
const CONTENT_TYPE = 0x03
const RESPONSE_TOPIC = 0x08
const CORRELATION_DATA = 0x09
const USER_PROPERTY = 0x26

/** A message with the lengths that its packet states. */
export interface MeasuredPublish {
  readonly message: OutgoingMessage
  readonly five: boolean
  /** Bytes of all properties, without their length. */
  readonly properties: number
  readonly remaining: number
  /** Bytes of the whole packet, and of what comes before its payload. */
  readonly bytes: number
  readonly head: number
}

/** Throws RangeError for what no packet can hold. */
export function measurePublish(message: OutgoingMessage, five: boolean): MeasuredPublish {
  const properties = five ? propertyBytes(message) : 0
  const id = message.qos === 0 ? 0 : 2
  const variable = fieldBytes(message.topic) + id + (five ? varintBytes(properties) + properties : 0)
  const remaining = variable + message.payload.length
  if (remaining > MAX_REMAINING) throw new RangeError(`a packet of ${remaining} bytes; ${MAX_REMAINING} are the most`)
  const head = 1 + varintBytes(remaining) + variable
  return { message, five, properties, remaining, bytes: head + message.payload.length, head }
}

/** Writes all of the packet but its payload, `measured.head` bytes from `at` on; `id` is that of QoS 1 and 2. */
export function writePublishHead(target: Buffer, at: number, measured: MeasuredPublish, id: number): void {
  const { message, five, properties, remaining } = measured
  target[at] = PUBLISH | (message.qos << 1) | (message.retain ? RETAIN : 0)
  let end = writeVarint(target, at + 1, remaining)
  end = writeText(target, end, message.topic)
  if (message.qos > 0) end = target.writeUInt16BE(id, end)
  if (five) {
    end = writeVarint(target, end, properties)
    if (properties > 0) end = writeProperties(target, end, message)
  }
}

function propertyBytes(message: OutgoingMessage): number {
  const { expiry_seconds, content_type, response_topic, correlation_data, user_properties } = message
  let bytes = 0
  if (expiry_seconds !== undefined) bytes += 5
  if (content_type !== undefined) bytes += 1 + fieldBytes(content_type)
  if (response_topic !== undefined) bytes += 1 + fieldBytes(response_topic)
  if (correlation_data !== undefined) bytes += 3 + checkedField(correlation_data.length)
  for (const name in user_properties) {
    const value = user_properties[name] as string | readonly string[]
    const nameBytes = 1 + fieldBytes(name)
    if (typeof value === 'string') bytes += nameBytes + fieldBytes(value)
    else for (const each of value) bytes += nameBytes + fieldBytes(each)
  }
  return bytes
}

function writeProperties(target: Buffer, at: number, message: OutgoingMessage): number {
  const { expiry_seconds, content_type, response_topic, correlation_data, user_properties } = message
  let end = at
  if (expiry_seconds !== undefined) {
    target[end] = EXPIRY
    end = target.writeUInt32BE(expiry_seconds, end + 1)
  }
  if (content_type !== undefined) end = writeTextProperty(target, end, CONTENT_TYPE, content_type)
  if (response_topic !== undefined) end = writeTextProperty(target, end, RESPONSE_TOPIC, response_topic)
  if (correlation_data !== undefined) {
    target[end] = CORRELATION_DATA
    end = target.writeUInt16BE(correlation_data.length, end + 1)
    target.set(correlation_data, end)
    end += correlation_data.length
  }
  for (const name in user_properties) {
    const value = user_properties[name] as string | readonly string[]
    for (const each of typeof value === 'string' ? [value] : value) {
      end = writeTextProperty(target, end, USER_PROPERTY, name)
      end = writeText(target, end, each)
    }
  }
  return end
}

function writeTextProperty(target: Buffer, at: number, identifier: number, text: string): number {
  target[at] = identifier
  return writeText(target, at + 1, text)
}

/** A string with its length before it. */
function writeText(target: Buffer, at: number, text: string): number {
  const bytes = target.write(text, at + 2)
  target.writeUInt16BE(bytes, at)
  return at + 2 + bytes
}

function fieldBytes(text: string): number {
  return 2 + checkedField(Buffer.byteLength(text))
}

function checkedField(bytes: number): number {
  if (bytes > MAX_FIELD) throw new RangeError(`a field of ${bytes} bytes; ${MAX_FIELD} are the most`)
  return bytes
}

function varintBytes(value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4
}

function writeVarint(target: Buffer, at: number, value: number): number {
  let rest = value
  let end = at
  for (; rest > 127; end += 1) {
    target[end] = (rest & 127) | 128
    rest >>>= 7
  }
  target[end] = rest
  return end + 1
}
