import { z } from 'zod'
import { secretReference } from '../../core/secret-reference.ts'
import { identitySettings } from './client/identity/identity-settings.ts'
import { topicFilter } from './client/topics/topic-filter.ts'
import { otaSettings } from './ota/settings.ts'
import { outboxSettings } from './outbox/settings.ts'
import { messageSettings, standingSubscription } from './standing/settings.ts'

const seconds = (most: number) => z.number().positive().max(most)
const count = (least: number, most: number) => z.number().int().min(least).max(most)
const path = () => z.string().regex(/^[^\0\r\n]+$/, { error: 'must be a path' })
const MEBIBYTE = 1_048_576

export const topicRule = z.strictObject({
  principals: z.array(z.string().min(1).max(300)).min(1).default(['*']).describe('who: patterns with * and ?'),
  actions: z
    .array(z.enum(['publish', 'subscribe']))
    .min(1)
    .default(['publish', 'subscribe'])
    .describe('what it is about'),
  topics: z.array(topicFilter()).min(1).describe('topic filters, with + and #'),
  decision: z
    .enum(['allow', 'deny'])
    .describe('the first rule that fits decides; where there are rules, none means deny'),
})

export type TopicRule = z.output<typeof topicRule>

const throttling = z.strictObject({
  max_publish_rate: z
    .number()
    .min(0)
    .max(1_000_000)
    .default(100)
    .describe('messages per second to one broker list, on average; 0: no limit'),
  publish_burst: count(1, 1_000_000).default(200).describe('messages that may go at once'),
  max_subscription_count: count(1, 100_000).default(1_000).describe('topic filters of one connection'),
  max_message_size: count(1, 256 * MEBIBYTE)
    .default(MEBIBYTE)
    .describe('bytes of one payload, sent or received; larger ones are refused'),
  buffer_size: count(1, 1_000_000)
    .default(10_000)
    .describe('received messages that one subscription holds while its consumer is busy'),
  buffer_bytes: count(1_024, 4_096 * MEBIBYTE)
    .default(64 * MEBIBYTE)
    .describe('bytes of received messages that one connection holds, over all subscriptions'),
  receive_maximum: count(1, 65_535)
    .default(1_000)
    .describe(
      'QoS 1 and 2 messages that the broker may send before the first is acknowledged (MQTT 5); never more than ' +
        'buffer_bytes has room for',
    ),
  max_inflight: count(1, 65_535)
    .default(1_000)
    .describe('QoS 1 and 2 messages sent and not acknowledged; the broker may allow fewer'),
  drop_oldest_when_full: z
    .boolean()
    .default(true)
    .describe('QoS 0 messages beyond the buffer: true drops the oldest, false the newest; each is counted'),
})

