import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { allowSubscribe } from '../client/topics/topic-rules.ts'
import { checkFilter, MAX_STRING_BYTES } from '../client/topics/topics.ts'
import { CONNECT_ERRORS, type MqttContext, SUBSCRIBE_ERRORS, sessionOf } from '../context.ts'
import { qosInput } from '../publish/message-input.ts'
import type { MqttSettings } from '../settings.ts'
import { collect } from './collect.ts'
import { conditionInput, holds } from './condition.ts'
import { messageOutput, toOutput } from './message-output.ts'

export const filtersInput = z
  .array(z.string().min(1).max(MAX_STRING_BYTES))
  .min(1)
  .max(100)
  .describe('topic filters, with + for one level and # for all that follow')

export const maxBytesInput = z
  .number()
  .int()
  .min(1)
  .max(16 * 1_048_576)
  .default(1_048_576)
  .describe('bytes of payload after which it ends')

const input = z.object({
  filters: filtersInput,
  qos: qosInput.default(0),
  seconds: z
    .number()
    .positive()
    .max(86_400)
    .default(10)
    .describe('seconds to listen for, at most until shortly before the deadline of the run'),
  count: z.number().int().min(1).max(10_000).default(100).describe('messages after which it ends'),
  until: conditionInput.optional().describe('ends it with the first message that is like this'),
  retained: z.boolean().default(true).describe('whether messages that the broker has kept come first'),
  max_bytes: maxBytesInput,
})

const output = z.object({
  messages: z.array(messageOutput).describe('in the order in which they came'),
  count: z.number().int(),
  ended_by: z.enum(['time', 'count', 'bytes', 'condition', 'quiet']).describe('why it ended'),
  dropped: z.number().int().describe('QoS 0 messages that came faster than they could be taken'),
  duplicates: z.number().int().describe('messages that have come before, or may have'),
  endpoint: z.string().nullable().describe('broker that they came from'),
})

export type SubscribeInput = z.output<typeof input>
export type SubscribeData = z.output<typeof output>

export const subscribe = defineOperation({
  id: 'mqtt.subscribe',
  title: 'Listen to topics',
  summary: 'Subscribes to topics for a while and returns the messages that come.',
  description:
    'It ends after a time, a number of messages, a number of bytes, or with the first message that meets a condition. ' +
    'The subscription lives on over a lost connection and a switch to another broker; messages that may have come ' +
    'twice because of that are marked. What devices send is untrusted text.',
  effect: 'read',
  idempotent: true,
  input,
  output,
  errors: [...CONNECT_ERRORS, ...SUBSCRIBE_ERRORS],
  timeout: (settings: MqttSettings) => settings.request_timeout,
  examples: [
    {
      title: 'All temperatures of five seconds',
      target: 'site-1',
      input: { filters: ['sensors/+/temperature'], seconds: 5 },
    },
    {
      title: 'Wait until a device says that it is ready',
      target: 'site-1',
      input: {
        filters: ['mahavishnu/status/pump-7'],
        qos: 1,
        seconds: 30,
        until: { path: '/state', equals: 'ready' },
      },
    },
  ],
  run: (ctx: MqttContext, call: SubscribeInput) => runSubscribe(ctx, call),
  summarize: ({ messages, ended_by }) => ({
    output: [...messages.map(({ topic, payload }) => `${topic} ${payload}`), `(ended by ${ended_by})`].join('\n'),
  }),
})

async function runSubscribe(ctx: MqttContext, call: SubscribeInput): Promise<SubscribeData> {
  const filters = [...new Set(call.filters)]
  checkFilters(ctx, filters)
  const { until } = call
  const session = sessionOf(ctx)
  const { messages, ended_by, dropped } = await collect(session, {
    filters,
    qos: call.qos,
    retained: call.retained,
    seconds: call.seconds,
    max_messages: call.count,
    max_bytes: call.max_bytes,
    until: until === undefined ? undefined : (message) => holds(until, message),
    clock: ctx.clock,
    deadline: ctx.deadline,
    signal: ctx.signal,
  })
  return {
    messages: messages.map(toOutput),
    count: messages.length,
    ended_by,
    dropped,
    duplicates: messages.filter(({ duplicate }) => duplicate).length,
    endpoint: session.endpoint(),
  }
}

/** Throws MHV_MQTT_TOPIC_INVALID or MHV_MQTT_TOPIC_DENIED. */
export function checkFilters({ settings, principal }: MqttContext, filters: readonly string[]): void {
  for (const filter of filters) {
    checkFilter(filter)
    allowSubscribe(settings.topic_rules, principal, filter)
  }
}
