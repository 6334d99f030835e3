import { z } from 'zod'
import { PRIORITIES } from '../core/operation.ts'
import { CRON_NICKNAMES, isCron, isTimeZone } from '../core/recurrence.ts'

/** Number of the format of the file with the schedules. */
export const SCHEDULES_FORMAT = 1

/** What is done with an occurrence while the run of the one before has not ended. */
export const OVERLAP_POLICIES = ['skip', 'queue_one', 'cancel_running', 'allow'] as const
export type OverlapPolicy = (typeof OVERLAP_POLICIES)[number]

/** What is done about occurrences whose time has gone by: nothing was running, or the clock jumped over them. */
export const MISSED_POLICIES = ['skip', 'run_once', 'run_all'] as const
export type MissedPolicy = (typeof MISSED_POLICIES)[number]

/** Names of schedules: they are part of principals and idempotency keys. */
const SCHEDULE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

const DAY_SECONDS = 86_400

const name = z.string().regex(SCHEDULE_NAME, {
  error: 'must be letters, digits, dots, dashes and underscores, 64 at most, the first a letter or digit',
})
const instant = (what: string) => z.iso.datetime({ offset: true }).optional().describe(what)

export const scheduleSchema = z.strictObject({
  description: z.string().max(1_000).optional().describe('what it is for, for people'),
  operation: z.string().min(1).max(200).describe('id of the operation, worker.verb'),
  target: z.string().min(1).max(128).optional().describe('name of the target, where the operation acts on one'),
  input: z
    .record(z.string(), z.unknown())
    .default({})
    .describe("the operation's input; secrets as references only, as everywhere"),
  cron: z
    .string()
    .refine(isCron, {
      error: `must be a cron expression that some date fits: minute, hour, day of month, month, day of week; or ${CRON_NICKNAMES.join(', ')}`,
    })
    .optional()
    .describe('cron expression of five fields, in the time of `timezone`'),
  every: z
    .number()
    .int()
    .min(1)
    .max(366 * DAY_SECONDS)
    .optional()
    .describe('seconds between two occurrences, counted from `start`, else from the epoch'),
  timezone: z
    .string()
    .refine(isTimeZone, { error: 'must be the IANA name of a time zone, such as Europe/Berlin' })
    .default('UTC')
    .describe('IANA time zone of `cron`'),
  jitter: z
    .number()
    .min(0)
    .max(DAY_SECONDS)
    .default(0)
    .describe('seconds by which each occurrence comes later at most; how much is fixed for each'),
  overlap: z
    .enum(OVERLAP_POLICIES)
    .default('skip')
    .describe('what to do with an occurrence while the run of the one before goes on'),
  missed: z
    .enum(MISSED_POLICIES)
    .default('skip')
    .describe('what to do about occurrences that nobody was there for: nothing, the last one, or all up to max_missed'),
  max_missed: z.number().int().min(1).max(100).default(10).describe('with missed: run_all, how many of the last'),
  start: instant('nothing occurs before this, ISO 8601'),
  end: instant('nothing occurs at or after this, ISO 8601'),
  timeout: z
    .number()
    .positive()
    .max(DAY_SECONDS)
    .optional()
    .describe('deadline of each run in seconds; default: that of the operation'),
  priority: z.enum(PRIORITIES).default('low').describe('order in the queue'),
  reason: z.string().max(500).optional().describe('why it is done; kept with each run'),
})

export const schedulesFileSchema = z.strictObject({
  version: z.literal(SCHEDULES_FORMAT).describe('format of this file'),
  schedules: z.record(name, scheduleSchema).nullish().describe('the schedules by name'),
})
