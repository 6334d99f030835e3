import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import type { OutgoingMessage, Qos } from '../client/mqtt-session.ts'
import { MAX_STRING_BYTES } from '../client/topics/topics.ts'

/** Longest payload as it is written in an input, in characters: it lies in memory and in the journal. */
const MAX_TEXT = 8 * 1_048_576

const topic = () => z.string().min(1).max(MAX_STRING_BYTES)
const wellFormed = () =>
  z.string().refine((text) => text.isWellFormed(), { error: 'must be well-formed Unicode, without lone surrogates' })

export const qosInput = z
  .union([z.literal(0), z.literal(1), z.literal(2)])
  .describe('0: at most once; 1: at least once; 2: exactly once on each connection')

/** One message as callers write it. */
export const messageShape = {
  topic: topic().describe('topic to publish to; no wildcards'),
  payload: z
    .union([wellFormed().max(MAX_TEXT), z.record(z.string(), z.unknown())])
    .default('')
    .describe('text, or an object that is sent as JSON'),
  encoding: z.enum(['utf8', 'base64', 'hex']).default('utf8').describe('how a payload that is text stands for bytes'),
  qos: qosInput.default(0),
  retain: z.boolean().default(false).describe('the broker keeps it for those who subscribe later'),
  expiry_seconds: z
    .number()
    .int()
    .min(1)
    .max(4_294_967_295)
    .optional()
    .describe('seconds after which it is not delivered any more (MQTT 5)'),
  content_type: wellFormed().max(1_000).optional().describe('media type of the payload (MQTT 5)'),
  response_topic: topic().optional().describe('where an answer is wanted (MQTT 5)'),
  correlation_data: wellFormed().max(1_000).optional().describe('text that an answer repeats (MQTT 5)'),
  user_properties: z
    .record(z.string().min(1).max(300), wellFormed().max(10_000))
    .optional()
    .describe('further names and values (MQTT 5)'),
}

export const messageInput = z.strictObject(messageShape)
export type MessageInput = z.output<typeof messageInput>

/** Throws MHV_INPUT_INVALID for text that is not in its encoding. */
export function toOutgoing(input: MessageInput): OutgoingMessage {
  const json = typeof input.payload !== 'string'
  return {
    topic: input.topic,
    payload: bytesOf(input),
    qos: input.qos satisfies Qos,
    retain: input.retain,
    expiry_seconds: input.expiry_seconds,
    content_type: input.content_type ?? (json ? 'application/json' : undefined),
    response_topic: input.response_topic,
    correlation_data: input.correlation_data === undefined ? undefined : Buffer.from(input.correlation_data),
    user_properties: input.user_properties,
  }
}

function bytesOf({ payload, encoding }: MessageInput): Uint8Array {
  if (typeof payload !== 'string') return Buffer.from(JSON.stringify(payload))
  const bytes = Buffer.from(payload, encoding)
  // Buffer leaves out what it does not understand, and would send something else than was meant.
  const same = (text: string) => text.replace(/=+$/, '').toLowerCase()
  const exact =
    encoding === 'base64' ? bytes.toString('base64').replace(/=+$/, '') === payload.replace(/=+$/, '') : true
  if (!exact || (encoding === 'hex' && same(bytes.toString('hex')) !== same(payload))) {
    throw mhvError('MHV_INPUT_INVALID', `payload: is not ${encoding}`)
  }
  return bytes
}
