import { z } from 'zod'
import { ERROR_CODES, ERROR_TABLE, type ErrorCode } from './error-table.ts'
import { EFFECTS } from './operation.ts'

/**
 * Status of a run. Field names and values follow the original project's WorkerResult. `starting` is part of the
 * wire shape for its consumers; no run is persisted with it.
 */
export const RUN_STATUSES = ['pending', 'starting', 'running', 'completed', 'failed', 'timeout', 'cancelled'] as const
export type RunStatus = (typeof RUN_STATUSES)[number]

export const FINAL_STATUSES = ['completed', 'failed', 'timeout', 'cancelled'] as const
export type FinalStatus = (typeof FINAL_STATUSES)[number]

/** What is known of the effect of a finished run: nothing was changed, it was applied, or nobody can say. */
export const EFFECT_CERTAINTIES = ['none', 'applied', 'unknown'] as const
export type EffectCertainty = (typeof EFFECT_CERTAINTIES)[number]

/**
 * The persisted state machine of a run: from (null = not there yet) to what, and on which occasion. The store refuses
 * every other transition, and the crash tests walk this table.
 */
export const RUN_TRANSITIONS = [
  { from: null, to: 'pending', on: 'accepted, and waiting for a slot' },
  { from: null, to: 'running', on: 'accepted, with a slot at once' },
  { from: null, to: 'completed', on: 'journaled once, with its end' },
  { from: null, to: 'failed', on: 'journaled once, with its end' },
  { from: null, to: 'timeout', on: 'journaled once, with its end' },
  { from: null, to: 'cancelled', on: 'journaled once, with its end' },
  { from: 'pending', to: 'running', on: 'a slot is free' },
  { from: 'pending', to: 'failed', on: 'breaker open, or found after a crash' },
  { from: 'pending', to: 'timeout', on: 'deadline passed in the queue' },
  { from: 'pending', to: 'cancelled', on: 'cancelled in the queue' },
  { from: 'running', to: 'completed', on: 'the operation returned' },
  { from: 'running', to: 'failed', on: 'the operation failed, or found after a crash' },
  { from: 'running', to: 'timeout', on: 'not done at its deadline' },
  { from: 'running', to: 'cancelled', on: 'cancelled while it acted' },
  { from: 'failed', to: 'pending', on: 'the same idempotency key again, after certainty none' },
  { from: 'failed', to: 'running', on: 'the same idempotency key again, after certainty none' },
  { from: 'timeout', to: 'pending', on: 'the same idempotency key again, after certainty none' },
  { from: 'timeout', to: 'running', on: 'the same idempotency key again, after certainty none' },
  { from: 'cancelled', to: 'pending', on: 'the same idempotency key again, after certainty none' },
  { from: 'cancelled', to: 'running', on: 'the same idempotency key again, after certainty none' },
] as const satisfies readonly { from: RunStatus | null; to: RunStatus; on: string }[]

export function isTransition(from: RunStatus | null, to: RunStatus): boolean {
  return RUN_TRANSITIONS.some((row) => row.from === from && row.to === to)
}

export function isFinal(status: RunStatus): status is FinalStatus {
  return (FINAL_STATUSES as readonly string[]).includes(status)
}

/** What an error code says about the effect of the run that it ended. */
export function certaintyOf(code: ErrorCode): EffectCertainty {
  const phase = ERROR_TABLE[code].phase
  if (phase === 'before-effect') return 'none'
  return phase === 'after-effect' ? 'applied' : 'unknown'
}

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
