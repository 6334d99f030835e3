import { isUtf8 } from 'node:buffer'
import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { checkFilter, matchesFilter } from '../client/topics/topics.ts'
import { type MqttContext, mayReceive } from '../context.ts'
import { OVERFLOW_POLICIES } from './outbox.ts'
import { outboxOf } from './outbox-status.ts'

const input = z.object({
  topic: z.string().min(1).max(65_535).optional().describe('only of topics that this filter takes'),
  limit: z.number().int().min(1).max(1_000).default(100).describe('most messages of one answer'),
  payload_bytes: z.number().int().min(0).max(65_536).default(256).describe('bytes of each payload that are shown'),
  cursor: z.number().int().min(0).default(0).describe('goes on where an earlier answer ended'),
})

const time = z.string().nullable()

export const outboxInspect = defineOperation({
  id: 'mqtt.outbox_inspect',
  title: 'Messages in the outbox',
  summary: 'Lists the messages that wait in the outbox of a target, in the order in which they were accepted.',
  description: 'Messages of topics that mqtt.topic_rules do not let the caller subscribe to are left out.',
  effect: 'read',
  idempotent: true,
  input,
  output: z.object({
    messages: z.array(
      z.object({
        id: z.string(),
        topic: z.string(),
        qos: z.number().int(),
        retain: z.boolean(),
        payload: z.string().describe('text, or base64 where it is not UTF-8'),
        encoding: z.enum(['utf8', 'base64']),
        bytes: z.number().int().describe('that it takes in the outbox'),
        truncated: z.boolean(),
        overflow: z.enum(OVERFLOW_POLICIES),
        accepted_at: z.string(),
        expires_at: time,
        in_flight: z.boolean(),
        sends: z.number().int().describe('times that it was sent since start'),
      }),
    ),
    cursor: z.number().int().nullable().describe('for the next answer; null when there is nothing more'),
  }),
  errors: ['MHV_MQTT_TOPIC_INVALID'],
  timeout: 30,
  examples: [{ title: 'Commands that wait', target: 'site-1', input: { topic: 'mahavishnu/commands/#' } }],
  async run(context: MqttContext, { topic, limit, payload_bytes, cursor }: z.output<typeof input>) {
    if (topic !== undefined) checkFilter(topic)
    const all = outboxOf(context).held(cursor, Number.MAX_SAFE_INTEGER)
    const fitting = all.filter(
      (held) => (topic === undefined || matchesFilter(topic, held.topic)) && mayReceive(context, held.topic),
    )
    const page = fitting.slice(0, limit)
    return {
      cursor: fitting.length > limit ? (page.at(-1)?.seq ?? null) : null,
      messages: page.map(({ seq: _, payload, accepted_at, expires_at, ...held }) => {
        const buffer = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
        const encoding = isUtf8(buffer) ? ('utf8' as const) : ('base64' as const)
        return {
          ...held,
          payload: buffer.subarray(0, payload_bytes).toString(encoding),
          encoding,
          truncated: buffer.byteLength > payload_bytes,
          accepted_at: new Date(accepted_at).toISOString(),
          expires_at: expires_at === null ? null : new Date(expires_at).toISOString(),
        }
      }),
    }
  },
  summarize: ({ messages }) => ({
    output:
      messages.length === 0
        ? 'nothing waits'
        : messages.map(({ id, topic, qos, payload }) => `${id} ${topic} QoS ${qos} ${payload}`).join('\n'),
  }),
})
