import { z } from 'zod'

export const ISOLATIONS = ['none', 'process'] as const
export type Isolation = (typeof ISOLATIONS)[number]

/** Where a worker runs. */
export const isolation = z
  .enum(ISOLATIONS)
  .default('none')
  .describe('none: in the main process; process: in a process of its own, within the limits under `process`')

const count = (least: number, most: number) => z.number().int().min(least).max(most)

/** Limits of a worker's own process, and what is done when it ends or does not answer. */
export const processSettings = z.strictObject({
  memory_limit_mb: count(128, 1_048_576)
    .default(512)
    .describe('memory that the process may hold, in MiB; one that holds more is replaced. Node alone takes 50 to 100'),
  cpu_percent: count(1, 100_000)
    .nullable()
    .default(null)
    .describe('processor time in percent of one processor; where no control group can be made, a lower priority'),
  open_files: count(64, 1_048_576).nullable().default(null).describe('files and sockets that it may have open'),
  heartbeat_seconds: count(2, 3_600)
    .default(15)
    .describe('seconds without an answer after which the process is ended and replaced'),
  drain_seconds: count(0, 3_600)
    .default(10)
    .describe('seconds that runs get to end in a process that is over its memory limit'),
  max_restarts: count(0, 1_000).default(5).describe('restarts within the window; after one more end it stays down'),
  restart_window_seconds: count(1, 86_400).default(300).describe('seconds for which a restart counts'),
})

export type ProcessSettings = z.output<typeof processSettings>
