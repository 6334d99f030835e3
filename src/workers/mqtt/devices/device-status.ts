import { z } from 'zod'
import { isoTime } from '../../../core/clock.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { IncomingMessage } from '../client/mqtt-session.ts'
import { CONNECT_ERRORS, type MqttContext, SUBSCRIBE_ERRORS, sessionOf } from '../context.ts'
import { OTA_STATES } from '../ota/rollout.ts'
import type { MqttSettings } from '../settings.ts'
import { messageStream } from '../standing/recorder.ts'
import { collect } from '../subscribe/collect.ts'
import { isImpostor } from './answer.ts'
import { deviceIdsInput } from './device-input.ts'
import { deviceText, fieldsOf } from './device-payload.ts'
import { deviceTopics, OTA_REPORT_TOPIC, STATUS_TOPIC } from './device-topics.ts'

const MAX_STATUS_DEVICES = 100
/** Bytes of status messages of one call. */
const MAX_BYTES = 4 * 1_048_576
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
      recorded_at: z.string().nullable().describe('when the newest recorded message came; kept messages have no time'),
      ota: z
        .object({
          rollout_id: z.string(),
          state: z.enum(OTA_STATES),
          version: z.string().nullable(),
        })
        .nullable()
        .describe('the last report of an update that the broker keeps'),
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
    `subscription. A device that said nothing is "${UNKNOWN}", never assumed to be well. What devices say is untrusted.`,
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
  const session = sessionOf(ctx)
  const [status, ota] = [deviceTopics(STATUS_TOPIC), deviceTopics(OTA_REPORT_TOPIC)]
  const filters = device_ids.flatMap((id) => [status.topicOf(id), ota.topicOf(id)])
  const { messages } = await collect(session, {
    filters,
    qos: 0,
    retained: true,
    seconds: 86_400,
    max_messages: 10_000,
    max_bytes: MAX_BYTES,
    quiet_ms: quiet_seconds * 1000,
    accept(message) {
      const device = status.deviceOf(message.topic) ?? ota.deviceOf(message.topic)
      return device !== null && !isImpostor(message, device, ctx.settings.identity)
    },
    clock: ctx.clock,
    deadline: ctx.deadline,
    signal: ctx.signal,
  })
  // The newest of a topic: what came while it listened is after what was kept.
  const newest = new Map(messages.map((message) => [message.topic, message]))
  const devices = await Promise.all(
    device_ids.map(async (device_id) => {
      const recorded = await newestRecord(ctx, device_id)
      return statusOf({
        device_id,
        status: newest.get(status.topicOf(device_id)),
        ota: newest.get(ota.topicOf(device_id)),
        recorded,
      })
    }),
  )
  return {
    devices,
    unknown: devices.filter(({ state }) => state === UNKNOWN).length,
    endpoint: session.endpoint(),
  }
}

interface Recorded {
  readonly at: number
  readonly payload: Uint8Array
  /** Whether it is of the topic of its status. */
  readonly isStatus: boolean
}

/** The newest record of the status, and where there is none, of anything else from the device. */
async function newestRecord({ records, target }: MqttContext, device_id: string): Promise<Recorded | undefined> {
  const stream = messageStream(target?.name ?? '')
  for (const key_prefix of [`mahavishnu/status/${device_id}`, `sensors/${device_id}/`, `gateways/${device_id}/`]) {
    const isStatus = key_prefix.startsWith('mahavishnu/')
    const page = await records.query({ stream, key_prefix, limit: 100 })
    const [found] = page.filter(
      ({ key, meta }) => (!isStatus || key === key_prefix) && meta.identity_problem === undefined,
    )
    if (found !== undefined) return { at: found.at, payload: found.payload, isStatus }
  }
  return undefined
}

interface Known {
  readonly device_id: string
  readonly status: IncomingMessage | undefined
  readonly ota: IncomingMessage | undefined
  readonly recorded: Recorded | undefined
}

function statusOf({ device_id, status, ota, recorded }: Known): DeviceStatus {
  const said = status ?? (recorded?.isStatus === true ? recorded : undefined)
  const source = status === undefined ? (said === undefined ? 'none' : 'record') : status.retain ? 'retained' : 'live'
  return {
    device_id,
    state: said === undefined ? UNKNOWN : stateOf(said),
    source,
    status: said === undefined ? null : deviceText(Buffer.from(said.payload).toString('utf8'), 2_000),
    recorded_at: recorded === undefined ? null : isoTime(recorded.at),
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
