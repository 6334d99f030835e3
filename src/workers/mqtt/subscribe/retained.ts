import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { CONNECT_ERRORS, type MqttContext, SUBSCRIBE_ERRORS, sessionOf } from '../context.ts'
import type { MqttSettings } from '../settings.ts'
import { collect } from './collect.ts'
import { messageOutput, toOutput } from './message-output.ts'
import { checkFilters, filtersInput, maxBytesInput } from './subscribe.ts'

const input = z.object({
  filters: filtersInput,
  count: z.number().int().min(1).max(10_000).default(1_000).describe('messages after which it ends'),
  quiet_seconds: z
    .number()
    .min(0.05)
    .max(60)
    .default(0.5)
    .describe('seconds without a further message after which it ends: brokers do not say when they are done'),
  max_bytes: maxBytesInput,
})

const output = z.object({
  messages: z.array(messageOutput).describe('by topic'),
  count: z.number().int(),
  complete: z.boolean().describe('false where it ended at a limit, and there may be more'),
  endpoint: z.string().nullable().describe('broker that they came from'),
})

export type RetainedInput = z.output<typeof input>
export type RetainedData = z.output<typeof output>

export const retained = defineOperation({
  id: 'mqtt.retained',
  title: 'Look at kept messages',
  summary: 'Returns the messages that a broker keeps for topics.',
  description:
    'Brokers have no list of kept messages: it subscribes, takes what comes at once, and ends when nothing more comes ' +
    'for a moment. Messages that are published in the meantime are left out.',
  effect: 'read',
  idempotent: true,
  input,
  output,
  errors: [...CONNECT_ERRORS, ...SUBSCRIBE_ERRORS],
  timeout: (settings: MqttSettings) => settings.request_timeout,
  examples: [
    { title: 'The last status of all devices', target: 'site-1', input: { filters: ['mahavishnu/status/+'] } },
  ],
  run: (ctx: MqttContext, call: RetainedInput) => runRetained(ctx, call),
  summarize: ({ messages }) => ({ output: messages.map(({ topic, payload }) => `${topic} ${payload}`).join('\n') }),
})

async function runRetained(ctx: MqttContext, call: RetainedInput): Promise<RetainedData> {
  const filters = [...new Set(call.filters)]
  checkFilters(ctx, filters)
  const session = sessionOf(ctx)
  const { messages, ended_by } = await collect(session, {
    filters,
    qos: 0,
    retained: true,
    seconds: 86_400,
    max_messages: call.count,
    max_bytes: call.max_bytes,
    quiet_ms: call.quiet_seconds * 1000,
    accept: (message) => message.retain,
    clock: ctx.clock,
    deadline: ctx.deadline,
    signal: ctx.signal,
  })
  // Filters may overlap: the newest of a topic is the one that is kept.
  const byTopic = new Map(messages.map((message) => [message.topic, message]))
  const found = [...byTopic.values()].sort((a, b) => (a.topic < b.topic ? -1 : 1))
  return {
    messages: found.map(toOutput),
    count: found.length,
    complete: ended_by === 'quiet',
    endpoint: session.endpoint(),
  }
}
