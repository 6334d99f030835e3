import { z } from 'zod'

const POLICIES = ['never', 'linear', 'exponential', 'immediate'] as const
const OVERFLOW = ['drop_oldest', 'reject'] as const
const MEBIBYTE = 1_048_576

const fields = {
  policy: z
    .enum(POLICIES)
    .describe('whether failed runs are replayed by themselves: never, after a delay that grows, or at once'),
  max_replays: z.number().int().min(1).max(1_000).describe('replays after which a dead letter is poison'),
  delay_seconds: z
    .number()
    .min(0)
    .max(604_800)
    .describe('delay before the first replay; linear and exponential grow from it'),
  max_delay_seconds: z.number().min(0).max(2_592_000).describe('longest delay between two replays'),
}

/** Dead letters of all workers. */
export const deadLetterSettingsSchema = z.strictObject({
  policy: fields.policy.default('never'),
  max_replays: fields.max_replays.default(5),
  delay_seconds: fields.delay_seconds.default(60),
  max_delay_seconds: fields.max_delay_seconds.default(3_600),
  max_count: z.number().int().min(1).max(1_000_000).default(10_000).describe('dead letters that are kept'),
  max_bytes: z
    .number()
    .int()
    .min(MEBIBYTE / 16)
    .max(2 ** 40)
    .default(256 * MEBIBYTE)
    .describe('bytes of dead letters that are kept'),
  overflow: z
    .enum(OVERFLOW)
    .default('drop_oldest')
    .describe('what happens when there is no more room: the oldest goes, or the new one is not kept; both are counted'),
  retention_days: z
    .number()
    .min(0.01)
    .max(3_650)
    .default(30)
    .describe('days that letters stay which are replayed, archived or poison; open ones stay'),
})

/** What a worker may have otherwise. */
export const workerDeadLetterSchema = z.strictObject({
  policy: fields.policy.optional(),
  max_replays: fields.max_replays.optional(),
  delay_seconds: fields.delay_seconds.optional(),
  max_delay_seconds: fields.max_delay_seconds.optional(),
})

export type DeadLetterSettings = z.output<typeof deadLetterSettingsSchema>