export const mqttSettings = z.object({
  connect_timeout: seconds(600)
    .default(20)
    .describe('seconds for name resolution, TCP, TLS and the answer of the broker together'),
  request_timeout: seconds(86_400).default(60).describe('seconds a call may take when it names no timeout'),
  keepalive: count(5, 65_535)
    .default(30)
    .describe('seconds after which a silent connection is asked for a sign of life'),
  ack_timeout: seconds(86_400)
    .default(60)
    .describe(
      'seconds without the acknowledgement of a QoS 1 or 2 message after which the connection is given up; the message ' +
        'goes again over the next',
    ),
  session_expiry: count(0, 4_294_967_294)
    .default(300)
    .describe('seconds for which a broker keeps subscriptions and messages while the connection is lost (MQTT 5)'),
  reconnect_base: seconds(60).default(0.2).describe('seconds: ceiling of the first wait before connecting again'),
  reconnect_cap: seconds(3_600).default(30).describe('seconds: highest ceiling; each wait is random up to its ceiling'),
  broker_switch_threshold: count(1, 100)
    .default(3)
    .describe('failures in a row after which the next broker of the list is used'),
  failback_probe: seconds(3_600)
    .default(10)
    .describe('seconds between looks at the first broker of the list while another is used'),
  failback_after: z
    .number()
    .min(0)
    .max(86_400)
    .default(60)
    .describe('seconds for which the first broker has to be healthy before it is used again'),
  subscription_health_check: z
    .number()
    .min(0)
    .max(86_400)
    .default(30)
    .describe('seconds between messages to itself that show whether subscriptions are alive; 0: never'),
  resubscribe_on_reconnect: z
    .literal(true)
    .default(true)
    .describe('subscriptions are always made again unless the broker still has the session'),
  duplicate_window: z
    .number()
    .min(0)
    .max(3_600)
    .default(30)
    .describe('seconds after a reconnect in which a message that came before it is marked as a duplicate'),
  presence_topic: z
    .string()
    .max(1_000)
    .regex(/^[^\0+#]*$/, { error: 'must be a topic without wildcards' })
    .default('mahavishnu/clients/{client_id}')
    .describe('topic of the birth message and of the last will; empty: neither'),
  topic_rules: z
    .array(topicRule)
    .max(1_000)
    .default([])
    .describe('who may publish and subscribe to what, beside the policy; without any rule the policy alone decides'),
  identity: identitySettings.prefault({}).describe('whether devices are those that they say they are'),
  throttling: throttling.prefault({}).describe('bounds of what is sent, received and held'),
  outbox: outboxSettings.prefault({}).describe('messages of QoS 1 and 2 that wait for their acknowledgement, on disk'),
  ota: otaSettings.prefault({}).describe('what devices may be told to load'),
  subscriptions: z
    .array(standingSubscription)
    .max(1_000)
    .refine((list) => new Set(list.map(({ name }) => name)).size === list.length, {
      error: 'must not use a name twice',
    })
    .default([])
    .describe('standing subscriptions: made at start, kept over restarts; their messages go to the journal'),
  messages: messageSettings
    .prefault({})
    .describe('how long messages of standing subscriptions are kept, for each target'),
})

export type MqttSettings = z.output<typeof mqttSettings>

/** What brokers are reached by: no credentials, no query, no fragment. */
const BROKER_URL = /^(?:mqtts?|wss?):\/\/(?:\[[0-9A-Fa-f:.]+\]|[^\s/@:?#[\]\\]+)(?::[0-9]{1,5})?(?:\/[^\s?#@]*)?$/

export const broker = z.strictObject({
  url: z
    .string()
    .max(1_000)
    .regex(BROKER_URL, {
      error: 'must be mqtt://HOST, mqtts://HOST, ws://HOST/PATH or wss://HOST/PATH, without credentials',
    })
    .describe('mqtt://HOST:PORT, mqtts://, ws:// or wss://'),
  server_name: z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe('name that its certificate must have, where it is not that of the URL'),
})

export const mqttTarget = z.object({
  brokers: z
    .array(broker)
    .min(1)
    .max(16)
    .describe('brokers in the order in which they are wanted; the first one is used whenever it is healthy'),
  protocol: z.enum(['5', '3.1.1']).default('5').describe('version of MQTT'),
  client_id: z
    .string()
    .max(1_000)
    .regex(/^[^\0+#/]+$/, { error: 'must be without NUL, +, # and /' })
    .optional()
    .describe('client id, the same at every start; otherwise mahavishnu-HOST-PID'),
  username: z.string().max(1_000).optional().describe('name to log in with'),
  password: secretReference().optional().describe('secret reference: password to log in with'),
  ca_file: path().optional().describe('certificates of the authorities that may have signed the broker’s; PEM'),
  cert_file: path().optional().describe('own certificate; PEM'),
  key_file: path().optional().describe('private key of the own certificate; PEM'),
  key_passphrase: secretReference().optional().describe('secret reference: passphrase of the private key'),
})

export type MqttTarget = z.output<typeof mqttTarget>
export type BrokerAddress = z.output<typeof broker>
