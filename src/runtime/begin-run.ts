import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { isFinal } from '../core/result.ts'
import type { PolicyAnswer } from '../governance/policy.ts'
import type { AdmissionPlace } from '../resilience/admission.ts'
import { mayReopen } from '../store/rules.ts'
import type { CreateOutcome, RunEnd, RunFacts, RunRecord } from '../store/store.ts'
import { deadLetterOf } from './dead-letter-of.ts'
import type { LateWrites } from './late-writes.ts'
import type { LiveRun } from './live-runs.ts'
import { type CreatedRun, createRun } from './run.ts'
import { createRunJournal, type RunJournal } from './run-journal.ts'
import type { InvokeRequest, RuntimeParts } from './runtime.ts'
import { breakerOf, heldBackEvent } from './steps/attempt.ts'
import { inputDigest } from './steps/parse.ts'
import type { ResolvedCall } from './steps/resolve.ts'

export interface RunToBegin {
  readonly call: ResolvedCall
  readonly answer: PolicyAnswer
  readonly place: AdmissionPlace
  readonly request: Pick<
    InvokeRequest,
    'principal' | 'surface' | 'signal' | 'left' | 'onProgress' | 'replay' | 'parent'
  >
  /** Milliseconds since the epoch: from the call on, whatever it waited for. */
  readonly deadline: number
  /** Aborted when the process will not try any longer to journal ends. */
  readonly givingUp: AbortSignal
  readonly late: LateWrites
}

/** The run that answers a call, and the end of the caller's attention. */
export interface BegunRun {
  readonly live: LiveRun
  leave(): void
}

/**
 * Steps 4 and 5: journals the run and lets it go. With a slot at once it is written as `running`. One that waits is
 * written as `pending`: at once when it has a key, else when its handle is given out or it has waited for a while; if
 * its slot comes before that, as `running`, which is on disk before it acts in any case. Resolves with the run that answers the call, which is another one where the key was used before. When it
 * rejects, there is no run and the place is free again.
 */
export async function beginRun(parts: RuntimeParts, begin: RunToBegin): Promise<BegunRun> {
  const { call, request } = begin
  const { run, journal } = prepare(parts, begin)
  // Before anything is waited for: a caller who goes away while the run is journaled cancels it before it acts.
  const leave = attend(run.live, request)
  const refused = begin.place.immediate ? refusedByBreaker(parts, call) : undefined
  if (refused !== undefined) journal.note(heldBackEvent(parts.clock.now(), refused))
  if (call.envelope.idempotency_key === undefined && mayWriteLater(begin, refused)) {
    if (call.effect !== 'read' && refused === undefined) begin.late.add(journal)
    if (refused === undefined) run.go(0)
    else run.refuse(refused, 0)
    return { live: run.live, leave }
  }
  let outcome: CreateOutcome
  try {
    outcome = await openJournal(parts, journal, begin.place.immediate && refused === undefined)
  } catch (error) {
    leave()
    run.drop()
    throw error
  }
  if (outcome.kind === 'created' || outcome.kind === 'reopened') {
    const { attempts_before } = outcome
    if (outcome.kind === 'reopened')
      journal.note({ type: 'reopened', at: parts.clock.now(), data: { attempts_before } })
    if (refused === undefined) run.go(attempts_before)
    else run.refuse(refused, attempts_before)
    return { live: run.live, leave }
  }
  leave()
  run.drop()
  if (outcome.kind === 'mismatch') throw mismatch(outcome.run)
  const live = await attachTo(parts, outcome.run)
  return { live, leave: attend(live, request) }
}

/** It acts on nothing, so it is written once, with its end; or nobody has its handle yet, and it does not act yet. */
function mayWriteLater({ call, place }: RunToBegin, refused: MhvError | undefined): boolean {
  return call.effect === 'read' || refused !== undefined || !place.immediate
}

