import type { Principal } from '../core/context.ts'
import { toMhvError } from '../core/errors.ts'
import { canResume } from '../core/operation.ts'
import type { RegisteredOperation } from '../core/registry.ts'
import type { AdmissionPlace } from '../resilience/admission.ts'
import { RunDeadline } from '../resilience/deadline.ts'
import type { RunEnd, RunFacts, RunRecord } from '../store/store.ts'
import { deadLetterOf } from './dead-letter-of.ts'
import { createRun } from './run.ts'
import { adoptedRunJournal } from './run-journal.ts'
import type { KeptOutput, RunOutput } from './run-output.ts'
import type { RuntimeParts } from './runtime.ts'
import { authoriseAll, questionsOf } from './steps/authorise.ts'
import type { ResolvedCall } from './steps/resolve.ts'
import { settleRun } from './steps/settle.ts'

/**
 * Takes up again a run whose process is gone: the same run, its next attempt, which is the operation's `resume` instead
 * of its `run`. It is authorised again and takes a slot like any other.
 *
 * @returns false where that cannot be: the operation declares no `resume`, its deadline has passed, or the target or
 *   the permission are gone; null where there is no room now, another process was faster, or this one is closing
 */
export async function resumeRun(
  parts: RuntimeParts,
  run: RunRecord,
  { givingUp, closing = () => false }: { readonly givingUp: AbortSignal; readonly closing?: () => boolean },
): Promise<boolean | null> {
  const call = await resumableCall(parts, run)
  if (call === null) return false
  const attempts = await attemptsOf(parts, run)
  let place: AdmissionPlace
  try {
    const { worker, target, principal, priority, deadline } = run
    place = parts.admission.enter({ worker, target, principal, priority, deadline })
  } catch (error) {
    parts.log.warn('there is no room yet to take a run up again', { run_id: run.run_id, error: toMhvError(error) })
    return null
  }
  try {
    const { run_id, fence } = run
    const data = { attempt: attempts + 1, was_fence: fence, fence: parts.store.fence }
    const events = [{ type: 'resumed', at: parts.clock.now(), data }] as const
    const adopted = await parts.store.adoptRun({ run_id, from_fence: fence, events })
    // Whoever closes would not find it any more; the next process does.
    if (adopted === null || closing()) {
      place.release()
      return null
    }
    const letterOf = (facts: RunFacts, end: RunEnd) => deadLetterOf(parts, facts, end)
    const journal = adoptedRunJournal(parts, adopted, letterOf)
    const keptBefore = await keptOutput(parts, run)
    // The process that is gone may have done anything.
    const created = createRun(parts, { call, place, journal, givingUp, certaintyBefore: 'unknown', keptBefore })
    // Nobody waits for it here: that its callers are gone does not end it.
    created.live.join({ surface: run.surface, principal: call.principal })
    created.go(attempts)
    return true
  } catch (error) {
    place.release()
    throw error
  }
}

/**
 * Tidies up behind a run that was cut off and that nobody takes up: what it had begun so that it could be taken up again
 * may still be under way on the far side. Never rejects; the run has ended, and is what it is.
 */
export async function settleCutOff(parts: RuntimeParts, run: RunRecord): Promise<void> {
  const operation = parts.registry.operations.find(({ id }) => id === run.operation)
  if (operation === undefined || run.status !== 'running') return
  try {
    const { run_id } = run
    const deadline = new RunDeadline(parts.clock, run.deadline)
    const call = callOf(parts, run, operation)
    const attemptsBefore = await attemptsOf(parts, run)
    const silent = { note: nothing, progress: nothing, recovering: nothing, output: NO_OUTPUT }
    await settleRun(parts, { run_id, call, deadline, attemptsBefore, certaintyBefore: 'unknown', ...silent })
  } catch (error) {
    parts.log.warn('nobody can look after what a run that was cut off may have left', {
      run_id: run.run_id,
      error: toMhvError(error),
    })
  }
}

const nothing = () => undefined

/** Of a run whose end is in the journal. */
const NO_OUTPUT: RunOutput = {
  attempt: () => ({
    write: async () => undefined,
    collect: async () => ({ text: '', bytes: 0, dropped_bytes: 0, utf8: true }),
  }),
  flush: async () => undefined,
}

/** The call of a run, as it would be made now; null where it cannot be. */
async function resumableCall(parts: RuntimeParts, run: RunRecord): Promise<ResolvedCall | null> {
  const operation = parts.registry.operations.find(({ id }) => id === run.operation)
  const resume = operation?.spec.resume
  if (operation === undefined || resume === undefined || run.status !== 'running') return null
  if (!canResume(operation.spec, run.input)) return null
  if (run.deadline <= parts.clock.now()) return null
  try {
    const call = callOf(parts, run, operation)
    await authoriseAll(parts, questionsOf(operation, call.input, call))
    const spec = { ...operation.spec, run: resume.bind(operation.spec) }
    return { ...call, operation: { ...operation, spec } }
  } catch (error) {
    parts.log.warn('a run cannot be taken up again', { run_id: run.run_id, error: toMhvError(error) })
    return null
  }
}

/** Throws where its target is not in the inventory any longer. */
function callOf(parts: RuntimeParts, run: RunRecord, operation: RegisteredOperation): ResolvedCall {
  const { effect, surface, priority, reason } = run
  const worker = operation.worker.name
  const { target, settings } =
    run.target === null
      ? { target: null, settings: parts.environment.workerSettings(worker) }
      : parts.environment.resolveTarget(run.target, worker)
  return {
    operation,
    input: run.input as Record<string, unknown>,
    envelope: {
      priority,
      ...(run.target === null ? {} : { target: run.target }),
      ...(reason === null ? {} : { reason }),
    },
    effect,
    principal: principalOf(run.principal),
    surface,
    target,
    settings,
    timeoutSeconds: (run.deadline - parts.clock.now()) / 1000,
  }
}

const KINDS: readonly Principal['kind'][] = ['user', 'agent', 'schedule', 'service']

/** The journal has a principal's id, which begins with its kind. */
function principalOf(id: string): Principal {
  return { id, kind: KINDS.find((kind) => id.startsWith(`${kind}:`)) ?? 'service' }
}

/** Bytes of output that are read of the journal at once. */
const OUTPUT_PAGE_BYTES = 4 * 1024 * 1024

/** Bytes of each stream that the journal has of the attempts before. */
async function keptOutput({ store }: RuntimeParts, { run_id }: RunRecord): Promise<KeptOutput> {
  const kept = { stdout: 0, stderr: 0 }
  let after = 0
  for (;;) {
    const chunks = await store.getOutput(run_id, after, OUTPUT_PAGE_BYTES)
    for (const { stream, bytes } of chunks) kept[stream] += bytes.length
    const last = chunks.at(-1)
    if (last === undefined) return kept
    after = last.seq
  }
}

/** Most events of a run that are looked at for its attempts. */
const MAX_EVENTS = 10_000

/** Attempts that it has had: the first, those that failed, and those that took it up again. */
async function attemptsOf({ store }: RuntimeParts, { run_id }: RunRecord): Promise<number> {
  const events = await store.getEvents(run_id, 0, MAX_EVENTS)
  return 1 + events.filter(({ type }) => type === 'attempt_failed' || type === 'resumed').length
}
