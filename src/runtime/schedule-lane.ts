import type { Schedule } from '../config/schedules.ts'
import { isoTime } from '../core/clock.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { isFinal } from '../core/result.ts'
import type { OccurrenceOutcome, SchedulerParts } from './schedule.ts'
import { callOf, schedulePrincipal } from './schedule-call.ts'
import { followsCaughtUp, planSchedule, wakeAt } from './schedule-plan.ts'
import { readState, type ScheduleState, writeState } from './schedule-state.ts'

/** How long an occurrence that finds no room is tried again, and how often, in milliseconds. */
const TRY_MS = 300_000
const TRY_AGAIN_MS = 5_000
const DAY_MS = 86_400_000

export interface Lane {
  readonly name: string
  /** Reads, or begins, what the journal has of it. */
  open(): Promise<void>
  /** Does all that is due; once more where it is at it already. */
  advance(): void
  /** When it has something to do, by the wall clock; infinity where only somebody else can wake it. */
  wakeAt(): number
  /** Whether it waits for the end of a run. That wakes it, unless the run is not of this process any more. */
  waitsForRun(): boolean
  change(how: (state: ScheduleState) => ScheduleState): Promise<ScheduleState>
  stop(): Promise<void>
}

/** An occurrence that is being fired, and since when. */
type Claim = NonNullable<ScheduleState['firing']>