function prepare(parts: RuntimeParts, begin: RunToBegin): PreparedRun {
  const { call, place, answer, givingUp } = begin
  try {
    const facts = factsOf(parts, begin)
    const letterOf = (run: RunFacts, end: RunEnd) => deadLetterOf(parts, run, end)
    const journal = createRunJournal(parts, facts, claimOf(parts, call, facts), letterOf)
    const { principal, surface, accepted_at: at } = facts
    journal.note({ type: 'accepted', at, data: { principal, surface, rule: answer.rule?.id ?? null } })
    if (!place.immediate) journal.note({ type: 'queued', at, data: { position: place.position, limit: place.limit } })
    return { journal, run: createRun(parts, { call, place, journal, givingUp }) }
  } catch (error) {
    place.release()
    throw error
  }
}

interface PreparedRun {
  readonly journal: RunJournal
  readonly run: CreatedRun
}

function openJournal(parts: RuntimeParts, journal: RunJournal, starts: boolean): Promise<CreateOutcome> {
  if (starts) journal.note({ type: 'started', at: parts.clock.now(), data: {} })
  return journal.open(starts ? 'running' : 'pending')
}

function factsOf(parts: RuntimeParts, { call, deadline, request: { replay, parent } }: RunToBegin): RunFacts {
  const { operation, envelope, target } = call
  const accepted_at = parts.clock.now()
  return {
    run_id: replay?.run_id ?? newId(parts.clock),
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
    deadline,
    replay_of: replay?.of ?? null,
    parent: parent ?? null,
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

function mismatch({ run_id }: RunRecord): MhvError {
  return mhvError('MHV_IDEMPOTENCY_MISMATCH', `the key was used by run ${run_id} with another input`, {
    details: { run_id },
  })
}

function attend(live: LiveRun, { onProgress, ...caller }: RunToBegin['request']): () => void {
  const leave = live.join(caller)
  const stop = onProgress === undefined ? undefined : live.onProgress(onProgress)
  return () => {
    leave()
    stop?.()
  }
}

/**
 * The run that a call's key leads to, for a call that there is no room for: attaching takes none. Null where the call has
 * no key, the key is new, or its run would have to act again.
 */
export async function attachByKey(
  parts: RuntimeParts,
  call: ResolvedCall,
  request: RunToBegin['request'],
): Promise<BegunRun | null> {
  const { operation, target, principal, envelope } = call
  const key = envelope.idempotency_key
  if (key === undefined) return null
  const scope = { principal: principal.id, operation: operation.id, target: target?.name ?? null, key }
  const known = await parts.store.getKeyedRun(scope, parts.clock.now())
  if (known === null) return null
  if (known.digest !== inputDigest(call)) throw mismatch(known.run)
  if (mayReopen({ status: known.run.status, effect_certainty: known.run.end?.effect_certainty ?? null })) return null
  const live = await attachTo(parts, known.run)
  return { live, leave: attend(live, request) }
}

/** The run of a duplicate: live, or as the journal has it now. It may have ended since the journal told about it. */
async function attachTo(parts: RuntimeParts, told: RunRecord): Promise<LiveRun> {
  const live = parts.live.get(told.run_id)
  if (live !== undefined) return live
  const now = isFinal(told.status) ? told : ((await parts.store.getRun(told.run_id)) ?? told)
  return parts.live.get(told.run_id) ?? endedRun(now)
}

/** A run that is not live. Without an end in the journal it stays as it is until the next start finds it. */
function endedRun(record: RunRecord): LiveRun {
  return {
    run_id: record.run_id,
    done: Promise.resolve(record),
    dueAt: () => Number.POSITIVE_INFINITY,
    record: () => record,
    ensureJournaled: async () => undefined,
    abort: () => undefined,
    giveUp: () => false,
    handOver: () => false,
    handedOver: false,
    join: () => () => undefined,
    onProgress: () => () => undefined,
    onEnd(listener) {
      listener(record)
      return () => undefined
    },
  }
}
