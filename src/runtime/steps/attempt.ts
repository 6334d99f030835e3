import type { OperationContext, Progress } from '../../core/context.ts'
import { MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import type { NewRunEvent } from '../../core/events.ts'
import { certaintyOf, type EffectCertainty } from '../../core/result.ts'
import type { WorkerConnection } from '../../core/worker.ts'
import { fullJitter } from '../../resilience/backoff.ts'
import { type CircuitBreaker, speaksAgainstTarget } from '../../resilience/circuit-breaker.ts'
import type { Deadline } from '../../resilience/deadline.ts'
import { mayRetry } from '../../resilience/retry.ts'
import type { RunOutput } from '../run-output.ts'
import type { RuntimeParts } from '../runtime.ts'
import type { ResolvedCall } from './resolve.ts'

/** What an accepted run needs to act. */
export interface RunToAttempt {
  readonly run_id: string
  readonly call: ResolvedCall
  readonly deadline: Deadline
  readonly output: RunOutput
  readonly progress: (progress: Progress) => void
  readonly note: (event: NewRunEvent) => void
  /** Attempts of this run before it was opened again under its key. */
  readonly attemptsBefore: number
}

/** How the attempts ended: with data, or with the error of the last one. */
export interface AttemptOutcome {
  readonly attempts: number
  readonly data?: unknown
  readonly error?: MhvError
  /** What is known of the effect of all attempts together; absent: what the error says. */
  readonly certainty?: EffectCertainty
}

/** The breaker of a call's target; null for an operation without one. */
export function breakerOf(parts: RuntimeParts, call: ResolvedCall): CircuitBreaker | null {
  if (call.target === null) return null
  const { worker } = call.operation
  return parts.breakers.of(worker.name, call.target.name, parts.environment.breakerLimits(worker.name))
}

/** Steps 6 and 7: attempts until one succeeds, another is not safe, or time is up. Never rejects. */
export async function attemptRun(parts: RuntimeParts, run: RunToAttempt): Promise<AttemptOutcome> {
  const { spec, worker } = run.call.operation
  const breaker = breakerOf(parts, run.call)
  let certainty: EffectCertainty = 'none'
  for (let attempt = 1; ; attempt++) {
    const attempts = run.attemptsBefore + attempt
    const tried = await tryOnce(parts, run, breaker, attempts)
    if (!('error' in tried)) return { attempts, data: tried.data }
    const { error } = tried
    certainty = together(certainty, tried.certainty)
    // What the breaker turned away was no attempt.
    if (!tried.attempted) return { attempts: attempts - 1, error, certainty }
    const again = mayRetry({ error, attempt, idempotent: spec.idempotent, recovery: worker.recovery })
    if (!again || run.deadline.signal.aborted) return { attempts, error, certainty }

    // Jitter on top of what the other side asked for: those whom it turned away together shall not return together.
    const waitMs = fullJitter(attempt) + (error.retryAfter ?? 0) * 1000
    const facts = { error_code: error.code, error: parts.redactor.text(error.message) }
    run.note({ type: 'attempt_failed', at: parts.clock.now(), data: { attempt: attempts, ...facts, wait_ms: waitMs } })
    try {
      await parts.clock.sleep(waitMs, run.deadline.signal)
    } catch {
      // The time is up or the run was cancelled while nothing acted: the failure of the attempt is the better answer.
      return { attempts, error, certainty }
    }
  }
}

/** A later attempt that changed nothing takes nothing back: the strongest of what the attempts may have done. */
function together(before: EffectCertainty, last: EffectCertainty): EffectCertainty {
  return last === 'none' ? before : last
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
  attempt: number,
): Promise<FailedAttempt | { readonly data: unknown }> {
  let attempted = false
  let called = false
  let pass: ReturnType<CircuitBreaker['enter']> | undefined
  try {
    pass = breaker?.enter()
    attempted = true
    const connection = await connectionFor(parts, run)
    called = true
    const data = await callOperation(parts, run, attempt, connection)
    pass?.success()
    return { data }
  } catch (thrown) {
    const error = called ? errorOfOperation(parts, run, thrown) : toMhvError(thrown)
    if (error.code === 'MHV_INTERNAL') {
      parts.log.error('an operation threw what has no code', { run_id: run.run_id, error })
    }
    if (speaksAgainstTarget(error) && !isCancelled(run)) pass?.failure()
    else pass?.neutral()
    return { error, attempted, certainty: called ? certaintyOf(error.code) : 'none' }
  }
}

/** A connection that we ended ourselves says nothing about the target. */
function isCancelled({ deadline: { signal } }: RunToAttempt): boolean {
  return signal.aborted && toMhvError(signal.reason).code !== 'MHV_RUN_TIMEOUT'
}

/** The worker's connection, or the end of the wait for it: a worker that does not start holds no run for ever. */
async function connectionFor(parts: RuntimeParts, run: RunToAttempt): Promise<WorkerConnection> {
  const { signal } = run.deadline
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(endedBeforeActing(signal.reason, 'before the operation was started'))
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    const { connection } = await Promise.race([aborted.promise, parts.instances.get(run.call.operation.worker)])
    return connection
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** What an operation threw, as an error that says no more about its effect than can be known. */
function errorOfOperation(parts: RuntimeParts, run: RunToAttempt, thrown: unknown): MhvError {
  const { signal } = run.deadline
  if (!(thrown instanceof MhvError)) {
    if (!signal.aborted) return toMhvError(thrown)
    // Its own way of saying that it was aborted.
    parts.log.debug('an operation ended with another error than the reason', { run_id: run.run_id, error: thrown })
    return toMhvError(signal.reason)
  }
  // Of the journal, these say that nothing was changed; an operation that lost its state had begun already.
  if (!thrown.code.startsWith('MHV_JOURNAL_') && thrown.code !== 'MHV_DISK_LOW') return thrown
  return mhvError('MHV_INTERNAL', `the journal failed while the operation acted: ${thrown.message}`, { cause: thrown })
}

function callOperation(
  parts: RuntimeParts,
  run: RunToAttempt,
  attempt: number,
  connection: WorkerConnection,
): Promise<unknown> {
  const { operation, input } = run.call
  const work = (async () => operation.spec.run(contextOf(parts, run, attempt, connection), input))()
  return withinGrace(parts, run, work)
}

/**
 * An operation that does not end after its signal was aborted is left behind after the grace time: nobody knows then
 * what it does, and the run says so.
 */
function withinGrace(parts: RuntimeParts, run: RunToAttempt, work: Promise<unknown>): Promise<unknown> {
  const { signal } = run.deadline
  const graceMs = parts.environment.runs.abort_grace_seconds * 1000
  return new Promise((resolve, reject) => {
    let cancelGrace: (() => void) | undefined
    const onAbort = () => {
      cancelGrace = parts.clock.after(graceMs, () => {
        parts.log.error('an operation did not end when it was told to', { run_id: run.run_id })
        reject(signal.reason)
      })
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    const done = () => {
      signal.removeEventListener('abort', onAbort)
      cancelGrace?.()
    }
    work.finally(done).then(resolve, reject)
  })
}

function contextOf(
  parts: RuntimeParts,
  run: RunToAttempt,
  attempt: number,
  connection: WorkerConnection,
): OperationContext {
  const { call } = run
  return {
    run_id: run.run_id,
    attempt,
    principal: call.principal,
    effect: call.effect,
    target: call.target as OperationContext['target'],
    connection,
    settings: call.settings,
    signal: run.deadline.signal,
    deadline: run.deadline.at,
    clock: parts.clock,
    log: parts.log,
    secrets: parts.secrets,
    state: parts.instances.state(call.operation.worker.name),
    output: run.output.attempt(),
    progress: async (progress) => run.progress(parts.redactor.deep(progress)),
    need: parts.instances.need,
  }
}

/** The error of a run whose signal was aborted while it still waited for its slot: nothing was done. */
export function endedWhileWaiting(reason: unknown): MhvError {
  return endedBeforeActing(reason, 'while the run waited for a slot')
}

function endedBeforeActing(reason: unknown, when: string): MhvError {
  if (toMhvError(reason).code === 'MHV_RUN_TIMEOUT') {
    return mhvError('MHV_RUN_QUEUE_TIMEOUT', `the deadline passed ${when}`)
  }
  return mhvError('MHV_RUN_CANCELLED_QUEUED', 'the run was cancelled before it acted')
}