/** One schedule: everything about it happens one after the other. */
export function createLane(parts: SchedulerParts, schedule: Schedule, onIdle: () => void): Lane {
  const { clock, store, log, live, notifier, environment } = parts
  const { name } = schedule
  let state: ScheduleState | undefined
  let last: Promise<unknown> = Promise.resolve()
  let busy = false
  let working: Promise<void> = Promise.resolve()
  let opened = false
  let stopped = false
  /** By the monotonic clock. */
  let tryAt: number | null = null
  /** An occurrence waits for the end of a run, which wakes the lane. */
  let blocked = false
  /** Woken while it was at it. */
  let again = false
  let watched: string | null = null

  async function current(): Promise<ScheduleState> {
    state ??= await readState(store, schedule, clock.now())
    return state
  }

  /** Changes come one after the other, each from what the one before has written; whatever the lane is at meanwhile. */
  function update(how: (state: ScheduleState) => ScheduleState): Promise<ScheduleState> {
    const turn = last.then(async () => {
      const next = how(await current())
      await writeState(store, name, next)
      state = next
      return next
    })
    last = turn.catch(() => undefined)
    return turn
  }

  function tell(outcome: OccurrenceOutcome, count = 1): void {
    parts.onOutcome?.(name, outcome, count)
  }

  /** The last run, while it goes on; the lane is woken when it ends. */
  async function runningRun({ last_run_id }: ScheduleState) {
    if (last_run_id === null) return null
    const run = live.get(last_run_id)
    if (run !== undefined) {
      if (watched !== last_run_id) {
        watched = last_run_id
        run.onEnd(advance)
      }
      return { began: run.record().accepted_at, abort: (reason: MhvError) => run.abort(reason) }
    }
    // Nobody tells when a run ends that this process does not have (yet): the next look sees it.
    const record = await store.getRun(last_run_id)
    if (record === null || isFinal(record.status)) return null
    return { began: record.accepted_at, abort: () => undefined }
  }

  /** Asked for often, and computed once. */
  let woken: { readonly from: number; readonly at: number } | undefined
  function nextWake({ done_until: from }: ScheduleState): number {
    if (woken?.from !== from) woken = { from, at: wakeAt(schedule, { done_until: from }) ?? Number.POSITIVE_INFINITY }
    return woken.at
  }

  async function claim(occurrence: number): Promise<boolean> {
    await update((now) => {
      // Somebody may have paused it since it was looked at.
      if (now.paused !== null) return now
      const done_until = Math.max(now.done_until, occurrence - 1)
      return { ...now, done_until, queued: null, firing: { occurrence, claimed_at: clock.now() } }
    })
    return true
  }

  /** Fires what is claimed. False where it is to be tried again later. */
  async function fire({ occurrence, claimed_at }: Claim): Promise<boolean> {
    const keptMs = environment.runs.idempotency_days * DAY_MS
    if (clock.now() - claimed_at >= keptMs) {
      // Its key may be forgotten by now, and with it whether it was fired.
      const facts = { schedule: name, occurrence: isoTime(occurrence) }
      log.error('an occurrence was claimed so long ago that it is not fired any more', facts)
      return settle(occurrence, { last_error: 'MHV_RUN_INTERRUPTED' }, 'missed')
    }
    const call = callOf(schedule, occurrence)
    let run_id: string
    try {
      const envelope = { ...call.envelope, wait: 0 }
      const run = await parts.invoke({ ...call, envelope, principal: schedulePrincipal(name), surface: 'schedule' })
      run_id = run.run_id
    } catch (thrown) {
      return refused({ occurrence, claimed_at }, toMhvError(thrown))
    }
    return settle(occurrence, { last_run_id: run_id, last_error: null }, 'fired')
  }

  async function refused({ occurrence, claimed_at }: Claim, error: MhvError): Promise<boolean> {
    const { code, details, message } = error
    const used = details?.['run_id']
    // Its input was changed after it had been fired: it stays fired.
    if (code === 'MHV_IDEMPOTENCY_MISMATCH' && typeof used === 'string') {
      return settle(occurrence, { last_run_id: used, last_error: null }, 'fired')
    }
    const facts = { schedule: name, occurrence: isoTime(occurrence), error_code: code }
    const gone = code === 'MHV_SHUTTING_DOWN' || code === 'MHV_INSTANCE_FENCED'
    // Without a word from the journal the run may be there: the key finds out.
    const passing = error.spec.retryable || code === 'MHV_RUN_INTERRUPTED' || code === 'MHV_INTERNAL'
    const next = schedule.recurrence.next(occurrence)
    const over = clock.now() - claimed_at >= TRY_MS || (next !== null && clock.now() >= next)
    if (code === 'MHV_INSTANCE_FENCED') stopped = true
    if (gone || (passing && !over)) {
      if (!gone) log.warn('an occurrence could not be fired and is tried again', { ...facts, message })
      tryAt = clock.monotonic() + Math.max(TRY_AGAIN_MS, (error.retryAfter ?? 0) * 1000)
      return false
    }
    log.error('an occurrence was refused', { ...facts, message })
    notifier.notify({
      kind: 'schedule_refused',
      severity: 'warning',
      title: `schedule ${name} could not run ${schedule.operation}`,
      body: `${code}: ${message}`,
      facts: { ...facts, operation: schedule.operation },
      dedupe_key: `schedule_refused:${name}`,
    })
    return settle(occurrence, { last_error: code }, 'refused')
  }

  async function settle(
    occurrence: number,
    facts: Partial<ScheduleState>,
    outcome: OccurrenceOutcome,
  ): Promise<boolean> {
    await update((now) => {
      const done_until = Math.max(now.done_until, occurrence)
      return { ...now, done_until, firing: null, last_occurrence: occurrence, ...facts }
    })
    tell(outcome)
    return true
  }

  /** Leaves out all up to an occurrence, but for the one that is queued. */
  async function passBy(occurrence: number, queued?: number): Promise<void> {
    await update((now) => {
      const done_until = Math.max(now.done_until, occurrence)
      return { ...now, done_until, queued: now.paused === null ? (queued ?? now.queued) : null }
    })
  }

  /** An occurrence whose time has come, while the run of the one before goes on. */
  async function overlapping(now: ScheduleState, occurrence: number, abort: () => void): Promise<boolean> {
    const { overlap } = schedule
    const facts = { schedule: name, occurrence: isoTime(occurrence), run_id: now.last_run_id }
    if (overlap === 'skip' || (overlap === 'queue_one' && now.queued !== null)) {
      await passBy(occurrence)
      log.info('an occurrence was skipped: the run before it goes on', facts)
      tell('skipped')
      return true
    }
    await passBy(occurrence, occurrence)
    if (now.queued !== null) tell('skipped')
    if (overlap === 'cancel_running') abort()
    return true
  }

  /** One step; false where there is nothing to do until the lane is woken. */
  async function step(): Promise<boolean> {
    const now = await current()
    if (now.firing !== null) return fire(now.firing)
    if (now.paused !== null) return false
    const running = await runningRun(now)
    if (now.queued !== null && running === null) return claim(now.queued)
    const { fire: due, missed, andMore, missedUntil } = planSchedule(schedule, now, clock.now())
    if (missedUntil !== null) {
      await passBy(missedUntil)
      log.warn('occurrences were missed', {
        schedule: name,
        count: missed,
        and_more: andMore,
        until: isoTime(missedUntil),
      })
      tell('missed', missed)
      return true
    }
    if (due === null) return false
    if (running === null) return claim(due.occurrence)
    // What is caught up with comes one after the other; only what is on time can overlap.
    if (due.late || followsCaughtUp(schedule, due.occurrence, running.began)) {
      blocked = true
      return false
    }
    if (schedule.overlap === 'allow') return claim(due.occurrence)
    const reason = mhvError('MHV_RUN_CANCELLED', 'the next occurrence of its schedule has come')
    return overlapping(now, due.occurrence, () => running.abort(reason))
  }

  async function work(): Promise<void> {
    tryAt = null
    try {
      while (again) {
        again = false
        blocked = false
        while (!stopped && tryAt === null && (await step())) {}
      }
    } catch (thrown) {
      const error = toMhvError(thrown)
      tryAt = clock.monotonic() + TRY_AGAIN_MS
      const facts = { schedule: name, error }
      // Another process has the folder now, and its schedules.
      if (error.code === 'MHV_INSTANCE_FENCED') stopped = true
      if (!stopped) log.error('a schedule could not be looked at and is looked at again', facts)
    } finally {
      busy = false
      if (!stopped) onIdle()
    }
  }

  function advance(): void {
    again = true
    if (busy || stopped || !opened) return
    if (tryAt !== null && clock.monotonic() < tryAt) return
    busy = true
    working = work()
  }

  return {
    name,
    async open() {
      // What is new, or has another timing, is written at once: the next process goes on from here.
      await update((now) => now)
      opened = true
    },
    advance,
    wakeAt() {
      if (busy || stopped || !opened || state === undefined) return Number.POSITIVE_INFINITY
      if (tryAt !== null) return clock.now() + tryAt - clock.monotonic()
      // What was claimed before it was paused is brought to its end.
      if (state.firing !== null) return 0
      if (state.paused !== null || blocked) return Number.POSITIVE_INFINITY
      return nextWake(state)
    },
    waitsForRun: () => blocked || (state?.queued ?? null) !== null,
    change: update,
    async stop() {
      stopped = true
      await working
      await last
    },
  }
}
