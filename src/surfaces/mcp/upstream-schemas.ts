import { z } from 'zod'
import { RUN_STATUSES } from '../../core/result.ts'

/** Shapes of the profile `upstream`: the original's fields under its names, beside them what ours adds. */

const MAX_TIMEOUT_SECONDS = 86_400
const status = z.enum(RUN_STATUSES)
const workerId = z.string().min(1).max(200).describe('id that worker_spawn gave')
const workerIds = z.array(workerId).max(1_000)
const timeout = z
  .number()
  .positive()
  .max(MAX_TIMEOUT_SECONDS)
  .default(300)
  .describe('seconds the task itself may take; waiting for the tasks before it does not count')
const prompt = z.string().max(1_000_000)

export const taskResult = z.object({
  worker_id: z.string(),
  status,
  output: z.string().nullable().describe('text of the task, for a command its standard output'),
  error: z.string().nullable(),
  exit_code: z.number().int().nullable().describe('as the command gave it; null where there is none'),
  duration_seconds: z.number().nullable(),
  timestamp: z.string().describe('ISO 8601 UTC'),
  metadata: z
    .looseObject({})
    .describe('error_code, effect_certainty, operation, target; data has what output has not, such as stderr'),
  run_id: z.string().nullable().describe('for run_get and run_output; null where there is no run (yet)'),
})

const spawned = z.object({
  worker_id: z.string(),
  worker_type: z.string(),
  status: status.describe('pending before its first task, running during one, else how the last one ended'),
  target: z.string().nullable(),
  waiting: z.number().int().describe('tasks that wait for this worker'),
  finished: z.number().int(),
  closing: z.boolean(),
})

export const spawnInput = z.object({
  worker_type: z
    .string()
    .min(1)
    .max(200)
    .describe('a worker, as in "ssh", or a worker and its target, as in "ssh:web-1"; needed where there are several'),
  count: z.number().int().min(1).max(50).default(1),
})
export const spawnOutput = z.object({ worker_ids: z.array(z.string()) })

export const executeInput = z.object({
  worker_id: workerId,
  prompt: prompt.describe('what to do: for an ssh worker, a shell command'),
  timeout,
})

export const batchInput = z.object({
  worker_ids: workerIds.describe('one may stand here more than once'),
  prompts: z
    .array(prompt)
    .max(10_000)
    .describe('one for all workers, one for each, or more than workers: then prompt i goes to worker i modulo workers'),
  timeout,
})
export const batchOutput = z.object({ result: z.array(taskResult).describe('in the order of the prompts') })

export const listInput = z.object({
  state: status.optional().describe('only workers of this status'),
  worker_id: workerId.optional().describe('only this worker'),
})
export const listOutput = z.object({ result: z.array(spawned) })

export const monitorInput = z.object({
  worker_ids: workerIds.optional().describe('all workers, if left out'),
  interval: z
    .number()
    .min(0)
    .max(30)
    .default(1)
    .describe('seconds to wait for a change of any status before the answer is given'),
})
export const monitorOutput = z
  .record(z.string(), status.nullable())
  .describe('status by worker; null: closed or unknown')

export const collectInput = z.object({
  worker_ids: workerIds.optional().describe('all workers, closed ones too, if left out'),
  since_offset: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('0 for the beginning, then next_offset of the answer before'),
})
export const collectOutput = z.object({
  results: z.array(taskResult.extend({ offset: z.number().int() })).describe('in the order in which the tasks ended'),
  next_offset: z.number().int().describe('since_offset of the next call with the same workers'),
  gap: z.boolean().describe('some results are not kept here any more; run_list still has them'),
})

export const closeInput = z.object({
  worker_id: workerId,
  force: z.boolean().default(false).describe('cancels its tasks; otherwise they are done first'),
})
export const closeOutput = z.object({ success: z.boolean(), worker_id: z.string(), error: z.string().optional() })

export const closeAllInput = z.object({ force: z.boolean().default(false).describe('cancels their tasks') })
export const closeAllOutput = z.object({
  closed_count: z.number().int(),
  closed: z.array(z.string()),
  still_closing: z.array(z.string()).describe('their tasks are not done yet; they take no new ones'),
})

export const healthInput = z.object({})
export const healthOutput = z.object({
  status: z.enum(['healthy', 'degraded', 'unknown']),
  workers_active: z.number().int(),
  max_concurrent: z.number().int(),
  debug_mode: z.boolean(),
  debug_monitor_active: z.boolean(),
  max_spawned: z.number().int(),
  open_breakers: z.array(z.string()),
  workers: z.array(spawned),
})
