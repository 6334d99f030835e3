import { mhvError, toMhvError } from '../core/errors.ts'
import { isFinal, type WorkerResult } from '../core/result.ts'
import type { PolicyAnswer } from '../governance/policy.ts'
import { redactError } from '../governance/redaction.ts'
import type { AdmissionPlace, AdmissionRequest } from '../resilience/admission.ts'
import type { RunRecord } from '../store/store.ts'
import { attachByKey, type BegunRun, beginRun } from './begin-run.ts'
import type { Resume } from './healing.ts'
import { createLateWrites } from './late-writes.ts'
import type { LiveRun } from './live-runs.ts'
import { resumeRun } from './resume.ts'
import type { Invoke, InvokeRequest, RuntimeParts } from './runtime.ts'
import { authoriseAll, questionsOf } from './steps/authorise.ts'
import { parseCall } from './steps/parse.ts'
import { type ResolvedCall, resolveCall } from './steps/resolve.ts'
import { toResult } from './to-result.ts'

export interface Invoker {
  readonly invoke: Invoke
  /**
   * Takes nothing new. What runs and what waits gets `drainMs` to end by itself; the rest is cancelled. Resolves when
   * every end is journaled, or `withinMs` after the cancelling.
   */
  close(withinMs: number, drainMs?: number): Promise<void>
  /** Takes up again a run of a process that is gone. See resumeRun. */
  readonly resume: Resume
}

/** Puts the one execution path together: the steps, in the order that architecture.md gives. */
export function createInvoker(parts: RuntimeParts): Invoker {
  const givingUp = new AbortController()
  const late = createLateWrites(parts)
  parts.lease.onLost((error) => {
    parts.log.error('another process has taken over this instance folder: nothing is done here any longer', { error })
    // It has ended our runs, or has taken them up: what still acts here must not go on beside that.
    for (const run of parts.live.all()) run.abort(mhvError('MHV_RUN_INTERRUPTED', error.message))
  })
  let closing = false

  async function begin(
    request: InvokeRequest,
    { call, answer }: Awaited<ReturnType<typeof accept>>,
  ): Promise<BegunRun> {
    const entering = admissionRequest(parts, call)
    let place: AdmissionPlace
    try {
      place = parts.admission.enter(entering)
    } catch (refusal) {
      // A duplicate needs no room: it attaches to its run, however full it is.
      const known = await attachByKey(parts, call, request)
      if (known === null) throw refusal
      return known
    }
    if (place.state === 'outside') await untilQueued(place, request.signal, () => closing)
    const { deadline } = entering
    return beginRun(parts, { call, answer, place, request, deadline, givingUp: givingUp.signal, late })
  }

  async function invoke(request: InvokeRequest): Promise<WorkerResult> {
    const accepted = await accept(parts, request)
    await parts.environment.checkDisk()
    // From here until the run is among the live ones nothing is waited for: whoever closes finds it, or it never begins.
    if (closing) throw mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
    const lost = parts.lease.lost()
    if (lost !== null) throw lost
    if (request.signal?.aborted) throw mhvError('MHV_RUN_CANCELLED_QUEUED', 'the caller went away before the run began')
    const { live, leave } = await begin(request, accepted)
    try {
      return await answerWithin(parts, live, accepted.call)
    } finally {
      leave()
    }
  }

  return {
    async invoke(request) {
      try {
        return await invoke(request)
      } catch (thrown) {
        const error = toMhvError(thrown)
        if (error.code === 'MHV_INTERNAL') parts.log.error('a call failed that should not', { error })
        parts.metrics.refused(knownWorker(parts, request), error.code)
        throw redactError(parts.redactor, error)
      }
    },
    resume: async (run) =>
      closing ? null : resumeRun(parts, run, { givingUp: givingUp.signal, closing: () => closing }),
    async close(withinMs, drainMs = 0) {
      closing = true
      // Nobody has to wait for what the next process takes up.
      handOverAll(parts)
      await allEnd(parts, drainMs)
      await endAll(parts, withinMs)
      // Ends that could not be journaled by now are found at the next start.
      givingUp.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
      for (const run of parts.live.all()) parts.live.remove(run.run_id, run)
    },
  }
}

