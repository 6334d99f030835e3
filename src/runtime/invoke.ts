import { mhvError, toMhvError } from '../core/errors.ts'
import { isFinal, type WorkerResult } from '../core/result.ts'
import type { PolicyAnswer } from '../governance/policy.ts'
import { redactError } from '../governance/redaction.ts'
import { beginRun } from './begin-run.ts'
import type { LiveRun } from './live-runs.ts'
import type { Invoke, InvokeRequest, RuntimeParts } from './runtime.ts'
import { authorise } from './steps/authorise.ts'
import { parseCall } from './steps/parse.ts'
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
    await parts.environment.checkDisk()
    // From here until the run is among the live ones nothing is waited for: whoever closes finds it, or it never begins.
    if (closing) throw mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
    if (request.signal?.aborted) throw mhvError('MHV_RUN_CANCELLED_QUEUED', 'the caller went away before the run began')
    const place = parts.admission.enter(call.operation.worker.name, call.envelope.priority)
    const { live, leave } = await beginRun(parts, { call, answer, place, request, givingUp: givingUp.signal })
    try {
      return await answerWithin(parts, live, call)
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
    async close(withinMs) {
      closing = true
      await endAll(parts, withinMs)
      // Ends that could not be journaled by now are found at the next start.
      givingUp.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
      for (const run of parts.live.all()) parts.live.remove(run.run_id, run)
    },
  }
}

async function endAll(parts: RuntimeParts, withinMs: number): Promise<void> {
  const runs = parts.live.all()
  for (const run of runs) run.abort(mhvError('MHV_RUN_CANCELLED', 'Mahavishnu is stopping'))
  const timer = new AbortController()
  const late = parts.clock.sleep(withinMs, timer.signal).catch(() => undefined)
  await Promise.race([Promise.all(runs.map((run) => run.done)), late])
  timer.abort()
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
  const { operation, effect, principal, target } = call
  const question = { principal, worker: operation.worker.name, operation: operation.id, effect, target }
  return { call, answer: await authorise(parts, question) }
}

/** Waits for the end as long as the call allows; then the handle, which is on disk before it is given out. */
async function answerWithin(parts: RuntimeParts, live: LiveRun, call: ResolvedCall): Promise<WorkerResult> {
  const seconds = call.envelope.wait ?? parts.environment.runs.wait_seconds
  const elapsed = Promise.withResolvers<null>()
  const cancelTimer = parts.clock.after(seconds * 1000, () => elapsed.resolve(null))
  const ended = await Promise.race([live.done, elapsed.promise]).finally(cancelTimer)
  if (ended === null) {
    await giveHandle(live)
    return toResult(live.record())
  }
  if (isFinal(ended.status)) return toResult(ended)
  throw mhvError('MHV_RUN_INTERRUPTED', `run ${ended.run_id} is over, but its end could not be journaled`, {
    details: { run_id: ended.run_id },
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
