import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { OutgoingMessage, Qos } from '../mqtt-session.ts'
import { measurePublish, writePublishHead } from './publish-packet.ts'

interface ParsedPublish {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: Qos
  readonly retain: boolean
  readonly dup: boolean
  readonly messageId?: number
  readonly properties?: Readonly<Record<string, unknown>>
}

interface Parser {
  on(event: 'packet', listener: (packet: ParsedPublish) => void): void
  on(event: 'error', listener: (error: Error) => void): void
  parse(bytes: Buffer): number
}

/** What mqtt.js reads with, which has nothing in common with what is tested here. */
const mqttPacket = createRequire(import.meta.resolve('mqtt'))('mqtt-packet') as {
  parser(options: { readonly protocolVersion: number }): Parser
}

function parse(bytes: Buffer, five: boolean): readonly ParsedPublish[] {
  const found: ParsedPublish[] = []
  const parser = mqttPacket.parser({ protocolVersion: five ? 5 : 4 })
  parser.on('packet', (packet) => found.push(packet))
  parser.on('error', (error) => {
    throw error
  })
  assert.equal(parser.parse(bytes), 0, 'bytes are left')
  return found
}

function packetOf(message: OutgoingMessage, id: number, five: boolean): Buffer {
  const measured = measurePublish(message, five)
  const bytes = Buffer.alloc(measured.bytes, 0xff)
  writePublishHead(bytes, 0, measured, id)
  bytes.set(message.payload, measured.head)
  return bytes
}

const text = (least: number) => fc.string({ unit: 'grapheme', minLength: least, maxLength: 40 })
/** Of several values with one name, the parser loses empty ones. */
const userProperties = fc.dictionary(
  text(1).filter((name) => name !== '__proto__'),
  fc.oneof(
    text(0),
    fc.array(text(1), { minLength: 2, maxLength: 3 }).map((values) => values as readonly string[]),
  ),
  { minKeys: 1, maxKeys: 4 },
)
const payloads = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  // Around the borders of the lengths of one, two and three bytes.
  fc.constantFrom(0, 100, 127, 128, 16_300, 16_383, 16_384, 70_000).map((length) => new Uint8Array(length).fill(7)),
)
const messages: fc.Arbitrary<OutgoingMessage> = fc.record(
  {
    topic: text(1),
    payload: payloads,
    qos: fc.constantFrom<Qos>(0, 1, 2),
    retain: fc.boolean(),
    expiry_seconds: fc.integer({ min: 1, max: 4_294_967_295 }),
    content_type: text(0),
    response_topic: text(1),
    correlation_data: fc.uint8Array({ maxLength: 200 }),
    user_properties: userProperties,
  },
  { requiredKeys: ['topic', 'payload', 'qos', 'retain'] },
)

suite('PUBLISH packets', () => {
  test('whatever a message has, another parser reads it back, with MQTT 5 and 3.1.1', () => {
    fc.assert(
      fc.property(messages, fc.integer({ min: 1, max: 65_535 }), fc.boolean(), (message, id, five) => {
        const [packet, ...others] = parse(packetOf(message, id, five), five)
        assert.ok(packet)
        assert.deepEqual(others, [])
        const { topic, payload, qos, retain, dup, messageId } = packet
        assert.deepEqual([topic, qos, retain, dup], [message.topic, message.qos, message.retain, false])
        assert.ok(Buffer.from(message.payload).equals(payload))
        if (qos > 0) assert.equal(messageId, id)
        if (!five) return
        const { messageExpiryInterval, contentType, responseTopic, correlationData, userProperties } =
          packet.properties ?? {}
        assert.equal(messageExpiryInterval, message.expiry_seconds)
        assert.equal(contentType, message.content_type)
        assert.equal(responseTopic, message.response_topic)
        assert.deepEqual(
          correlationData === undefined ? undefined : [...(correlationData as Buffer)],
          message.correlation_data === undefined ? undefined : [...message.correlation_data],
        )
        assert.deepEqual(
          userProperties === undefined ? undefined : { ...(userProperties as object) },
          message.user_properties === undefined ? undefined : { ...message.user_properties },
        )
      }),
      { numRuns: 1_000 },
    )
  })

  test('what no packet can hold is refused before anything is written', () => {
    const message = { topic: 'a', payload: new Uint8Array(0), qos: 1, retain: false } as const
    const long = 'x'.repeat(65_536)
    assert.throws(() => measurePublish({ ...message, topic: long }, true), RangeError)
    assert.throws(() => measurePublish({ ...message, user_properties: { name: long } }, true), RangeError)
    assert.throws(() => measurePublish({ ...message, correlation_data: Buffer.from(long) }, true), RangeError)
    const endless = { length: 268_435_456 } as Uint8Array
    assert.throws(() => measurePublish({ ...message, payload: endless }, false), RangeError)
    assert.equal(measurePublish({ ...message, user_properties: { name: long } }, false).head, 7)
  })
})
