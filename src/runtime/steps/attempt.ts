import { type MhvError, toMhvError } from '../../core/errors.ts'
import type { NewRunEvent } from '../../core/events.ts'
import { canResume, type OperationFailure } from '../../core/operation.ts'
import { certaintyOf, type EffectCertainty } from '../../core/result.ts'
import {
  type BreakerChange,
  type BreakerPass,
  type CircuitBreaker,
  speaksAgainstTarget,
} from '../../resilience/circuit-breaker.ts'
import { isTimeout, type RetryDenial, retryWait } from '../../resilience/retry.ts'
import type { RetryBudget } from '../../resilience/retry-budget.ts'
import type { RuntimeParts } from '../runtime.ts'
import {
  callOperation,
  connectionFor,
  endedBeforeActing,
  errorOfOperation,
  type RunToAttempt,
} from './call-operation.ts'
import type { ResolvedCall } from './resolve.ts'

/** How the attempts ended: with data, or with the error of the last one. */
export interface AttemptOutcome {
  readonly attempts: number
  readonly data?: unknown
  readonly error?: MhvError
  /** What is known of the effect of all attempts together; absent: what the error says. */
  readonly certainty?: EffectCertainty
  /** How the failure was made good: the data are those of the fallback, or what was done was taken back. */
  readonly recovered_by?: 'fallback' | 'compensation'
  /** The failure that a fallback made good. */
  readonly failure?: OperationFailure
}

/** The breaker of a call's target; null for an operation without one. */
export function breakerOf(parts: RuntimeParts, call: ResolvedCall): CircuitBreaker | null {
  if (call.target === null) return null
  const { worker } = call.operation
  return parts.breakers.of(worker.name, call.target.name, parts.environment.breakerLimits(worker.name))
}

/** What the event log says of a call that the breaker holds back. */
export function heldBackEvent(at: number, error: MhvError): NewRunEvent {
  const { state, failures, forced } = error.details ?? {}
  const data = { state, failures, forced, held_back: true, retry_after: error.retryAfter ?? null }
  return { type: 'breaker', at, data }
}

/** Times that a run is taken up again whose worker's process died: a command may be what kills it. */
const MAX_TAKEN_UP = 3

/** Steps 6 and 7: attempts until one succeeds, another is not safe, or time is up. Never rejects. */
export async function attemptRun(parts: RuntimeParts, run: RunToAttempt): Promise<AttemptOutcome> {
  const { worker } = run.call.operation
  const breaker = breakerOf(parts, run.call)
  const limits = parts.environment.retryLimits(worker.name)
  const budget = parts.retry.budgetOf(worker.name, run.call.target?.name ?? null, limits.budget)
  let certainty: EffectCertainty = 'none'
  let takenUp = 0
  const failed = (attempts: number, error: MhvError): AttemptOutcome => ({
    attempts,
    error,
    certainty: together(run.certaintyBefore, certainty),
  })
  for (let attempt = 1; ; attempt++) {
    const attempts = run.attemptsBefore + attempt
    const tried = await tryOnce(parts, run, breaker, { attempt: attempts, again: takenUp > 0 })
    if (!('error' in tried)) {
      budget.success()
      return { attempts, data: tried.data }
    }
    const { error } = tried
    certainty = together(certainty, tried.certainty)
    // What the breaker turned away was no attempt.
    if (!tried.attempted) return failed(attempts - 1, error)
    // The time is up, or it was cancelled: the run ends for that reason, and no other.
    if (run.deadline.signal.aborted) return failed(attempts, error)
    // What the process had begun goes on without it: nothing is done twice by looking after it.
    if (
      error.code === 'MHV_WORKER_DIED' &&
      takenUp < MAX_TAKEN_UP &&
      canResume(run.call.operation.spec, run.call.input)
    ) {
      takenUp += 1
      const data = { attempt: attempts + 1, error_code: error.code, error: parts.redactor.text(error.message) }
      run.note({ type: 'resumed', at: parts.clock.now(), data })
      continue
    }
    const waitMs = beforeNext(parts, run, { error, certainty, attempt, attempts, budget })
    if (waitMs === null) return failed(attempts, error)
    try {
      await parts.clock.sleep(waitMs, run.deadline.signal)
    } catch {
      // The time is up or the run was cancelled while nothing acted: the failure of the attempt is the better answer.
      return failed(attempts, error)
    }
  }
}

/** A later attempt that changed nothing takes nothing back: the strongest of what the attempts may have done. */
export function together(before: EffectCertainty, last: EffectCertainty): EffectCertainty {
  return last === 'none' ? before : last
}

