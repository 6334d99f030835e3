import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import { allowPublish } from '../client/topics/topic-rules.ts'
import { CONNECT_ERRORS, type MqttContext, PUBLISH_ERRORS, SUBSCRIBE_ERRORS } from '../context.ts'
import { deviceTopics, OTA_TOPIC } from '../devices/device-topics.ts'
import { checkFirmwareUrl } from './firmware-url.ts'
import { type OtaData, type OtaInput, otaInput, otaOutput } from './ota-shape.ts'
import type { Firmware } from './report.ts'
import { OTA_STATES } from './rollout.ts'
import { forgetRollout } from './rollout-store.ts'
import { runRollout } from './run-rollout.ts'

export const triggerOta = defineOperation({
  id: 'mqtt.trigger_ota',
  title: 'Roll firmware out to devices',
  summary: 'Tells devices to load and install a firmware, a few at a time, and follows each by its own reports.',
  description:
    `Each device reports its state: ${OTA_STATES.slice(1).join(', ')}. It counts as updated when it says that it runs the ` +
    'version, and as failed when it says so or its time is over. With more failures than failure_limit no further device is ' +
    'told; those under way go on to their end. The roll-out survives a restart of Mahavishnu: the same run goes on, and no ' +
    'device that has ended is told again. Time without a connection to a broker does not count against a device.',
  effect: 'write',
  idempotent: false,
  input: otaInput,
  output: otaOutput,
  errors: [
    ...CONNECT_ERRORS,
    ...PUBLISH_ERRORS,
    ...SUBSCRIBE_ERRORS,
    'MHV_MQTT_OTA_URL_DENIED',
    'MHV_MQTT_OTA_STOPPED',
    'MHV_MQTT_CUT_SHORT',
  ],
  timeout: 3_600,
  examples: [
    {
      title: 'One device',
      target: 'site-1',
      input: {
        device_ids: ['pump-7'],
        firmware_url: 'https://firmware.example.org/pumps/2.1.0.bin',
        firmware_version: '2.1.0',
        size: 524_288,
        sha256: '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
        first_report_seconds: 2,
      },
    },
  ],
  async run(ctx: MqttContext, call: OtaInput): Promise<OtaData> {
    return runRollout(ctx, call, planOf(ctx, call))
  },
  // Settings may have changed since: what is not allowed any more is not told to anybody else.
  async resume(ctx: MqttContext, call: OtaInput): Promise<OtaData> {
    return runRollout(ctx, call, planOf(ctx, call))
  },
  settle: (ctx: MqttContext) => forgetRollout(ctx.state, ctx.run_id),
  summarize: (data) => ({ output: summary(data) }),
})

/** Checks everything before anything is sent. Throws MHV_MQTT_OTA_URL_DENIED, MHV_INPUT_INVALID, MHV_MQTT_TOPIC_*. */
function planOf({ settings, principal }: MqttContext, call: OtaInput): Firmware {
  const { max_size } = settings.ota
  if (call.size > max_size) {
    throw mhvError('MHV_INPUT_INVALID', `size: ${call.size} bytes are more than the ${max_size} of mqtt.ota.max_size`)
  }
  const url = checkFirmwareUrl(call.firmware_url, settings.ota)
  const topics = deviceTopics(OTA_TOPIC)
  for (const id of call.device_ids) allowPublish(settings.topic_rules, principal, topics.topicOf(id))
  return { url, version: call.firmware_version, size: call.size, sha256: call.sha256.toLowerCase() }
}

function summary({ devices, updated, failed, firmware_version, rollout_id, failures }: OtaData): string {
  const lines = failures.map(({ device_id, reason }) => `${device_id} failed: ${reason}`)
  const head = `${updated} of ${devices} ${devices === 1 ? 'device' : 'devices'} updated to ${firmware_version}, ${failed} failed`
  return [`${head} (roll-out ${rollout_id})`, ...lines].join('\n')
}
