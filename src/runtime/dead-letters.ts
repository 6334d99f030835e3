import type { Principal } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { isFinal, type WorkerResult } from '../core/result.ts'
import { quoted } from '../core/suggest.ts'
import { needsAcknowledgement, replayDelayMs, settleReplay } from '../resilience/dead-letters.ts'
import type { DeadLetter, DeadLetterState } from '../store/dead-letter.ts'
import type { RunEnd, RunRecord } from '../store/store.ts'
import type { Invoke, RuntimeParts } from './runtime.ts'

export interface ReplayRequest {
  readonly letter: DeadLetter
  readonly principal: Principal
  /** Somebody has looked, and says that doing it (again) is right. */
  readonly acknowledge_unknown: boolean
  readonly reason?: string | undefined
  /** Longest wait for the end of the run, in seconds. */
  readonly wait: number
  readonly signal?: AbortSignal
}

export interface Replay {
  /** As it is now: settled, or still `replaying` where its run outlasted the wait. */
  readonly letter: DeadLetter
  readonly run: WorkerResult
}

/** Replays dead letters: each replay is claimed before its run begins, and settled after it has ended. */
export interface DeadLetters {
  /**
   * Replays once. Throws MHV_DLQ_STATE, MHV_DLQ_ACKNOWLEDGE, and what the one path refuses a call with; then nothing was
   * done and the letter is what it was.
   */
  replay(request: ReplayRequest): Promise<Replay>
  /** Replays what is due by itself, as those who asked for the runs; at most so many run at once. */
  replayDue(): Promise<void>
  /** Settles the claims that no run of this process belongs to: after a crash, by what their runs tell. */
  settleLeft(): Promise<void>
  /** Replays that have not been settled. */
  underWay(): number
  /** Fulfilled when the replays whose runs have ended are settled. */
  settled(withinMs: number): Promise<void>
}

/** States from which somebody may have a letter replayed. */
export const REPLAYABLE: readonly DeadLetterState[] = ['open', 'archived', 'poison']

/** Automatic replays that run at once. */
const MAX_AT_ONCE = 4
/** Longest timeout that a call may have, in seconds. */
const MAX_TIMEOUT_SECONDS = 86_400

/** A claimed letter: what it was before, and what it is now. */
interface Claim {
  readonly before: DeadLetter
  readonly letter: DeadLetter
  /** Id of the run that the claim has named. */
  readonly run_id: string
}

