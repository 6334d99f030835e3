import { z } from 'zod'
import { toMhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { IncomingMessage, MqttSession } from '../client/mqtt-session.ts'
import { allowSubscribe } from '../client/topics/topic-rules.ts'
import { CONNECT_ERRORS, type MqttContext, sessionOf } from '../context.ts'
import type { MqttSettings } from '../settings.ts'
import { collect } from './collect.ts'
import { textOf } from './message-output.ts'

/** Where brokers tell about themselves: mosquitto's man page, "BROKER STATUS"; others follow it in part. */
const SYS = '$SYS/#'
const SHOWN = 500

const number = (what: string) => z.number().nullable().describe(what)

const input = z.object({
  quiet_seconds: z
    .number()
    .min(0.05)
    .max(60)
    .default(0.5)
    .describe('seconds without a further value after which it ends: brokers do not say when they are done'),
})

const output = z.object({
  endpoint: z.string().nullable().describe('broker in use'),
  client_id: z.string(),
  state: z.enum(['connecting', 'connected', 'waiting', 'refused', 'closed']),
  lost: z.number().int().describe('connections that were lost'),
  switches: z.number().int().describe('times that another broker of the list was turned to'),
  failures: z.number().int().describe('tries to connect that failed'),
  subscriptions: z.number().int().describe('topic filters of this connection'),
  received: z.number().int().describe('messages that came over this connection'),
  published: z.number().int().describe('messages that were sent over this connection'),
  dropped: z.number().int().describe('QoS 0 messages dropped for lack of room'),
  duplicates: z.number().int().describe('messages that have come before, or may have'),
  sys_available: z.boolean().describe('whether the broker tells about itself to this client'),
  version: z.string().nullable(),
  uptime_seconds: number('seconds that the broker has been running'),
  clients_connected: number('clients connected to the broker'),
  broker_subscriptions: number('subscriptions at the broker'),
  retained_messages: number('messages that the broker keeps'),
  messages_received: number('messages that the broker received since it started'),
  messages_sent: number('messages that the broker sent since it started'),
  messages_dropped: number('messages that the broker dropped since it started'),
  sys: z.record(z.string(), z.string()).describe('everything the broker tells, by topic without $SYS/'),
})

export type BrokerStatusInput = z.output<typeof input>
export type BrokerStatusData = z.output<typeof output>

export const brokerStatus = defineOperation({
  id: 'mqtt.broker_status',
  title: 'Status of a broker',
  summary: 'Tells which broker of the list is in use, how the connection does, and what the broker says of itself.',
  description:
    'What the broker says of itself comes from its topics $SYS/#. Not all brokers have them, and not all clients may read ' +
    'them; then sys_available is false, and the rest is still there.',
  effect: 'read',
  idempotent: true,
  input,
  output,
  errors: CONNECT_ERRORS,
  timeout: (settings: MqttSettings) => settings.request_timeout,
  examples: [{ title: 'The broker in use', target: 'site-1', input: {} }],
  run: (ctx: MqttContext, call: BrokerStatusInput) => runBrokerStatus(ctx, call),
  summarize: ({ endpoint, state, version, clients_connected }) => ({
    output: `${endpoint ?? 'no broker'}: ${state}, ${version ?? 'version not told'}, ${clients_connected ?? '?'} clients`,
  }),
})

async function runBrokerStatus(ctx: MqttContext, call: BrokerStatusInput): Promise<BrokerStatusData> {
  const session = sessionOf(ctx)
  await session.ready(ctx.signal)
  const values = await readSys(ctx, session, call)
  const value = (topic: string) => {
    const text = values?.get(`$SYS/broker/${topic}`)
    const found = text === undefined ? Number.NaN : Number.parseFloat(text)
    return Number.isFinite(found) ? found : null
  }
  const { last_error: _last, buffered_bytes: _bytes, ...facts } = session.facts()
  return {
    ...facts,
    sys_available: values !== undefined && values.size > 0,
    version: values?.get('$SYS/broker/version') ?? null,
    uptime_seconds: value('uptime'),
    clients_connected: value('clients/connected'),
    broker_subscriptions: value('subscriptions/count'),
    retained_messages: value('retained messages/count'),
    messages_received: value('messages/received'),
    messages_sent: value('messages/sent'),
    messages_dropped: value('publish/messages/dropped'),
    sys: Object.fromEntries([...(values ?? [])].map(([topic, text]) => [topic.slice('$SYS/'.length), text])),
  }
}

/** Undefined where the broker, or a topic rule, does not let us read them. */
async function readSys(
  ctx: MqttContext,
  session: MqttSession,
  { quiet_seconds }: BrokerStatusInput,
): Promise<ReadonlyMap<string, string> | undefined> {
  try {
    allowSubscribe(ctx.settings.topic_rules, ctx.principal, SYS)
    const { messages } = await collect(session, {
      filters: [SYS],
      qos: 0,
      retained: true,
      seconds: 86_400,
      max_messages: SHOWN,
      max_bytes: 1_048_576,
      quiet_ms: quiet_seconds * 1000,
      accept: (message) => message.topic.startsWith('$SYS/'),
      clock: ctx.clock,
      deadline: ctx.deadline,
      signal: ctx.signal,
    })
    return new Map(
      messages.map(({ topic, payload }: IncomingMessage) => [topic, textOf(payload)?.slice(0, 1_000) ?? '']),
    )
  } catch (error) {
    const { code } = toMhvError(error)
    const refused: readonly string[] = [
      'MHV_MQTT_NOT_AUTHORIZED',
      'MHV_MQTT_SUBSCRIBE_REJECTED',
      'MHV_MQTT_TOPIC_DENIED',
    ]
    if (refused.includes(code)) return undefined
    throw error
  }
}
