import { createHash } from 'node:crypto'
import type { Schedule } from '../config/schedules.ts'
import type { ScheduleState } from './schedule-state.ts'

/** How late an occurrence may begin, in milliseconds, before it counts as missed. */
export const LATE_MS = 60_000

/** Missed occurrences that are counted one by one. */
const COUNTED = 1_000

/** What is to be done about a schedule at one time. */
export interface SchedulePlan {
  /** Occurrences that are given up, because nobody was there in time. */
  readonly missed: number
  /** Whether there are more of those, further back, that are not counted. */
  readonly andMore: boolean
  /** The last occurrence that is given up; null where none is. */
  readonly missedUntil: number | null
  /** The occurrence to fire now; `late` where it is one that was missed and is caught up with. */
  readonly fire: { readonly occurrence: number; readonly late: boolean } | null
}

/**
 * When an occurrence is fired: its jitter is the same for everyone who computes it, and ends before the next occurrence,
 * which daylight saving may bring closer than the rest of the year does.
 */
export function fireAt(
  { name, jitterMs, recurrence }: Pick<Schedule, 'name' | 'jitterMs' | 'recurrence'>,
  occurrence: number,
): number {
  if (jitterMs === 0) return occurrence
  const next = recurrence.next(occurrence)
  const most = next === null ? jitterMs : Math.min(jitterMs, next - occurrence)
  const digest = createHash('sha256').update(`${name}\0${occurrence}`).digest()
  return occurrence + Math.floor((digest.readUInt32BE(0) / 2 ** 32) * most)
}

/**
 * What is due at `now`. The last occurrence that is due is on time for a minute; all before it were missed, and the
 * schedule's own policy says how many of those are caught up with: none, the last one where none is on time, or the last
 * so many, oldest first.
 */
export function planSchedule(schedule: Schedule, state: Pick<ScheduleState, 'done_until'>, now: number): SchedulePlan {
  const { times, more } = schedule.recurrence.latest(state.done_until, now, COUNTED)
  // Each is fired before the next one occurs, so only the last may not be due yet.
  const newest = times.at(-1)
  const due = newest !== undefined && fireAt(schedule, newest) > now ? times.slice(0, -1) : times
  const last = due.at(-1)
  if (last === undefined) return { missed: 0, andMore: false, missedUntil: null, fire: null }
  const onTime = now - fireAt(schedule, last) <= LATE_MS
  const late = onTime ? due.slice(0, -1) : due
  const kept = caughtUp(schedule, late, onTime)
  const given = late.slice(0, late.length - kept.length)
  const [first = onTime ? last : undefined] = kept
  return {
    missed: given.length,
    andMore: more,
    missedUntil: given.at(-1) ?? null,
    fire: first === undefined ? null : { occurrence: first, late: kept.length > 0 },
  }
}

function caughtUp({ missed, maxMissed }: Schedule, late: readonly number[], onTime: boolean): readonly number[] {
  if (missed === 'run_all') return late.slice(-maxMissed)
  return missed === 'run_once' && !onTime ? late.slice(-1) : []
}

/**
 * Whether an occurrence is one of those that are caught up with, although it is on time itself: it was due already when
 * the run before it began. It has not come in that one's way, but waits its turn like the missed ones between them.
 */
export function followsCaughtUp(schedule: Schedule, occurrence: number, runBegan: number): boolean {
  return schedule.missed === 'run_all' && fireAt(schedule, occurrence) <= runBegan
}

/** When the schedule has something to do next; null where it never has. */
export function wakeAt(schedule: Schedule, state: Pick<ScheduleState, 'done_until'>): number | null {
  const next = schedule.recurrence.next(state.done_until)
  return next === null ? null : fireAt(schedule, next)
}

/** The next `count` times after `now` at which runs begin, if nothing comes between. What was missed is none of them. */
export function nextRuns(
  schedule: Schedule,
  state: Pick<ScheduleState, 'done_until'>,
  now: number,
  count: number,
): readonly number[] {
  const times: number[] = []
  // As far back as an occurrence may lie whose jitter is not over.
  for (let at = Math.max(state.done_until, now - schedule.jitterMs - 1); times.length < count; ) {
    const next = schedule.recurrence.next(at)
    if (next === null) break
    const begins = fireAt(schedule, next)
    if (begins > now) times.push(begins)
    at = next
  }
  return times
}
