import { z } from 'zod'

const MEBIBYTE = 1_048_576
const count = (least: number, most: number) => z.number().int().min(least).max(most)

/** Of the worker, or of one target. */
export const outboxSettings = z.strictObject({
  max_size: count(1, 1_000_000).default(10_000).describe('messages that wait for one target'),
  max_bytes: count(1_024, 4_096 * MEBIBYTE)
    .default(64 * MEBIBYTE)
    .describe('bytes of messages that wait for one target'),
  telemetry_topics: z
    .array(z.string().min(1).max(1_000))
    .max(100)
    .default(['sensors/#', 'gateways/#', 'mahavishnu/status/#'])
    .describe(
      'topic filters whose messages give way to newer ones when the outbox is full; all others are refused then',
    ),
  delivery_wait: z
    .number()
    .min(0)
    .max(3_600)
    .default(5)
    .describe('seconds for which a publish waits for the broker before it answers that its messages are held'),
  replay_rate: z
    .number()
    .positive()
    .max(1_000_000)
    .default(500)
    .describe('messages per second of those that waited while the connection was lost'),
})

export type OutboxSettings = z.output<typeof outboxSettings>
