import type { OperationContext, Progress } from '../../core/context.ts'
import { MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import type { NewRunEvent } from '../../core/events.ts'
import type { EffectCertainty } from '../../core/result.ts'
import type { WorkerConnection } from '../../core/worker.ts'
import type { Deadline } from '../../resilience/deadline.ts'
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
  /** What is known of the effect of those attempts. */
  readonly certaintyBefore: EffectCertainty
  /** Told the deadline of what the run does beyond its own, and undefined when that is over. */
  readonly recovering: (deadline: Deadline | undefined) => void
}

/** The worker's connection, or the end of the wait for it: a worker that does not start holds no run for ever. */
export async function connectionFor(parts: RuntimeParts, run: RunToAttempt): Promise<WorkerConnection> {
  const { signal } = run.deadline
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(endedBeforeActing(signal.reason, 'before the operation was started'))
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    const connection = await Promise.race([aborted.promise, readyConnection(parts, run)])
    // The last look before it acts: making a connection may have taken long, and so may the pause before a retry.
    await parts.lease.confirm()
    // The journal may have taken long to answer, too: what was given up meanwhile does not act.
    if (signal.aborted) return await aborted.promise
    return connection
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function readyConnection(parts: RuntimeParts, run: RunToAttempt): Promise<WorkerConnection> {
  const { connection } = await parts.instances.get(run.call.operation.worker)
  await connection.ready?.()
  return connection
}

/** Said of a write that was not taken, whatever the operation had done before it. */
const OF_THE_JOURNAL = /^MHV_(JOURNAL_.*|DISK_LOW|INSTANCE_FENCED)$/

/** What an operation threw, as an error that says no more about its effect than can be known. */
export function errorOfOperation(parts: RuntimeParts, run: RunToAttempt, thrown: unknown): MhvError {
  const { signal } = run.deadline
  if (!(thrown instanceof MhvError)) {
    if (!signal.aborted) return toMhvError(thrown)
    // Its own way of saying that it was aborted.
    parts.log.debug('an operation ended with another error than the reason', { run_id: run.run_id, error: thrown })
    return toMhvError(signal.reason)
  }
  // Of the journal, these say that nothing was changed; an operation that lost its state had begun already.
  if (!OF_THE_JOURNAL.test(thrown.code)) return thrown
  return mhvError('MHV_INTERNAL', `the journal failed while the operation acted: ${thrown.message}`, { cause: thrown })
}

interface CallTo {
  readonly attempt: number
  readonly connection: WorkerConnection
  /** Goes on with what the attempt before had begun: its output comes from the beginning once more. */
  readonly again?: boolean
}

/** Lets the operation's own code act, as the attempt of this number. */
export function callOperation<T>(
  parts: RuntimeParts,
  run: RunToAttempt,
  to: CallTo,
  act: (context: OperationContext) => Promise<T>,
): Promise<T> {
  const work = (async () => act(contextOf(parts, run, to)))()
  return withinGrace(parts, run, work)
}

/**
 * An operation that does not end after its signal was aborted is left behind after the grace time: nobody knows then
 * what it does, and the run says so.
 */
function withinGrace<T>(parts: RuntimeParts, run: RunToAttempt, work: Promise<T>): Promise<T> {
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

function contextOf(parts: RuntimeParts, run: RunToAttempt, { attempt, connection, again }: CallTo): OperationContext {
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
    records: parts.instances.records(call.operation.worker.name),
    output: run.output.attempt(again),
    bandwidth: parts.bandwidth.of(call.operation.worker.name, call.target?.name ?? null),
    progress: async (progress) => run.progress(parts.redactor.deep(progress)),
    need: parts.instances.need,
  }
}

/** The error of a run whose signal was aborted before it acted: nothing was done. */
export function endedBeforeActing(reason: unknown, when: string): MhvError {
  if (toMhvError(reason).code === 'MHV_RUN_TIMEOUT') {
    return mhvError('MHV_RUN_QUEUE_TIMEOUT', `the deadline passed ${when}`)
  }
  return mhvError('MHV_RUN_CANCELLED_QUEUED', 'the run was cancelled before it acted')
}