function handOverAll(parts: RuntimeParts): void {
  const stopping = mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping; the run goes on with the next start')
  for (const run of parts.live.all()) run.handOver(stopping)
}

async function endAll(parts: RuntimeParts, withinMs: number): Promise<void> {
  // Those that began to act meanwhile, too.
  handOverAll(parts)
  for (const run of parts.live.all()) run.abort(mhvError('MHV_RUN_CANCELLED', 'Mahavishnu is stopping'))
  await allEnd(parts, withinMs)
}

/** Resolves when no run is left, or after `withinMs`. */
async function allEnd(parts: RuntimeParts, withinMs: number): Promise<void> {
  const runs = parts.live.all()
  if (withinMs <= 0 || runs.length === 0) return
  const timer = new AbortController()
  const late = parts.clock.sleep(withinMs, timer.signal).catch(() => undefined)
  await Promise.race([Promise.all(runs.map((run) => run.done)), late])
  timer.abort()
}

function admissionRequest({ clock }: RuntimeParts, call: ResolvedCall): AdmissionRequest {
  const { operation, target, principal, envelope, timeoutSeconds } = call
  return {
    worker: operation.worker.name,
    target: target?.name ?? null,
    principal: principal.id,
    priority: envelope.priority,
    deadline: clock.now() + Math.round(timeoutSeconds * 1000),
  }
}

/** The queue is full and the call waits for a place in it: it is no run yet, and is gone with its caller. */
async function untilQueued(
  place: AdmissionPlace,
  signal: AbortSignal | undefined,
  closing: () => boolean,
): Promise<void> {
  const gone = () => place.leave(mhvError('MHV_RUN_CANCELLED_QUEUED', 'the caller went away before the run began'))
  signal?.addEventListener('abort', gone, { once: true })
  await place.entered()
  signal?.removeEventListener('abort', gone)
  if (place.state === 'ended') await place.ready()
  if (!closing() && !signal?.aborted) return
  place.release()
  if (closing()) throw mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
  throw mhvError('MHV_RUN_CANCELLED_QUEUED', 'the caller went away before the run began')
}

/** Labels of metrics are bounded, whatever a caller asks for. */
function knownWorker({ registry }: RuntimeParts, { operation }: InvokeRequest): string {
  const name = String(operation).split('.')[0]
  return registry.workers.find((worker) => worker.name === name)?.name ?? 'unknown'
}

/** Steps 1 to 3: parse, resolve the target, authorise. */
async function accept(
  parts: RuntimeParts,
  request: InvokeRequest,
): Promise<{ call: ResolvedCall; answer: PolicyAnswer }> {
  const call = resolveCall(parts.environment, parseCall(parts.registry, parts.redactor, request))
  return { call, answer: await authoriseAll(parts, questionsOf(call.operation, call.input, call)) }
}

/** Waits for the end as long as the call allows; then the handle, which is on disk before it is given out. */
async function answerWithin(parts: RuntimeParts, live: LiveRun, call: ResolvedCall): Promise<WorkerResult> {
  const seconds = call.envelope.wait ?? parts.environment.runs.wait_seconds
  const ended = await endWithin(parts, live, seconds)
  if (ended === null) {
    await giveHandle(live)
    return toResult(live.record())
  }
  if (isFinal(ended.status) || live.handedOver) return toResult(ended)
  throw mhvError('MHV_RUN_INTERRUPTED', `run ${ended.run_id} is over, but its end could not be journaled`, {
    details: { run_id: ended.run_id },
  })
}

/** The end of the run, or null where it does not come in time. What has waited in vain leaves nothing behind. */
function endWithin({ clock }: RuntimeParts, live: LiveRun, seconds: number): Promise<RunRecord | null> {
  return new Promise((resolve) => {
    let leave: () => void = () => undefined
    const cancelTimer = clock.after(seconds * 1000, () => {
      leave()
      resolve(null)
    })
    leave = live.onEnd((record) => {
      cancelTimer()
      resolve(record)
    })
  })
}

async function giveHandle(live: LiveRun): Promise<void> {
  try {
    await live.ensureJournaled()
  } catch (error) {
    // Nobody will ever ask for it: without its handle in the journal the caller gets the error instead.
    live.abort(mhvError('MHV_RUN_CANCELLED', 'its handle could not be journaled'))
    throw error
  }
}