export function createDeadLetters(parts: RuntimeParts, invoke: Invoke): DeadLetters {
  const { store, clock, log } = parts
  /** Letters whose replay is in the hands of this process. */
  const mine = new Map<string, Promise<unknown>>()

  async function claim(letter: DeadLetter, from: readonly DeadLetterState[]): Promise<Claim> {
    const run_id = newId(clock)
    const replays = letter.replays + 1
    const claimed = await store.changeDeadLetter({
      id: letter.id,
      from,
      to: 'replaying',
      at: clock.now(),
      expect_replays: letter.replays,
      replays,
      next_at: null,
      last_run_id: run_id,
    })
    if (claimed === null) throw wrongState((await store.getDeadLetter(letter.id)) ?? letter)
    return { before: letter, letter: claimed, run_id }
  }

  /** There is no run of the claim, so nothing was done and nothing counts. */
  function giveBack({ before, letter }: Claim, next_at: number | null): Promise<DeadLetter | null> {
    return store.changeDeadLetter({
      id: letter.id,
      from: ['replaying'],
      to: before.state === 'replaying' ? 'open' : before.state,
      at: clock.now(),
      expect_replays: letter.replays,
      replays: letter.replays - 1,
      next_at,
      last_run_id: before.last_run_id,
    })
  }

  async function replay(request: ReplayRequest, from = REPLAYABLE): Promise<Replay> {
    const { letter } = request
    const failed = await refuseUnlessReplayable(parts, request, from)
    if (mine.has(letter.id)) throw wrongState({ ...letter, state: 'replaying' })
    // From here on nobody else takes it for left behind.
    const held = Promise.withResolvers<void>()
    mine.set(letter.id, held.promise)
    try {
      const claimed = await claim(letter, from)
      await stillReplayable(claimed, request)
      const run = await begin(claimed, request, failed)
      return { letter: await follow(claimed, run.status, run.run_id), run }
    } finally {
      if (mine.get(letter.id) === held.promise) mine.delete(letter.id)
      held.resolve()
    }
  }

  /** Since the look at it the run may have been called again under its key; from the claim on that only attaches. */
  async function stillReplayable(claimed: Claim, request: ReplayRequest): Promise<void> {
    try {
      const letter = { ...claimed.letter, last_run_id: claimed.before.last_run_id }
      await refuseUnlessReplayable(parts, { ...request, letter }, ['replaying'])
    } catch (error) {
      await giveBack(claimed, null)
      throw error
    }
  }

  async function begin(claimed: Claim, request: ReplayRequest, failed: RunRecord): Promise<WorkerResult> {
    try {
      return await invoke({
        operation: failed.operation,
        input: failed.input,
        envelope: {
          ...(failed.target === null ? {} : { target: failed.target }),
          timeout: timeoutOf(failed),
          priority: failed.priority,
          idempotency_key: `dlq:${claimed.letter.id}:${claimed.letter.replays}`,
          wait: request.wait,
          reason:
            request.reason ??
            `replay ${claimed.letter.replays} of ${failed.run_id}, which ${failed.principal} asked for`,
        },
        principal: request.principal,
        surface: 'dlq',
        replay: { of: failed.run_id, run_id: claimed.run_id },
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      })
    } catch (error) {
      await afterRefusal(claimed, toMhvError(error))
      throw error
    }
  }

  /** The call was refused, or its run is there and could not be waited for. */
  async function afterRefusal(claimed: Claim, error: MhvError): Promise<void> {
    const live = parts.live.get(claimed.run_id)
    const run = live === undefined ? await store.getRun(claimed.run_id) : live.record()
    if (run !== null) return void (await follow(claimed, run.status, run.run_id))
    await giveBack(claimed, nextTry(claimed.before, error))
  }

  /** For letters that are replayed by themselves: what passes is tried later, anything else waits for somebody. */
  function nextTry(before: DeadLetter, error: MhvError): number | null {
    if (before.next_at === null || !error.spec.retryable) return null
    const { worker, policy, replays } = before
    const delay = replayDelayMs(policy, replays, parts.environment.deadLetters(worker)) ?? 0
    return clock.now() + Math.max(delay, (error.retryAfter ?? 1) * 1000)
  }

  /** Settles the letter now, where its run has ended, else when it has. */
  async function follow({ letter }: Claim, status: string, run_id: string): Promise<DeadLetter> {
    const live = parts.live.get(run_id)
    if (live === undefined || isFinal(status as RunRecord['status'])) {
      return (await settleByJournal(letter, run_id)) ?? letter
    }
    const settled = live.done
      .then(() => settleByJournal(letter, run_id))
      .catch((error: unknown) => log.error('a replay could not be settled', { letter: letter.id, run_id, error }))
      .finally(() => {
        if (mine.get(letter.id) === settled) mine.delete(letter.id)
      })
    mine.set(letter.id, settled)
    return letter
  }

  async function settleByJournal(letter: DeadLetter, run_id: string): Promise<DeadLetter | null> {
    const run = await store.getRun(run_id)
    return run === null || run.end === null ? null : settle(letter, run, run.end)
  }

  async function settle(letter: DeadLetter, run: RunRecord, end: RunEnd): Promise<DeadLetter | null> {
    const { idempotent, delays } = rulesOf(parts, letter)
    const { to, effect_certainty, next_in_ms } = settleReplay(letter, end, { idempotent, delays })
    const changed = await store.changeDeadLetter({
      id: letter.id,
      from: ['replaying'],
      to,
      at: clock.now(),
      expect_replays: letter.replays,
      effect_certainty,
      next_at: next_in_ms === null ? null : clock.now() + next_in_ms,
      ...(to === 'replayed' ? {} : { error_code: end.error_code, error: end.error }),
    })
    if (changed === null) return store.getDeadLetter(letter.id)
    parts.metrics.replayed(letter.worker, to)
    if (to === 'poison') tellPoison(parts, changed, run)
    return changed
  }

  async function replayDue(): Promise<void> {
    const room = MAX_AT_ONCE - mine.size
    if (room <= 0) return
    for (const letter of await store.dueDeadLetters(clock.now(), room)) {
      if (mine.has(letter.id)) continue
      const principal = principalOf(letter.principal)
      await replay({ letter, principal, acknowledge_unknown: false, wait: 0 }, ['open']).catch((error: unknown) =>
        refusedByItself(letter, toMhvError(error)),
      )
    }
  }

  async function refusedByItself(letter: DeadLetter, error: MhvError): Promise<void> {
    log.warn('a dead letter could not be replayed', { letter: letter.id, error_code: error.code, error: error.message })
    const now = await store.getDeadLetter(letter.id)
    // Refused before it was claimed: it would be due again at once, and again.
    if (now?.state !== 'open' || now.next_at === null || now.next_at > clock.now()) return
    const next_at = nextTry(now, error)
    await store.changeDeadLetter({ id: now.id, from: ['open'], to: 'open', at: clock.now(), next_at })
  }

  async function settleLeft(): Promise<void> {
    for (const letter of await store.listDeadLetters({ state: ['replaying'], limit: 1_000 })) {
      if (mine.has(letter.id) || letter.last_run_id === null) continue
      const run_id = letter.last_run_id
      const run = await store.getRun(run_id)
      if (mine.has(letter.id)) continue
      // `before` is not known any longer: whoever replays an archived one has taken it back.
      const claimed: Claim = { before: { ...letter, last_run_id: null }, letter, run_id }
      if (run !== null) await follow(claimed, run.status, run_id)
      else await giveBack(claimed, nextAfterCrash(parts, letter))
    }
  }

  return {
    replay: (request) => replay(request),
    replayDue,
    settleLeft,
    underWay: () => mine.size,
    async settled(withinMs) {
      const timer = new AbortController()
      const late = clock.sleep(withinMs, timer.signal).catch(() => undefined)
      await Promise.race([Promise.allSettled(mine.values()), late])
      timer.abort()
    },
  }
}

