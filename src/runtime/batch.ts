import { createHash } from 'node:crypto'
import type { Principal } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { quoted } from '../core/suggest.ts'
import { BATCH_STATES, type BatchRecord, OPEN_BATCHES } from '../store/batch.ts'
import type { Store } from '../store/store.ts'
import { type KnownTargets, knownTargets, NOTHING_KNOWN } from './batch-outcomes.ts'
import { authorisePlan, type BatchPlan, planBatch, type StartRequest } from './batch-plan.ts'
import { archiveLetters, rerunRequest, targetsToRerun } from './batch-rerun.ts'
import { type BatchObserver, BatchRun, isOpen } from './batch-run.ts'
import { principalOf } from './dead-letters.ts'
import type { Invoke, RuntimeParts } from './runtime.ts'
import { canonicalJson } from './steps/parse.ts'

/** One operation over many targets: started, stopped, taken up again and done again where it failed. */
export interface Batches {
  /**
   * Plans, authorises every target, journals the batch and lets it go. Throws what planBatch throws, MHV_POLICY_DENIED,
   * MHV_APPROVAL_REQUIRED, MHV_PLAN_CHANGED, MHV_IDEMPOTENCY_MISMATCH, MHV_SHUTTING_DOWN; then nothing was begun.
   */
  start(request: StartRequest, principal: Principal): Promise<BatchRecord>
  /**
   * A new batch over the targets that failed, and with `rest` also over those that were left alone; not over those that
   * have gone well since. The dead letters of those runs are archived. Throws MHV_BATCH_STATE, also while another rerun of
   * it goes on.
   */
  rerun(
    id: string,
    options: { readonly rest: boolean; readonly reason?: string | undefined },
    principal: Principal,
  ): Promise<BatchRecord>
  /** Makes no new runs from now on. Throws MHV_BATCH_UNKNOWN; what has ended stays as it is. */
  stop(id: string, principal: Principal, cancel: boolean): Promise<BatchRecord>
  /** Takes up a batch that the end of its process has cut off; any other stays as it is. Throws MHV_BATCH_UNKNOWN. */
  resume(id: string): Promise<BatchRecord>
  /** The same for all there are. */
  resumeLeft(): Promise<void>
  /** The batch as it stands. Throws MHV_BATCH_UNKNOWN. */
  get(id: string): Promise<BatchRecord>
  /** Waits for its end, at most so many seconds. */
  wait(id: string, seconds: number, signal?: AbortSignal): Promise<BatchRecord>
  /** What this process is at, for metrics. */
  numbers(): BatchNumbers
  /** No new runs of any batch; they go on at the next start. */
  pause(): void
  /** Fulfilled when no batch is at work, or `withinMs` later. */
  settled(withinMs: number): Promise<void>
}

export interface BatchNumbers {
  /** Batches that make runs, and those that make none any longer. */
  readonly running: number
  readonly stopping: number
  /** Targets of all of them that have a run, and that wait for their turn. */
  readonly acting: number
  readonly waiting: number
}

/** Batches of a page, where those are looked for that a process has left. */
const LEFT_PAGE = 100
const ENDED_BATCHES = BATCH_STATES.filter((state) => !isOpen(state))

