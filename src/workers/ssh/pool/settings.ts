import { z } from 'zod'

/** What to do with a call for which there is no place. */
export const POOL_BACKPRESSURE = ['reject_new', 'wait'] as const

const seconds = (max: number) => z.number().positive().max(max)

/** The pool's own settings, spread into those of the worker. */
export const poolSettings = {
  max_connections: z
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(50)
    .describe('connections to all hosts together; up to 10 more may be made to end commands whose connection broke'),
  max_connections_per_host: z
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(10)
    .describe('connections to one host and port, whatever the user and the credentials'),
  max_channels_per_connection: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(8)
    .describe('commands at once on one connection; sshd allows 10 (MaxSessions), and ending a command needs one more'),
  connection_ttl: seconds(86_400).default(300).describe('seconds after which an idle connection is closed'),
  max_lifetime: seconds(604_800)
    .default(3_600)
    .describe('seconds after which a connection takes nothing new; it is closed when what runs on it has ended'),
  connection_health_check: seconds(86_400)
    .default(60)
    .describe('seconds of silence after which an idle connection is asked whether it works before it is used again'),
  pool_backpressure: z
    .enum(POOL_BACKPRESSURE)
    .default('reject_new')
    .describe('a call for which there is no room is refused at once (reject_new), or waits until its deadline (wait)'),
  pool_queue_size: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe('calls that may wait for a place on one host; one more is refused, whatever pool_backpressure says'),
}
