import { isoTime } from '../../../core/clock.ts'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { Qos } from '../client/mqtt-session.ts'
import { allowPublish, allowSubscribe } from '../client/topics/topic-rules.ts'
import { checkLevel } from '../client/topics/topics.ts'
import { CONNECT_ERRORS, type MqttContext, PUBLISH_ERRORS, SUBSCRIBE_ERRORS } from '../context.ts'
import { refuseFirmwareTopic } from '../ota/firmware-topic.ts'
import type { MqttSettings } from '../settings.ts'
import {
  type CommandPlan,
  commandInput,
  commandOutput,
  type DeviceCommandData,
  type DeviceCommandInput,
} from './command-shape.ts'
import { COMMAND_STATES } from './command-table.ts'
import { ANSWER_TOPIC, deviceTopics } from './device-topics.ts'
import { runCommand } from './run-command.ts'

export const publishToDevices = defineOperation({
  id: 'mqtt.publish_to_devices',
  title: 'Send a command to devices',
  summary: 'Sends one command to many devices and tells which of them acknowledged, rejected or did not answer it.',
  description:
    'Each device gets the command on its own topic, with a response topic and correlation data (MQTT 5) and the id of the ' +
    'command in its payload, and answers with {"status": "ok"} or {"status": "rejected", "message": "…"}. It is sent ' +
    'within mqtt.throttling.max_publish_rate. The output has one line for each device. The exit code is 0 where all have ' +
    'acknowledged, and 1 otherwise. Texts of devices are untrusted.',
  effect: 'write',
  idempotent: false,
  input: commandInput,
  output: commandOutput,
  errors: [...CONNECT_ERRORS, ...PUBLISH_ERRORS, ...SUBSCRIBE_ERRORS, 'MHV_MQTT_CUT_SHORT'],
  timeout: (settings: MqttSettings) => settings.request_timeout,
  examples: [
    {
      title: 'Ask two pumps for a sign of life',
      target: 'site-1',
      input: { device_ids: ['pump-7', 'pump-8'], command: { action: 'ping' }, seconds: 2 },
    },
  ],
  async run(ctx: MqttContext, call: DeviceCommandInput): Promise<DeviceCommandData> {
    return runCommand(ctx, call, planOf(ctx, call))
  },
  summarize: (data) => ({ output: summary(data), exit_code: data.acknowledged === data.devices ? 0 : 1 }),
})

function summary(data: DeviceCommandData): string {
  const parts = COMMAND_STATES.filter((state) => data[state] > 0).map((state) => {
    return `${data[state]} ${state.replace('_', ' ')}`
  })
  const lines = data.table
    .filter(({ state }) => state !== 'acknowledged')
    .map(({ device_id, state, message }) => `${device_id} ${state}${message === null ? '' : `: ${message}`}`)
  const devices = `${data.devices} ${data.devices === 1 ? 'device' : 'devices'}`
  return [`${devices}: ${parts.join(', ')} (command ${data.command_id})`, ...lines].join('\n')
}

/** Checks everything before anything is sent. Throws MHV_INPUT_INVALID, MHV_MQTT_TOPIC_*, MHV_MQTT_MESSAGE_TOO_LARGE. */
function planOf(ctx: MqttContext, call: DeviceCommandInput): CommandPlan {
  const { settings, principal } = ctx
  const { command, qos } = call
  const command_id = call.command_id ?? ctx.run_id
  checkLevel(command_id, 'the command id')
  for (const name of ['command_id', 'expires_at']) {
    if (Object.hasOwn(command, name))
      throw mhvError('MHV_INPUT_INVALID', `command: ${name} is added to it, and must not be given`)
  }
  const commands = deviceTopics(call.topic, command_id)
  const answers = deviceTopics(call.response_topic, command_id)
  const named = call.response_topic !== ANSWER_TOPIC
  if (named) allowSubscribe(settings.topic_rules, principal, answers.filter)
  for (const id of call.device_ids) {
    // A device publishes to a response topic because the caller says so.
    for (const topic of named ? [commands.topicOf(id), answers.topicOf(id)] : [commands.topicOf(id)]) {
      refuseFirmwareTopic(topic)
      allowPublish(settings.topic_rules, principal, topic)
    }
  }
  enoughTime(ctx, call.device_ids.length)

  const text = JSON.stringify({ ...command, command_id })
  const payloadOf = (left_seconds: number) => {
    const expires_at = isoTime(ctx.clock.now() + left_seconds * 1000)
    return Buffer.from(`${text.slice(0, -1)},"expires_at":"${expires_at}"}`)
  }
  const bytes = payloadOf(0).byteLength
  if (bytes > settings.throttling.max_message_size) {
    const why = `the command has ${bytes} bytes; ${settings.throttling.max_message_size} are the most`
    throw mhvError('MHV_MQTT_MESSAGE_TOO_LARGE', why)
  }
  const correlation_data = Buffer.from(command_id)
  return {
    command_id,
    answers,
    topics_name_it: call.response_topic.includes('{command_id}'),
    message: (device_id, left_seconds) => ({
      topic: commands.topicOf(device_id),
      payload: payloadOf(left_seconds),
      qos: qos satisfies Qos,
      retain: false,
      expiry_seconds: Math.max(1, Math.ceil(left_seconds)),
      content_type: 'application/json',
      response_topic: answers.topicOf(device_id),
      correlation_data,
    }),
  }
}

/** Whoever could never be sent to in time is not sent to in the first place. */
function enoughTime({ settings, clock, deadline }: MqttContext, devices: number): void {
  const { max_publish_rate, publish_burst } = settings.throttling
  if (max_publish_rate === 0) return
  const needed = (devices - publish_burst) / max_publish_rate
  const left = (deadline - clock.now()) / 1000
  if (needed < left) return
  const why = `device_ids: ${devices} messages take ${Math.ceil(needed)} s at ${max_publish_rate} a second, and the run has ${Math.floor(left)} s`
  throw mhvError('MHV_INPUT_INVALID', why, {
    remedy: 'Give the call a longer timeout, or raise mqtt.throttling.max_publish_rate.',
  })
}