export function createBatches(parts: RuntimeParts, invoke: Invoke, observer?: BatchObserver): Batches {
  const { store, clock, log } = parts
  const active = new Map<string, BatchRun>()
  /** Batches of which a rerun is about to begin. */
  const rerunning = new Set<string>()
  let paused = false

  function launch(record: BatchRecord, known: KnownTargets): BatchRun {
    const running = active.get(record.id)
    if (running !== undefined) return running
    const run = new BatchRun(parts, { record, principal: principalOf(record.principal), known }, invoke, observer)
    active.set(record.id, run)
    if (paused) run.pause()
    run.ended
      .catch((error: unknown) => log.error('a batch ended without its end in the journal', { batch: record.id, error }))
      .finally(() => active.delete(record.id))
    return run
  }

  async function start(request: StartRequest, principal: Principal): Promise<BatchRecord> {
    if (paused) throw mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
    const request_digest = digestOf(request)
    const held = await heldBy(request.idempotency_key, request_digest, principal)
    if (held !== null) return held
    const plan = planBatch(parts, request, principal)
    refuseDrift(plan, request.plan_digest)
    await authorisePlan(parts, plan, principal)
    const [id, at] = [newId(clock), clock.now()]
    await announceRerun(store, { of: request.rerun_of, id, at })
    const record = await store.createBatch(
      {
        id,
        operation: plan.operation,
        principal: principal.id,
        key: request.idempotency_key ?? null,
        facts: factsOf(parts, plan, request, request_digest),
        progress: { done: 0, failed: 0, refused: 0, total: plan.targets.length, error_code: null },
        created_at: at,
      },
      [{ type: 'started', at, data: { targets: plan.targets.length, batches: plan.batches.length } }],
    )
    if (record.id !== id) return sameRequest(record, request_digest)
    return launch(record, NOTHING_KNOWN).record()
  }

  /** The batch that was begun under this key; one that its process has left is taken up again. */
  async function heldBy(key: string | undefined, digest: string, { id }: Principal): Promise<BatchRecord | null> {
    const held = key === undefined ? null : await store.getKeyedBatch(id, key)
    return held === null ? null : resume(sameRequest(held, digest).id)
  }

  async function get(id: string): Promise<BatchRecord> {
    return active.get(id)?.record() ?? findBatch(store, id)
  }

  async function resume(id: string): Promise<BatchRecord> {
    const record = await get(id)
    if (active.has(id)) return record
    if (!isOpen(record.state)) return record
    const known = await knownTargets(parts, id)
    if (active.has(id) || paused) return get(id)
    const at = clock.now()
    const events = [{ type: 'resumed', at, data: { known: known.outcomes.size } }] as const
    const resumed = await store.changeBatch({ id, from: [record.state], to: record.state, at, events })
    if (resumed === null || active.has(id)) return get(id)
    return launch(resumed, known).record()
  }

  /** One that its process has left must not make a run before it is stopped. */
  async function stop(id: string, principal: Principal, cancel: boolean): Promise<BatchRecord> {
    const record = await get(id)
    if (!isOpen(record.state)) return record
    if (!active.has(id)) {
      const at = clock.now()
      const events = [{ type: 'stop_requested', at, data: { principal: principal.id, cancel } }] as const
      const stopped = await store.changeBatch({ id, from: ['running'], to: 'stopping', at, events })
      await resume(id)
      // What is said here is written already.
      if (stopped !== null && !cancel) return get(id)
    }
    await active.get(id)?.stop(principal.id, cancel)
    return get(id)
  }

  function notResumed(batch: string, error: unknown): void {
    log.error('a batch could not be resumed', { batch, error })
  }

  return {
    start,
    get,
    resume,
    async rerun(id, { rest, reason }, principal) {
      const record = await get(id)
      if (rerunning.has(id)) throw mhvError('MHV_BATCH_STATE', `a rerun of batch ${id} is about to begin`)
      rerunning.add(id)
      try {
        const targets = await targetsToRerun(parts, record, rest)
        const again = await start(rerunRequest(record, targets, reason), principal)
        await archiveLetters(parts, id, targets)
        return again
      } finally {
        rerunning.delete(id)
      }
    },
    stop,
    async resumeLeft() {
      let before: string | undefined
      for (;;) {
        const query = { state: OPEN_BATCHES, limit: LEFT_PAGE, ...(before === undefined ? {} : { before }) }
        const left = await store.listBatches(query)
        for (const { id } of left) await resume(id).catch((error: unknown) => notResumed(id, error))
        if (left.length < LEFT_PAGE) return
        before = left.at(-1)?.id
      }
    },
    numbers() {
      const sums = { running: 0, stopping: 0, acting: 0, waiting: 0 }
      for (const run of active.values()) {
        const { state, acting, waiting } = run.numbers()
        sums[state === 'stopping' ? 'stopping' : 'running'] += 1
        sums.acting += acting
        sums.waiting += waiting
      }
      return sums
    },
    async wait(id, seconds, signal) {
      const run = active.get(id)
      if (run === undefined || seconds <= 0) return get(id)
      const timer = new AbortController()
      const signals = signal === undefined ? timer.signal : AbortSignal.any([signal, timer.signal])
      const late = clock.sleep(seconds * 1000, signals).then(() => null)
      try {
        return (await Promise.race([run.ended, late])) ?? run.record()
      } finally {
        timer.abort()
        late.catch(() => undefined)
      }
    },
    pause() {
      paused = true
      for (const run of active.values()) run.pause()
    },
    async settled(withinMs) {
      const timer = new AbortController()
      const late = clock.sleep(withinMs, timer.signal).catch(() => undefined)
      await Promise.race([Promise.allSettled([...active.values()].map(({ ended }) => ended)), late])
      timer.abort()
    },
  }
}

/** The batch of an id, as the journal has it. Throws MHV_BATCH_UNKNOWN. */
export async function findBatch(store: Pick<Store, 'getBatch'>, id: string): Promise<BatchRecord> {
  const record = await store.getBatch(id)
  if (record === null) throw mhvError('MHV_BATCH_UNKNOWN', `there is no batch ${quoted(id)}`)
  return record
}

/** Before it begins, so that no other rerun can miss it. */
async function announceRerun(
  store: Pick<Store, 'changeBatch'>,
  { of, id, at }: { readonly of: string | undefined; readonly id: string; readonly at: number },
): Promise<void> {
  if (of === undefined) return
  const events = [{ type: 'rerun_started', at, data: { batch_id: id } }] as const
  for (const state of ENDED_BATCHES) {
    if ((await store.changeBatch({ id: of, from: [state], to: state, at, events })) !== null) return
  }
}

function refuseDrift({ digest }: BatchPlan, expected: string | undefined): void {
  if (expected === undefined || expected === digest) return
  throw mhvError(
    'MHV_PLAN_CHANGED',
    'the inventory, the policy or the call is not what it was when the plan was made',
    {
      details: { plan_digest: expected, now: digest },
    },
  )
}

function sameRequest(record: BatchRecord, digest: string): BatchRecord {
  if (record.facts.request_digest === digest) return record
  throw mhvError('MHV_IDEMPOTENCY_MISMATCH', `the key was used by batch ${record.id} with another request`, {
    details: { batch_id: record.id },
  })
}

/** SHA-256 of what is asked for, hex; the plan that follows from it may be another one tomorrow. */
function digestOf({ idempotency_key: _key, plan_digest: _plan, reason: _reason, ...request }: StartRequest): string {
  return createHash('sha256').update(canonicalJson(request)).digest('hex')
}

function factsOf({ redactor }: RuntimeParts, plan: BatchPlan, request: StartRequest, request_digest: string) {
  const { effect, input, batches, parallel, failure_limit, digest } = plan
  return redactor.deep({
    select: request.select,
    effect,
    input,
    batches,
    parallel,
    failure_limit,
    timeout: request.timeout ?? null,
    priority: request.priority,
    reason: request.reason ?? null,
    plan_digest: digest,
    request_digest,
    rerun_of: request.rerun_of ?? null,
  })
}
