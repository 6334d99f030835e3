import { z } from 'zod'
import { isoTime } from '../../../core/clock.ts'
import { IDENTITY_PROBLEMS } from '../client/identity/identity.ts'
import type { IncomingMessage } from '../client/mqtt-session.ts'

/** A received message as callers get it. */
export const messageOutput = z.object({
  topic: z.string(),
  payload: z.string().describe('text; base64 where encoding says so'),
  encoding: z.enum(['utf8', 'base64']).describe('base64 where the payload is no UTF-8'),
  bytes: z.number().int().describe('bytes of the payload'),
  qos: z.number().int(),
  retain: z.boolean().describe('the broker had kept it'),
  duplicate: z.boolean().describe('it has come before, or may have'),
  received_at: z.string().describe('time of arrival, ISO 8601'),
  content_type: z.string().optional(),
  response_topic: z.string().optional(),
  correlation_data: z.string().optional().describe('as text'),
  user_properties: z.record(z.string(), z.union([z.string(), z.array(z.string())])).optional(),
  identity_problem: z.enum(IDENTITY_PROBLEMS).optional().describe('its payload, or its sender, is another device'),
})

export type MessageOutput = z.output<typeof messageOutput>

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Bytes as text, or undefined where they are none. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes)
  } catch {
    return undefined
  }
}

export function toOutput(message: IncomingMessage): MessageOutput {
  const { topic, payload, qos, retain, duplicate } = message
  const text = textOf(payload)
  const { content_type, response_topic, correlation_data, user_properties, identity_problem } = message
  return {
    topic,
    payload: text ?? Buffer.from(payload).toString('base64'),
    encoding: text === undefined ? 'base64' : 'utf8',
    bytes: payload.length,
    qos,
    retain,
    duplicate,
    received_at: isoTime(message.received_at),
    ...(content_type === undefined ? {} : { content_type }),
    ...(response_topic === undefined ? {} : { response_topic }),
    ...(correlation_data === undefined ? {} : { correlation_data: Buffer.from(correlation_data).toString() }),
    ...(user_properties === undefined ? {} : { user_properties: plainProperties(user_properties) }),
    ...(identity_problem === undefined ? {} : { identity_problem }),
  }
}

function plainProperties(properties: NonNullable<IncomingMessage['user_properties']>) {
  return Object.fromEntries(
    Object.entries(properties).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
  )
}
