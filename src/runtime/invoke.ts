import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { isFinal, type WorkerResult } from '../core/result.ts'
import type { PolicyAnswer } from '../governance/policy.ts'
import type { AdmissionPlace } from '../resilience/admission.ts'
import type { CreateOutcome, RunFacts, RunRecord } from '../store/store.ts'
import type { LiveRun } from './live-runs.ts'
import { createRun } from './run.ts'
import { createRunJournal } from './run-journal.ts'
import type { Invoke, InvokeRequest, RuntimeParts } from './runtime.ts'
import { breakerOf } from './steps/attempt.ts'
import { authorise } from './steps/authorise.ts'
import { endOf } from './steps/finish.ts'
import { inputDigest, parseCall } from './steps/parse.ts'
import { type ResolvedCall, resolveCall } from './steps/resolve.ts'
import { toResult } from './to-result.ts'

export interface Invoker {
  readonly invoke: Invoke
  /** Takes nothing new, ends what runs, and resolves when every end is journaled or `withinMs` have passed. */
  close(withinMs: number): Promise<void>
}

/** Puts the one execution path together: the steps, in the order that architecture.md gives. */
export function createInvoker(parts: RuntimeParts): Invoker {
  const givingUp = new AbortController()
  let closing = false

  async function invoke(request: InvokeRequest): Promise<WorkerResult> {
    const { call, answer } = await accept(parts, request)
    if (closing) throw mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
    await parts.environment.checkDisk()
    const place = parts.admission.enter(call.operation.worker.name, call.envelope.priority)
    let live: LiveRun
    try {
      live = await beginRun(parts, { call, answer, place, givingUp: givingUp.signal })
    } catch (error) {
      place.release()
      throw error
    }
    return answerWithin(parts, live, call, request)
  }

  return {
    async invoke(request) {
      try {
        return await invoke(request)
      } catch (error) {
        parts.metrics.refused(request.operation.split('.')[0] ?? '', toMhvError(error).code)
        throw error
      }
    },
    async close(withinMs) {
      closing = true
      const runs = parts.live.all()
      for (const run of runs) run.abort(mhvError('MHV_RUN_CANCELLED', 'Mahavishnu is stopping'))
      const late = parts.clock.after(withinMs, () =>
        givingUp.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')),
      )
      await Promise.race([
        Promise.all(runs.map((run) => run.done)),
        new Promise((resolve) => givingUp.signal.addEventListener('abort', resolve, { once: true })),
      ])
      late()
      givingUp.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
    },
  }
}

/** Steps 1 to 3: parse, resolve the target, authorise. */
async function accept(
  parts: RuntimeParts,
  request: InvokeRequest,
): Promise<{ call: ResolvedCall; answer: PolicyAnswer }> {
  const call = resolveCall(parts.environment, parseCall(parts.registry, parts.redactor, request))
  const { operation, effect, principal, target } = call
  const question = { principal, worker: operation.worker.name, operation: operation.id, effect, target }
  return { call, answer: await authorise(parts, question) }
}

interface RunToBegin {
  readonly call: ResolvedCall
  readonly answer: PolicyAnswer
  readonly place: AdmissionPlace
  /** Aborted when the process will not try any longer to journal ends. */
  readonly givingUp: AbortSignal
}

/**
 * Steps 4 and 5: journals the run and lets it go. With a slot at once it is written as `running`, otherwise as
 * `pending`. Resolves with the run that answers the call, which is another one where the key was used before.
 */