interface FailedTry {
  readonly error: MhvError
  /** What is known of the effect of all attempts so far. */
  readonly certainty: EffectCertainty
  /** Of this call, from 1. */
  readonly attempt: number
  /** Of the run, with those before it was opened again. */
  readonly attempts: number
  readonly budget: RetryBudget
}

/** Milliseconds until the next attempt, or null where there is none; the event log gets to know why. */
function beforeNext(parts: RuntimeParts, run: RunToAttempt, failed: FailedTry): number | null {
  const { error, certainty, attempt, attempts, budget } = failed
  const { worker, spec } = run.call.operation
  const at = parts.clock.now()
  const deny = (reason: RetryDenial) => {
    const data = { attempt: attempts, error_code: error.code, reason, budget_left: budget.left() }
    run.note({ type: 'retry_denied', at, data })
    parts.metrics.retryDenied(worker.name, reason)
    return null
  }
  const denial = parts.retry.denialOf({
    error,
    certainty,
    attempt,
    idempotent: spec.idempotent,
    recovery: worker.recovery,
  })
  if (denial !== null) return deny(denial)
  const backoff = parts.environment.retryLimits(worker.name)
  const leftMs = run.deadline.due - parts.clock.monotonic()
  const waitMs = retryWait(error, attempt, { backoff, leftMs, random: parts.retry.random })
  if (waitMs === null) return deny('deadline')
  // Last: what is not tried again for another reason must not take from the budget.
  if (!budget.take(isTimeout(error))) return deny('budget')
  const facts = { attempt: attempts, error_code: error.code, error: parts.redactor.text(error.message) }
  run.note({ type: 'attempt_failed', at, data: { ...facts, wait_ms: waitMs } })
  run.note({ type: 'retry', at, data: { attempt: attempts + 1, wait_ms: waitMs, budget_left: budget.left() } })
  parts.metrics.retried(worker.name)
  return waitMs
}

interface FailedAttempt {
  readonly error: MhvError
  readonly certainty: EffectCertainty
  /** False where the breaker held it back. */
  readonly attempted: boolean
}

async function tryOnce(
  parts: RuntimeParts,
  run: RunToAttempt,
  breaker: CircuitBreaker | null,
  { attempt, again }: { readonly attempt: number; readonly again: boolean },
): Promise<FailedAttempt | { readonly data: unknown }> {
  let pass: BreakerPass | undefined
  try {
    pass = breaker?.enter()
  } catch (thrown) {
    const error = toMhvError(thrown)
    run.note(heldBackEvent(parts.clock.now(), error))
    return { error, attempted: false, certainty: 'none' }
  }
  if (pass?.trial) run.note({ type: 'breaker', at: parts.clock.now(), data: { state: 'half-open', trial: true } })
  let called = false
  try {
    const connection = await connectionFor(parts, run)
    called = true
    const { spec } = run.call.operation
    const act = (again ? spec.resume : undefined) ?? spec.run
    const data = await callOperation(parts, run, { attempt, connection, again }, (context) =>
      act.call(spec, context, run.call.input),
    )
    noteChange(parts, run, pass?.success())
    return { data }
  } catch (thrown) {
    const error = called ? errorOfOperation(parts, run, thrown) : toMhvError(thrown)
    if (error.code === 'MHV_INTERNAL') {
      parts.log.error('an operation threw what has no code', { run_id: run.run_id, error })
    }
    noteChange(parts, run, speaksAgainstTarget(error) && !isCancelled(run) ? pass?.failure() : pass?.neutral())
    return { error, attempted: true, certainty: called ? certaintyOf(error.code) : 'none' }
  }
}

/** The run whose end opened or closed the breaker tells so. */
function noteChange(parts: RuntimeParts, run: RunToAttempt, change: BreakerChange | null | undefined): void {
  if (change === null || change === undefined) return
  const { from, to, failures, calls } = change
  run.note({ type: 'breaker', at: parts.clock.now(), data: { from, state: to, failures, calls } })
}

/** A connection that we ended ourselves says nothing about the target. */
function isCancelled({ deadline: { signal } }: RunToAttempt): boolean {
  return signal.aborted && toMhvError(signal.reason).code !== 'MHV_RUN_TIMEOUT'
}

/** The error of a run whose signal was aborted while it still waited for its slot: nothing was done. */
export function endedWhileWaiting(reason: unknown): MhvError {
  return endedBeforeActing(reason, 'while the run waited for a slot')
}
