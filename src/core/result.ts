import { z } from 'zod'
import { ERROR_CODES } from './error-table.ts'
import { EFFECTS } from './operation.ts'
import { EFFECT_CERTAINTIES, RUN_STATUSES } from './run-status.ts'

export {
  certaintyOf,
  type EffectCertainty,
  type FinalStatus,
  isFinal,
  RUN_STATUSES,
  RUN_TRANSITIONS,
  type RunStatus,
} from './run-status.ts'

/** Version of the JSON shape of a result and of everything printed with `--json`. */
export const RESULT_FORMAT = 1

const metadataSchema = z.looseObject({
  format: z.number().int().describe('version of this shape'),
  principal: z.string().describe('who asked'),
  surface: z.string().describe('through which surface: mcp, cli, http, embedded'),
  effect: z.enum(EFFECTS).describe('what this call was allowed to change at most'),
  tier: z.string().nullable().describe('tier of the target'),
  queue_seconds: z.number().describe('time spent waiting for a slot'),
  remedy: z.string().optional().describe('what to do about the error'),
  details: z.record(z.string(), z.unknown()).optional().describe('facts about the error, for programs'),
  recovered_by: z
    .enum(['fallback', 'compensation'])
    .optional()
    .describe('fallback: its data came another way; compensation: it failed, and what it did was taken back'),
  retry_after: z.number().optional().describe('seconds after which to call again'),
  reason: z.string().optional().describe('why the caller asked for it'),
  replay_of: z.string().optional().describe('the run whose dead letter this one replays'),
  dead_letter: z.string().optional().describe('its dead letter, from which it can be replayed'),
})

/** The wire shape of a run, the same on every surface. `data` is the typed output of the operation, null until it is there. */
export function workerResultSchema<D extends z.ZodType>(data: D) {
  return z.object({
    run_id: z.string().describe('ULID of the run'),
    worker: z.string(),
    operation: z.string().describe('worker.verb'),
    target: z.string().nullable(),
    worker_id: z.string().describe('which instance of the worker ran it'),
    status: z.enum(RUN_STATUSES),
    effect_certainty: z.enum(EFFECT_CERTAINTIES).nullable().describe('null while it runs'),
    output: z.string().nullable().describe('bounded text for people'),
    data: data.nullable().describe('typed output of the operation'),
    error: z.string().nullable(),
    error_code: z.enum(ERROR_CODES).nullable(),
    exit_code: z.number().int().nullable(),
    attempts: z.number().int(),
    duration_seconds: z.number().nullable(),
    timestamp: z.string().describe('when it was accepted, ISO 8601 UTC'),
    metadata: metadataSchema,
  })
}

export const anyResultSchema = workerResultSchema(z.unknown())
export type WorkerResult = z.output<typeof anyResultSchema>
export type ResultMetadata = z.output<typeof metadataSchema>

/** The original project's eight keys, for its consumers. */
export function toOriginalResult(result: WorkerResult) {
  const { worker_id, status, output, error, exit_code, duration_seconds, timestamp, metadata } = result
  return { worker_id, status, output, error, exit_code, duration_seconds, timestamp, metadata }
}
