import { z } from 'zod'
import { deviceIdsInput } from '../devices/device-input.ts'

/** Devices of one roll-out. */
const MAX_OTA_DEVICES = 10_000
/** Failures that the answer lists. */
export const SHOWN_FAILURES = 100

export const otaInput = z.object({
  device_ids: deviceIdsInput(MAX_OTA_DEVICES).describe('devices, in the order in which they are told'),
  firmware_url: z.string().min(1).max(4_000).describe('address of the firmware; mqtt.ota.allowed_urls has to cover it'),
  firmware_version: z
    .string()
    .regex(/^[\x21-\x7e]{1,100}$/, { error: 'must be 1 to 100 visible ASCII characters' })
    .describe('version that the devices run afterwards, as they report it'),
  size: z.number().int().min(1).describe('bytes of the file'),
  sha256: z
    .string()
    .regex(/^[0-9A-Fa-f]{64}$/, { error: 'must be 64 hexadecimal digits' })
    .describe('SHA-256 of the file, which devices check before they install it'),
  concurrency: z.number().int().min(1).max(MAX_OTA_DEVICES).default(10).describe('devices that update at once'),
  failure_limit: z
    .number()
    .int()
    .min(0)
    .max(MAX_OTA_DEVICES)
    .default(0)
    .describe('devices that may fail; with one more, no further device is told'),
  first_report_seconds: z
    .number()
    .min(1)
    .max(86_400)
    .default(60)
    .describe('seconds until the first report of a device; after that it does not get the message any more'),
  device_seconds: z
    .number()
    .min(1)
    .max(86_400)
    .default(900)
    .describe('seconds that one device may take from being told until it is updated'),
})

const count = () => z.number().int()

export const otaOutput = z.object({
  rollout_id: z.string().describe('id that devices repeat in their reports'),
  firmware_version: z.string(),
  devices: count(),
  updated: count(),
  failed: count().describe('at most failure_limit; with more, the operation fails'),
  failures: z
    .array(z.object({ device_id: z.string(), reason: z.string() }))
    .describe(`at most ${SHOWN_FAILURES}; the output has all devices`),
  ignored: z
    .object({
      late: count().describe('reports that came twice, out of order, or after the end of their device'),
      invalid: count().describe('messages that could not be read as a report'),
      impostors: count().describe('messages that name another device than their topic, or were sent by one'),
      strays: count().describe('reports of other roll-outs, or of devices that were not told'),
    })
    .describe('messages on the topics of the reports that changed nothing'),
  seconds: z.number().describe('since this process has begun or taken up the roll-out'),
  endpoint: z.string().nullable(),
})

export type OtaInput = z.output<typeof otaInput>
export type OtaData = z.output<typeof otaOutput>