async function beginRun(parts: RuntimeParts, begin: RunToBegin): Promise<LiveRun> {
  const { call, place, answer } = begin
  const facts = factsOf(parts, call)
  const journal = createRunJournal(parts, facts, claimOf(parts, call, facts))
  journal.note({
    type: 'accepted',
    at: facts.accepted_at,
    data: { principal: facts.principal, surface: facts.surface, rule: answer.rule?.id ?? null },
  })
  if (!place.immediate) journal.note({ type: 'queued', at: facts.accepted_at, data: { position: place.position } })

  const closedDoor = place.immediate ? refusedByBreaker(parts, call) : undefined
  const run = createRun(parts, { ...begin, journal })
  if (call.effect === 'read' && call.envelope.idempotency_key === undefined) {
    run.go(closedDoor, 0)
    return run.live
  }
  if (place.immediate && closedDoor === undefined) journal.note({ type: 'started', at: parts.clock.now(), data: {} })
  const end = closedDoor && endOf(parts, call, { attempts: 0, error: closedDoor }, run.deadline.signal)
  let outcome: CreateOutcome
  try {
    outcome = await journal.open(place.immediate ? 'running' : 'pending', end)
  } catch (error) {
    run.deadline.clear()
    throw error
  }
  if (outcome.kind === 'created' || outcome.kind === 'reopened') {
    run.go(end === undefined ? undefined : closedDoor, outcome.attempts_before)
    return run.live
  }
  run.deadline.clear()
  place.release()
  if (outcome.kind === 'attached') return parts.live.get(outcome.run.run_id) ?? endedRun(outcome.run)
  throw mhvError('MHV_IDEMPOTENCY_MISMATCH', `the key was used by run ${outcome.run.run_id} with another input`, {
    details: { run_id: outcome.run.run_id },
  })
}

function factsOf(parts: RuntimeParts, call: ResolvedCall): RunFacts {
  const { operation, envelope, target } = call
  const accepted_at = parts.clock.now()
  return {
    run_id: newId(parts.clock),
    worker: operation.worker.name,
    operation: operation.id,
    target: target?.name ?? null,
    tier: target?.tier ?? null,
    worker_id: parts.instances.idOf(operation.worker.name),
    principal: call.principal.id,
    surface: call.surface,
    effect: call.effect,
    priority: envelope.priority,
    reason: envelope.reason ?? null,
    input: call.input,
    accepted_at,
    deadline: accepted_at + Math.round(call.timeoutSeconds * 1000),
  }
}

function claimOf(parts: RuntimeParts, call: ResolvedCall, facts: RunFacts) {
  const key = call.envelope.idempotency_key
  if (key === undefined) return undefined
  const expires_at = facts.accepted_at + parts.environment.runs.idempotency_days * 86_400_000
  return { key, digest: inputDigest(call), expires_at }
}

function refusedByBreaker(parts: RuntimeParts, call: ResolvedCall): MhvError | undefined {
  try {
    breakerOf(parts, call)?.check()
    return undefined
  } catch (error) {
    return toMhvError(error)
  }
}

function endedRun(record: RunRecord): LiveRun {
  return {
    run_id: record.run_id,
    done: Promise.resolve(record),
    record: () => record,
    ensureJournaled: async () => undefined,
    abort: () => undefined,
    onProgress: () => () => undefined,
  }
}

/** Waits for the end as long as the call allows; then the handle, which is on disk before it is given out. */
async function answerWithin(
  parts: RuntimeParts,
  live: LiveRun,
  call: ResolvedCall,
  request: InvokeRequest,
): Promise<WorkerResult> {
  const stopListening = request.onProgress ? live.onProgress(request.onProgress) : undefined
  const onAbort = () => live.abort(mhvError('MHV_RUN_CANCELLED', 'the caller cancelled or went away'))
  if (request.signal?.aborted) onAbort()
  request.signal?.addEventListener('abort', onAbort, { once: true })
  const seconds = call.envelope.wait ?? parts.environment.runs.wait_seconds
  const elapsed = Promise.withResolvers<null>()
  const cancelTimer = parts.clock.after(seconds * 1000, () => elapsed.resolve(null))
  try {
    const ended = await Promise.race([live.done, elapsed.promise])
    if (ended === null) await live.ensureJournaled()
    const record = ended ?? live.record()
    if (ended !== null && !isFinal(record.status)) {
      throw mhvError('MHV_JOURNAL_UNAVAILABLE', `run ${record.run_id} has ended, but its end could not be journaled`)
    }
    return toResult(record)
  } finally {
    cancelTimer()
    stopListening?.()
    request.signal?.removeEventListener('abort', onAbort)
  }
}
