import type { MhvError } from '../core/errors.ts'
import type { EffectCertainty } from '../core/result.ts'
import type { RecoveryTable } from '../core/worker.ts'
import { type Backoff, fullJitter } from './backoff.ts'
import { recoveryFor } from './recovery.ts'
import { createRetryBudgets, type RetryBudget, type RetryBudgetLimits, type RetryBudgets } from './retry-budget.ts'

/** Why there is no other attempt. */
export const RETRY_DENIALS = ['not_listed', 'attempts', 'unsafe', 'deadline', 'budget'] as const
export type RetryDenial = (typeof RETRY_DENIALS)[number]

/** A worker's settings of retries. */
export interface RetryLimits extends Backoff {
  readonly budget: RetryBudgetLimits
}

export interface RetryQuestion {
  readonly error: MhvError
  /** What is known of the effect: by where it failed, else by what the error says. */
  readonly certainty: EffectCertainty
  /** The attempt that just failed, from 1. */
  readonly attempt: number
  readonly idempotent: boolean
  readonly recovery: RecoveryTable
}

/** Whether acting again cannot do the same thing twice, by what is known of the effect so far. */
export function isSafeAgain(certainty: EffectCertainty, idempotent: boolean): boolean {
  return certainty === 'none' || (idempotent && certainty === 'unknown')
}

/**
 * Whether another attempt is wanted and safe: the recovery table asks for it, attempts are left, and either nothing was
 * applied, or doing it twice is the same as doing it once. Null for yes, else why not.
 */
export function denialOf({ error, certainty, attempt, idempotent, recovery }: RetryQuestion): RetryDenial | null {
  const action = recoveryFor(recovery, error)
  if (action === undefined || (action.strategy !== 'retry' && action.strategy !== 'fallback')) return 'not_listed'
  if (!isSafeAgain(certainty, idempotent)) return 'unsafe'
  return attempt >= action.max_attempts ? 'attempts' : null
}

/** An answer that did not come in time: the table gives all of these the status of a gateway's timeout. */
export function isTimeout(error: MhvError): boolean {
  return error.spec.http === 504
}

/**
 * Milliseconds until the next attempt: jitter on top of what the other side asked for, so that those whom it turned away
 * together do not return together. Null where what it asked for reaches the deadline, `leftMs` away; the jitter never does.
 */
export function retryWait(
  error: MhvError,
  attempt: number,
  options: { readonly backoff: Backoff; readonly leftMs: number; readonly random: () => number },
): number | null {
  const { backoff, leftMs, random } = options
  const asked = Math.max(0, error.retryAfter ?? 0) * 1000
  // Also null for what is no number.
  if (!(asked < leftMs)) return null
  const cap_ms = Math.min(backoff.cap_ms, leftMs - asked)
  return asked + fullJitter(attempt, { ...backoff, cap_ms }, random)
}

/** The retry of the one execution path; no other layer tries anything again. */
export interface RetryPolicy {
  denialOf(question: RetryQuestion): RetryDenial | null
  budgetOf(worker: string, target: string | null, limits: RetryBudgetLimits): RetryBudget
  readonly random: () => number
}

export function createRetryPolicy(
  options: { readonly budgets?: RetryBudgets; readonly random?: () => number } = {},
): RetryPolicy {
  const { budgets = createRetryBudgets(), random = Math.random } = options
  return { denialOf, budgetOf: budgets.of, random }
}
