import { ERROR_TABLE, type ErrorCode } from './error-table.ts'

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
