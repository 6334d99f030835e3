import type { OperationContext, Progress } from '../../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import type { NewRunEvent } from '../../core/events.ts'
import { fullJitter } from '../../resilience/backoff.ts'
import { type BreakerPass, type CircuitBreaker, speaksAgainstTarget } from '../../resilience/circuit-breaker.ts'
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
  for (let attempt = 1; ; attempt++) {
    const attempts = run.attemptsBefore + attempt
    const error = await tryOnce(parts, run, breaker, attempts)
    if (!(error instanceof Failure)) return { attempts, data: error.data }
    const failed = error.error
    const again = mayRetry({ error: failed, attempt, idempotent: spec.idempotent, recovery: worker.recovery })
    if (!again || run.deadline.signal.aborted) return { attempts, error: failed }

    const waitMs = failed.retryAfter === undefined ? fullJitter(attempt) : failed.retryAfter * 1000
    const data = {
      attempt: attempts,
      error_code: failed.code,
      error: parts.redactor.text(failed.message),
      wait_ms: waitMs,
    }
    run.note({ type: 'attempt_failed', at: parts.clock.now(), data })
    try {
      await parts.clock.sleep(waitMs, run.deadline.signal)
    } catch {
      // The time is up or the run was cancelled while nothing acted: the failure of the attempt is the better answer.
      return { attempts, error: failed }
    }
  }
}

class Failure {
  readonly error: MhvError
  constructor(error: MhvError) {
    this.error = error
  }
}

async function tryOnce(
  parts: RuntimeParts,
  run: RunToAttempt,
  breaker: CircuitBreaker | null,
  attempt: number,
): Promise<Failure | { data: unknown }> {
  let pass: BreakerPass | undefined
  try {
    pass = breaker?.enter()
    const data = await runOperation(parts, run, attempt)
    pass?.success()
    return { data }
  } catch (thrown) {
    const error = toMhvError(thrown)
    if (error.code === 'MHV_INTERNAL') {
      const stack = error.cause instanceof Error ? error.cause.stack : undefined
      parts.log.error('an operation threw what has no code', { run_id: run.run_id, error: error.message, stack })
    }
    if (speaksAgainstTarget(error)) pass?.failure()
    else pass?.neutral()
    return new Failure(error)
  }
}

async function runOperation(parts: RuntimeParts, run: RunToAttempt, attempt: number): Promise<unknown> {
  const { spec, worker } = run.call.operation
  const { connection } = await parts.instances.get(worker)
  run.deadline.signal.throwIfAborted()
  const work = Promise.resolve(spec.run(contextOf(parts, run, attempt, connection), run.call.input))
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

function contextOf(parts: RuntimeParts, run: RunToAttempt, attempt: number, connection: unknown): OperationContext {
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
    output: run.output,
    progress: async (progress) => run.progress(parts.redactor.deep(progress)),
    need: parts.instances.need,
  }
}

/** The error of a run whose signal was aborted while it still waited: nothing was done. */
export function endedWhileWaiting(reason: unknown): MhvError {
  const error = toMhvError(reason)
  if (error.code === 'MHV_RUN_TIMEOUT') {
    return mhvError('MHV_RUN_QUEUE_TIMEOUT', 'the deadline passed while the run waited for a slot')
  }
  return mhvError('MHV_RUN_CANCELLED_QUEUED', 'the run was cancelled before it acted')
}
