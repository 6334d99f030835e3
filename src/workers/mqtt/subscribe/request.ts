import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { IncomingMessage, MqttSession } from '../client/mqtt-session.ts'
import { allowPublish, allowSubscribe } from '../client/topics/topic-rules.ts'
import { checkFilter, checkTopic } from '../client/topics/topics.ts'
import { CONNECT_ERRORS, type MqttContext, PUBLISH_ERRORS, SUBSCRIBE_ERRORS, sessionOf } from '../context.ts'
import { refuseFirmwareTopic } from '../ota/firmware-topic.ts'
import { messageShape, qosInput, toOutgoing } from '../publish/message-input.ts'
import type { MqttSettings } from '../settings.ts'
import { collect } from './collect.ts'
import { messageOutput, toOutput } from './message-output.ts'

const input = z.object({
  ...messageShape,
  qos: qosInput.default(1),
  response_topic: messageShape.response_topic.describe(
    'topic of the response; without it, one that is made for this request',
  ),
  correlation_data: messageShape.correlation_data.describe(
    'text that the response repeats; without it, the id of the run',
  ),
  seconds: z.number().positive().max(86_400).default(30).describe('seconds to wait for the response'),
})

const output = z.object({
  response: messageOutput,
  round_trip_seconds: z.number().describe('from sending the request until the response came'),
  endpoint: z.string().nullable().describe('broker that both went through'),
})

export type RequestInput = z.output<typeof input>
export type RequestData = z.output<typeof output>

export const request = defineOperation({
  id: 'mqtt.request',
  title: 'Send a request and wait for its response',
  summary: 'Publishes a request and returns the message that answers it.',
  description:
    'With MQTT 5 the request carries a response topic and correlation data, and only a message that repeats these data ' +
    'is the response. MQTT 3.1.1 has neither: there response_topic has to be given, and the first message on it counts. ' +
    'A request that nobody answers may still have been carried out.',
  effect: 'write',
  idempotent: false,
  input,
  output,
  errors: [...CONNECT_ERRORS, ...PUBLISH_ERRORS, ...SUBSCRIBE_ERRORS, 'MHV_MQTT_RESPONSE_TIMEOUT'],
  timeout: (settings: MqttSettings) => settings.request_timeout,
  cli: { stdin: 'payload' },
  examples: [
    {
      title: 'Ask a gateway for its devices',
      target: 'site-1',
      input: { topic: 'gateways/gw-1/requests', payload: { list: 'devices' }, seconds: 5 },
    },
  ],
  run: (ctx: MqttContext, call: RequestInput) => runRequest(ctx, call),
  summarize: ({ response }) => ({ output: response.payload }),
})

async function runRequest(ctx: MqttContext, call: RequestInput): Promise<RequestData> {
  const session = sessionOf(ctx)
  const { response_topic, correlation_data } = names(ctx, session, call)
  const { seconds, ...message } = call
  const outgoing = toOutgoing({ ...message, response_topic, correlation_data })
  checkTopic(outgoing.topic)
  refuseFirmwareTopic(outgoing.topic)
  checkTopic(response_topic)
  checkFilter(response_topic)
  allowPublish(ctx.settings.topic_rules, ctx.principal, outgoing.topic)
  if (call.response_topic !== undefined) {
    refuseFirmwareTopic(response_topic)
    allowSubscribe(ctx.settings.topic_rules, ctx.principal, response_topic)
    // Whoever answers publishes there because the caller says so.
    allowPublish(ctx.settings.topic_rules, ctx.principal, response_topic)
  }

  const expected = Buffer.from(correlation_data)
  const answers = (answer: IncomingMessage) =>
    session.protocol === '3.1.1' || (answer.correlation_data !== undefined && expected.equals(answer.correlation_data))
  let sentAt = 0
  const { messages } = await collect(session, {
    filters: [response_topic],
    qos: call.qos === 0 ? 0 : 1,
    retained: false,
    seconds,
    max_messages: 1,
    max_bytes: ctx.settings.throttling.max_message_size,
    accept: (answer) => sentAt > 0 && answers(answer),
    async onSubscribed() {
      sentAt = ctx.clock.monotonic()
      await session.publishNow(outgoing, ctx.signal)
    },
    clock: ctx.clock,
    deadline: ctx.deadline,
    signal: ctx.signal,
  })
  const [response] = messages
  if (response === undefined) {
    const why = `no response to the request on ${JSON.stringify(call.topic)} came on ${JSON.stringify(response_topic)}`
    throw mhvError('MHV_MQTT_RESPONSE_TIMEOUT', why, { details: { topic: call.topic, response_topic } })
  }
  return {
    response: toOutput(response),
    round_trip_seconds: (ctx.clock.monotonic() - sentAt) / 1000,
    endpoint: session.endpoint(),
  }
}

function names(ctx: MqttContext, session: MqttSession, { response_topic, correlation_data }: RequestInput) {
  if (response_topic === undefined && session.protocol === '3.1.1') {
    throw mhvError('MHV_INPUT_INVALID', 'response_topic: is needed, since MQTT 3.1.1 cannot tell it to the other side')
  }
  return {
    response_topic: response_topic ?? `mahavishnu/responses/${session.client_id}/${ctx.run_id}`,
    correlation_data: correlation_data ?? `${ctx.run_id}-${ctx.attempt}`,
  }
}
