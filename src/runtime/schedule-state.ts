import { z } from 'zod'
import type { Schedule } from '../config/schedules.ts'
import type { Store } from '../store/store.ts'

/** Under whose name the journal keeps what is known of schedules. No worker can be called so. */
export const SCHEDULE_STATE = '@schedules'

const stateSchema = z.object({
  /** The timing that `done_until` is about: with another one, counting begins anew. */
  timing: z.string(),
  /** Every occurrence up to this one is done with: fired, skipped, missed or refused. Never goes back by itself. */
  done_until: z.number(),
  /** The occurrence that is being fired. Written before its run begins, taken away when the run is in the journal. */
  firing: z.object({ occurrence: z.number(), claimed_at: z.number() }).nullable(),
  /** The occurrence that waits for the end of the last run. */
  queued: z.number().nullable(),
  paused: z.object({ at: z.number(), by: z.string(), reason: z.string().nullable() }).nullable(),
  last_occurrence: z.number().nullable(),
  last_run_id: z.string().nullable(),
  /** Why the last occurrence came to no run. */
  last_error: z.string().nullable(),
})

/** What the journal keeps of a schedule. Times are milliseconds since the epoch. */
export type ScheduleState = z.output<typeof stateSchema>

type StateStore = Pick<Store, 'stateGet' | 'stateSet' | 'stateDelete' | 'stateList'>

/** A schedule that is seen for the first time has missed nothing. */
export function freshState({ timing }: Schedule, now: number): ScheduleState {
  return {
    timing,
    done_until: now,
    firing: null,
    queued: null,
    paused: null,
    last_occurrence: null,
    last_run_id: null,
    last_error: null,
  }
}

/** As the journal has it; a schedule whose timing was changed starts counting anew, but stays paused. */
export async function readState(
  store: Pick<StateStore, 'stateGet'>,
  schedule: Schedule,
  now: number,
): Promise<ScheduleState> {
  const parsed = stateSchema.safeParse(await store.stateGet(SCHEDULE_STATE, schedule.name))
  if (!parsed.success) return freshState(schedule, now)
  const { data } = parsed
  return data.timing === schedule.timing ? data : { ...data, timing: schedule.timing, done_until: now, queued: null }
}

export async function writeState(store: StateStore, name: string, state: ScheduleState): Promise<void> {
  await store.stateSet(SCHEDULE_STATE, name, state)
}

/** What the file does not have any longer is forgotten; but what somebody has paused stays so if it comes back. */
export async function forgetOthers(store: StateStore, names: readonly string[]): Promise<void> {
  for (const { key, value } of await store.stateList(SCHEDULE_STATE, '')) {
    const paused = stateSchema.safeParse(value).data?.paused ?? null
    if (!names.includes(key) && paused === null) await store.stateDelete(SCHEDULE_STATE, key)
  }
}
