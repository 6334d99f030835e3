import { z } from 'zod'
import { mhvError, toMhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { OutgoingMessage, SendListener } from '../client/mqtt-session.ts'
import { allowPublish } from '../client/topics/topic-rules.ts'
import { checkTopic } from '../client/topics/topics.ts'
import { CONNECT_ERRORS, type MqttContext, PUBLISH_ERRORS, sessionOf } from '../context.ts'
import { refuseFirmwareTopic } from '../ota/firmware-topic.ts'
import { OVERFLOW_POLICIES } from '../outbox/outbox.ts'
import { type PublishOutcome, publishHeld } from '../outbox/publish-held.ts'
import type { MqttSettings } from '../settings.ts'
import { messageInput, messageShape, toOutgoing } from './message-input.ts'
import { createTally, type Tally } from './tally.ts'

/** Messages of one call; more are more calls. */
const MAX_MESSAGES = 10_000
const input = z
  .object({
    ...messageShape,
    topic: messageShape.topic.optional(),
    messages: z
      .array(messageInput)
      .min(1)
      .max(MAX_MESSAGES)
      .optional()
      .describe('several messages, sent in this order, instead of one'),
    overflow: z
      .enum(OVERFLOW_POLICIES)
      .optional()
      .describe(
        'QoS 1 and 2, when the outbox is full: reject the call, or drop the oldest messages of that kind; by default, ' +
          'topics of mqtt.outbox.telemetry_topics drop, all others reject',
      ),
    wait_for: z
      .enum(['delivered', 'accepted'])
      .default('delivered')
      .describe(
        'QoS 1 and 2: wait for the broker (no longer than mqtt.outbox.delivery_wait), or only until they are on disk',
      ),
  })
  .refine(({ topic, messages }) => (topic === undefined) !== (messages === undefined), {
    error: 'either topic or messages is needed, and not both',
    path: ['topic'],
  })

const output = z.object({
  state: z
    .enum(['sent', 'accepted', 'delivered'])
    .describe(
      'delivered: the broker acknowledged all; accepted: kept on disk until it does; sent: QoS 0, written to the ' +
        'connection, and nobody says whether it arrived',
    ),
  messages: z.number().int().describe('messages of the call'),
  delivered: z.number().int().describe('QoS 1 and 2 messages that the broker acknowledged'),
  accepted: z.number().int().describe('QoS 1 and 2 messages that are kept on disk until the broker acknowledges them'),
  sent: z.number().int().describe('QoS 0 messages; they are never kept'),
  no_subscribers: z
    .number()
    .int()
    .describe('acknowledged messages that nobody subscribes to, where the broker says so'),
  endpoint: z.string().nullable().describe('broker that took them'),
})

export type PublishInput = z.output<typeof input>
export type PublishData = z.output<typeof output>

export const publish = defineOperation({
  id: 'mqtt.publish',
  title: 'Publish messages',
  summary: 'Publishes one message, or several in their order, to topics of a broker.',
  description:
    'QoS 0 is written to the connection and never kept: its state is "sent". QoS 1 and 2 are on disk before they are ' +
    'accepted, sent at least once, in order for each topic, and kept until the broker acknowledges them: "delivered". ' +
    'Without a connection they are "accepted" and sent when there is one. Topics are checked by the standard and by ' +
    'mqtt.topic_rules.',
  effect: 'write',
  idempotent: false,
  input,
  output,
  errors: [
    ...CONNECT_ERRORS,
    ...PUBLISH_ERRORS,
    'MHV_MQTT_PUBLISH_PARTIAL',
    'MHV_MQTT_OUTBOX_FULL',
    'MHV_MQTT_MESSAGE_GIVEN_UP',
  ],
  timeout: (settings: MqttSettings) => settings.request_timeout,
  cli: { stdin: 'payload' },
  examples: [
    {
      title: 'A command to one device',
      target: 'site-1',
      input: { topic: 'mahavishnu/commands/pump-7', payload: { action: 'start', rate: 3 }, qos: 1 },
    },
    {
      title: 'Several readings in one call',
      target: 'site-1',
      input: {
        messages: [
          { topic: 'sensors/pump-7/temperature', payload: '21.5' },
          { topic: 'sensors/pump-7/pressure', payload: '1.02' },
        ],
      },
    },
  ],
  run: (ctx: MqttContext, call: PublishInput) => runPublish(ctx, call),
  summarize: ({ state, messages, endpoint }) => ({
    output: `${messages} ${messages === 1 ? 'message' : 'messages'} ${state}${endpoint === null ? '' : ` (${endpoint})`}`,
  }),
})

async function runPublish(
  ctx: MqttContext,
  { messages: list, overflow, wait_for, ...one }: PublishInput,
): Promise<PublishData> {
  const { topic } = one
  const messages = (list ?? (topic === undefined ? [] : [{ ...one, topic }])).map(toOutgoing)
  // All of them, before anything is sent.
  for (const message of messages) checkMessage(ctx, message)
  const held = messages.filter(({ qos }) => qos > 0)
  const others = messages.filter(({ qos }) => qos === 0)
  const tally = createTally(messages)
  // What is held goes first: if it is refused, nothing was done.
  if (held.length > 0) {
    const outcomes = await publishHeld(ctx, held, { overflow, wait_for })
    for (const [index, message] of held.entries()) tally.add(message, outcomes[index] as PublishOutcome)
  }
  if (others.length > 0) await sendAll(ctx, others, tally)
  return tally.report()
}

/** QoS 0: over the connection that is there, and never again. */
async function sendAll(ctx: MqttContext, messages: readonly OutgoingMessage[], tally: Tally): Promise<void> {
  const session = sessionOf(ctx)
  await session.ready(ctx.signal)
  await new Promise<void>((resolve) => {
    let open = messages.length
    const settled = () => {
      open -= 1
      if (open === 0) resolve()
    }
    const listener: SendListener = {
      acknowledged(ack) {
        tally.taken(ack)
        settled()
      },
      failed(error, message) {
        tally.failed(message, toMhvError(error))
        settled()
      },
    }
    for (const message of messages) session.send(message, ctx.signal, listener)
  })
}

function checkMessage({ settings, principal }: MqttContext, { topic, payload, response_topic }: OutgoingMessage): void {
  // Whoever answers publishes to the response topic because the caller says so.
  for (const each of response_topic === undefined ? [topic] : [topic, response_topic]) {
    checkTopic(each)
    refuseFirmwareTopic(each)
    allowPublish(settings.topic_rules, principal, each)
  }
  const most = settings.throttling.max_message_size
  if (payload.length <= most) return
  const why = `the message to ${JSON.stringify(topic)} has ${payload.length} bytes; ${most} are the most`
  throw mhvError('MHV_MQTT_MESSAGE_TOO_LARGE', why)
}
