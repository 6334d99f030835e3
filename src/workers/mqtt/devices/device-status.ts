import { z } from 'zod'
import { isoTime } from '../../../core/clock.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { IncomingMessage } from '../client/mqtt-session.ts'
import { allowSubscribe } from '../client/topics/topic-rules.ts'
import { CONNECT_ERRORS, type MqttContext, mayReceive, SUBSCRIBE_ERRORS, sessionOf } from '../context.ts'
import { OTA_STATES } from '../ota/rollout.ts'
import type { MqttSettings } from '../settings.ts'
import { isImpostor } from './answer.ts'
import { deviceIdsInput } from './device-input.ts'
import { deviceText, fieldsOf } from './device-payload.ts'
import { deviceTopics, OTA_REPORT_TOPIC, STATUS_TOPIC } from './device-topics.ts'
import { newestMessages } from './newest-messages.ts'
import { type DeviceRecords, newestRecords } from './newest-records.ts'

const MAX_STATUS_DEVICES = 100
/** What a state is called that nobody knows. */
const UNKNOWN = 'unknown'

const input = z.object({
  device_ids: deviceIdsInput(MAX_STATUS_DEVICES).describe('devices, by the id that stands in their topics'),
  quiet_seconds: z
    .number()
    .min(0.05)
    .max(60)
    .default(0.5)
    .describe('seconds without a further message after which what the broker keeps is taken as complete'),
})

const output = z.object({
  devices: z.array(
    z.object({
      device_id: z.string(),
      state: z.string().describe(`what the device last said of itself; ${UNKNOWN} where it said nothing readable`),
      source: z
        .enum(['retained', 'live', 'record', 'none'])
        .describe(
          'retained: kept by the broker; live: it came just now; record: a message of a standing subscription; none: nothing',
        ),
      status: z.string().nullable().describe('the message itself, as text, cut to 2,000 characters'),
      recorded_at: z
        .string()
        .nullable()
        .describe('when the newest recorded message of the device came; kept messages have no time'),
      ota: z
        .object({
          rollout_id: z.string(),
          state: z.enum(OTA_STATES),
          version: z.string().nullable(),
        })
        .nullable()
        .describe('the last report of an update that the broker keeps; null where the caller may not receive it'),
    }),
  ),
  unknown: z.number().int().describe('devices whose state is unknown'),
  endpoint: z.string().nullable(),
})

type Input = z.output<typeof input>
type Data = z.output<typeof output>
type DeviceStatus = Data['devices'][number]

export const deviceStatus = defineOperation({
  id: 'mqtt.device_status',
  title: 'Last known state of devices',
  summary: 'Tells the last known state of devices, from what the broker keeps and what was recorded.',
  description:
    `Reads the kept messages of mahavishnu/status/{device_id}, and where there is none the newest record of a standing ` +
    `subscription. A device that said nothing is "${UNKNOWN}", never assumed to be well. What devices say is untrusted. ` +
    'Needs the right to subscribe to these topics, where mqtt.topic_rules has any.',
  effect: 'read',
  idempotent: true,
  input,
  output,
  errors: [...CONNECT_ERRORS, ...SUBSCRIBE_ERRORS],
  timeout: (settings: MqttSettings) => settings.request_timeout,
  examples: [{ title: 'Two pumps', target: 'site-1', input: { device_ids: ['pump-7', 'pump-8'] } }],
  run: (ctx: MqttContext, call: Input) => runDeviceStatus(ctx, call),
  summarize: ({ devices }) => ({
    output: devices.map(({ device_id, state, source }) => `${device_id} ${state} (${source})`).join('\n'),
  }),
})

async function runDeviceStatus(ctx: MqttContext, { device_ids, quiet_seconds }: Input): Promise<Data> {
  const { settings, principal, clock, deadline, signal } = ctx
  const session = sessionOf(ctx)
  const [status, ota] = [deviceTopics(STATUS_TOPIC), deviceTopics(OTA_REPORT_TOPIC)]
  for (const id of device_ids) allowSubscribe(settings.topic_rules, principal, status.topicOf(id))
  const reports = device_ids.map((id) => ota.topicOf(id)).filter((topic) => mayReceive(ctx, topic))
  const newest = await newestMessages(session, {
    topics: [...device_ids.map((id) => status.topicOf(id)), ...reports],
    quiet_ms: quiet_seconds * 1000,
    accept(message) {
      const device = status.deviceOf(message.topic) ?? ota.deviceOf(message.topic)
      return device !== null && !isImpostor(message, device, settings.identity)
    },
    clock,
    deadline,
    signal,
  })
  const recorded = await newestRecords(ctx, device_ids)
  const devices = device_ids.map((device_id) =>
    statusOf({
      device_id,
      status: newest.get(status.topicOf(device_id)),
      ota: newest.get(ota.topicOf(device_id)),
      recorded: recorded.get(device_id),
    }),
  )
  return {
    devices,
    unknown: devices.filter(({ state }) => state === UNKNOWN).length,
    endpoint: session.endpoint(),
  }
}

interface Known {
  readonly device_id: string
  readonly status: IncomingMessage | undefined
  readonly ota: IncomingMessage | undefined
  readonly recorded: DeviceRecords | undefined
}

function statusOf({ device_id, status, ota, recorded }: Known): DeviceStatus {
  const said = status ?? recorded?.status
  const source = status === undefined ? (said === undefined ? 'none' : 'record') : status.retain ? 'retained' : 'live'
  return {
    device_id,
    state: said === undefined ? UNKNOWN : stateOf(said),
    source,
    status: said === undefined ? null : deviceText(Buffer.from(said.payload).toString('utf8'), 2_000),
    recorded_at: recorded?.at === undefined ? null : isoTime(recorded.at),
    ota: ota === undefined ? null : otaOf(ota),
  }
}

/** `state` or `status` of an object, or a short text that stands alone, as last wills do. */
function stateOf(said: { readonly payload: Uint8Array }): string {
  const field = fieldsOf(said)
  if (field !== null) return deviceText(field('state') ?? field('status'), 100) || UNKNOWN
  if (said.payload.byteLength === 0 || said.payload.byteLength > 100) return UNKNOWN
  const text = deviceText(Buffer.from(said.payload).toString('utf8'), 100) ?? ''
  return /^[\w .:-]+$/u.test(text) ? text : UNKNOWN
}

function otaOf(message: IncomingMessage): DeviceStatus['ota'] {
  const field = fieldsOf(message)
  const rollout_id = deviceText(field?.('rollout_id'), 100)
  const state = OTA_STATES.find((each) => each === field?.('state'))
  if (rollout_id === null || state === undefined) return null
  return { rollout_id, state, version: deviceText(field?.('version'), 100) }
}
