import { z } from 'zod'
import type { OutgoingMessage } from '../client/mqtt-session.ts'
import { qosInput } from '../publish/message-input.ts'
import { COMMAND_STATES } from './command-table.ts'
import { deviceIdsInput, MAX_DEVICES, topicPattern } from './device-input.ts'
import { ANSWER_TOPIC, COMMAND_TOPIC, type DeviceTopics } from './device-topics.ts'

export const commandInput = z.object({
  device_ids: deviceIdsInput(MAX_DEVICES).describe('devices, by the id that stands in their topics'),
  command: z
    .record(z.string().max(300), z.unknown())
    .describe('fields of the command; command_id and expires_at are added to them, and sent with them as JSON'),
  command_id: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe(
      'id that answers repeat; the same again for devices that shall not act twice; without it, that of the run',
    ),
  seconds: z
    .number()
    .positive()
    .max(86_400)
    .default(30)
    .describe('seconds to wait for answers after the last device was sent to'),
  expiry_seconds: z
    .number()
    .int()
    .min(1)
    .max(4_294_967_295)
    .default(60)
    .describe('seconds from sending it to a device after which that device may not get it any more'),
  qos: qosInput.default(1),
  topic: topicPattern().default(COMMAND_TOPIC).describe('topic of each device; one level of it is {device_id}'),
  response_topic: topicPattern()
    .default(ANSWER_TOPIC)
    .describe(
      'topic of each device’s answer; one level of it is {device_id}, and {command_id} may be in it: without it, only ' +
        'answers count that repeat the correlation data or the command_id',
    ),
  rows: z
    .number()
    .int()
    .min(0)
    .max(10_000)
    .default(100)
    .describe('rows of the table in the answer, those that are not acknowledged first; the output has all'),
})

const count = () => z.number().int()

export const commandOutput = z.object({
  command_id: z.string(),
  devices: count(),
  sent: count().describe('devices whose command the broker has taken'),
  acknowledged: count().describe('devices that have said yes'),
  rejected: count().describe('devices that have said no'),
  timed_out: count().describe('devices that have not answered in time: the command may have been carried out'),
  unreachable: count().describe('devices whose topic nobody subscribes to, where the broker says so'),
  not_sent: count().describe('devices to which it was certainly not sent'),
  ignored: z
    .object({
      duplicates: count().describe('further answers of devices that had answered'),
      invalid: count().describe('messages that could not be read as an answer'),
      impostors: count().describe('messages that name another device than their topic, or were sent by one'),
      strays: count().describe('answers to something else, or of devices that were not asked'),
    })
    .describe('messages on the topics of the answers that were not counted as one'),
  seconds: z.number().describe('from the first message until the end'),
  answer_seconds: z
    .object({ p50: z.number(), p95: z.number(), max: z.number() })
    .nullable()
    .describe('from handing a command over until its answer came; null without an answer'),
  table: z
    .array(
      z.object({
        device_id: z.string(),
        state: z.enum(COMMAND_STATES),
        seconds: z.number().nullable(),
        message: z.string().nullable().describe('what the device said, or why it could not be sent'),
      }),
    )
    .describe('those that are not acknowledged first'),
  complete: z.boolean().describe('whether the table has a row for every device'),
  endpoint: z.string().nullable().describe('broker that it went through'),
})

export type DeviceCommandInput = z.output<typeof commandInput>
export type DeviceCommandData = z.output<typeof commandOutput>

/** What was checked before anything is sent. */
export interface CommandPlan {
  readonly command_id: string
  readonly answers: DeviceTopics
  /** Whether the topics of the answers have the id of the command in them: then whatever comes there is about it. */
  readonly topics_name_it: boolean
  /** The message for a device with so many seconds left. */
  message(device_id: string, left_seconds: number): OutgoingMessage
}
