import { z } from 'zod'
import { topicFilter } from '../client/topics/topic-filter.ts'

const MEBIBYTE = 1_048_576

export const standingSubscription = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, { error: 'must be lower-case letters, digits, - and _' })
    .describe('name, for health and for the messages'),
  target: z.string().min(1).max(200).describe('target of the inventory with the brokers'),
  topic: topicFilter().describe('topic filter, with + and #'),
  qos: z
    .union([z.literal(0), z.literal(1), z.literal(2)])
    .default(1)
    .describe('highest quality of service'),
  sample_every: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(1)
    .describe('of so many messages of a topic one is kept'),
  min_interval: z
    .number()
    .min(0)
    .max(86_400)
    .default(0)
    .describe('seconds between two messages of a topic that are kept'),
})

export type StandingSubscription = z.output<typeof standingSubscription>

export const messageSettings = z.strictObject({
  retention_days: z.number().positive().max(3_650).default(7).describe('days for which messages are kept'),
  max_bytes: z
    .number()
    .int()
    .min(65_536)
    .max(1_048_576 * MEBIBYTE)
    .default(256 * MEBIBYTE)
    .describe('bytes of messages that are kept for each target; the oldest go first'),
})