/** The run to do again. Throws where the letter may not be replayed now, or not without an acknowledgement. */
async function refuseUnlessReplayable(
  parts: RuntimeParts,
  { letter, acknowledge_unknown }: ReplayRequest,
  from: readonly DeadLetterState[],
): Promise<RunRecord> {
  if (!from.includes(letter.state)) throw wrongState(letter)
  const run = await parts.store.getRun(letter.run_id)
  if (run === null)
    throw mhvError('MHV_DLQ_STATE', `run ${letter.run_id} of the letter is not in the journal any longer`)
  if (run.status !== 'failed' && run.status !== 'timeout') {
    throw mhvError(
      'MHV_DLQ_STATE',
      `run ${run.run_id} of the letter is ${run.status}: it was called again under its key`,
    )
  }
  const { idempotent } = parts.registry.operation(letter.operation).spec
  const { effect_certainty } = letter
  if (!acknowledge_unknown && needsAcknowledgement({ idempotent, effect_certainty })) {
    const what = effect_certainty === 'applied' ? 'was applied' : 'may have been applied'
    throw mhvError(
      'MHV_DLQ_ACKNOWLEDGE',
      `the effect of run ${letter.last_run_id ?? letter.run_id} ${what}, and ${letter.operation} is not idempotent`,
      {
        details: { letter_id: letter.id, run_id: letter.run_id, effect_certainty },
      },
    )
  }
  return run
}

function wrongState({ id, state }: Pick<DeadLetter, 'id' | 'state'>): MhvError {
  return mhvError('MHV_DLQ_STATE', `dead letter ${id} is ${state}`, { details: { letter_id: id, state } })
}

/** The letter of an id. Throws MHV_DLQ_UNKNOWN. */
export async function findDeadLetter({ store }: Pick<RuntimeParts, 'store'>, id: string): Promise<DeadLetter> {
  const letter = await store.getDeadLetter(id)
  if (letter === null) throw mhvError('MHV_DLQ_UNKNOWN', `there is no dead letter ${quoted(id)}`)
  return letter
}

/** An operation that is gone counts as one that must not be done twice. */
function rulesOf({ registry, environment }: RuntimeParts, { operation, worker }: DeadLetter) {
  const known = registry.operations.find(({ id }) => id === operation)
  return { idempotent: known?.spec.idempotent === true, delays: environment.deadLetters(worker) }
}

function nextAfterCrash(parts: RuntimeParts, letter: DeadLetter): number | null {
  const { idempotent, delays } = rulesOf(parts, letter)
  const { effect_certainty, replays, max_replays } = letter
  // More replays than may be were somebody's wish, and so is the next.
  if (replays > max_replays || needsAcknowledgement({ idempotent, effect_certainty })) return null
  const delay = replayDelayMs(letter.policy, letter.replays - 1, delays)
  return delay === null ? null : parts.clock.now() + delay
}

/** That of the run; of one that was opened again, longer than what was asked for, and never longer than may be. */
function timeoutOf({ accepted_at, deadline }: RunRecord): number {
  return Math.min(MAX_TIMEOUT_SECONDS, Math.max(1, deadline - accepted_at) / 1000)
}

/** As whom a letter is replayed by itself: whoever asked for the run. The policy of now is asked again. */
function principalOf(id: string): Principal {
  const kinds: Readonly<Record<string, Principal['kind']>> = { user: 'user', agent: 'agent', schedule: 'schedule' }
  return { id, kind: kinds[id.split(':')[0] ?? ''] ?? 'service' }
}

function tellPoison({ notifier, log, redactor }: RuntimeParts, letter: DeadLetter, run: RunRecord): void {
  const { id, operation, target, replays, error_code } = letter
  const where = target === null ? '' : ` on ${target}`
  log.error('a dead letter is poison', { letter: id, run_id: run.run_id, replays, error_code })
  notifier.notify({
    kind: 'dead_letter_poison',
    severity: 'critical',
    title: `${operation}${where} is poison after ${replays} replays: ${error_code}`,
    body: `${redactor.text(letter.error ?? '')}\nLook at it with \`mahavishnu dlq show ${id}\`, then replay or archive it.`,
    facts: { letter_id: id, run_id: letter.run_id, last_run_id: run.run_id, operation, target, error_code, replays },
    dedupe_key: `dead_letter_poison:${id}`,
  })
}
