import type { Schedule } from '../config/schedules.ts'
import { mhvError, toMhvError } from '../core/errors.ts'
import type { Invoke, RuntimeParts } from './runtime.ts'
import { createLane } from './schedule-lane.ts'
import { forgetOthers, type ScheduleState } from './schedule-state.ts'

/** What becomes of an occurrence. */
export type OccurrenceOutcome = 'fired' | 'missed' | 'skipped' | 'refused'

/** The only scheduler. One timer for all schedules. */
export interface Scheduler {
  /** From now on occurrences are fired. Only a process that stays does this. */
  begin(): void
  /** Nothing is fired any longer; fulfilled when what was under way is. */
  stop(): Promise<void>
  /** Changes what the journal has of a schedule, and nothing else does meanwhile. */
  change(schedule: Schedule, how: (state: ScheduleState) => ScheduleState): Promise<ScheduleState>
}

export interface SchedulerParts
  extends Pick<RuntimeParts, 'store' | 'clock' | 'log' | 'live' | 'notifier' | 'environment'> {
  readonly schedules: readonly Schedule[]
  readonly invoke: Invoke
  /** Told of every occurrence that is done with. */
  readonly onOutcome?: (schedule: string, outcome: OccurrenceOutcome, count: number) => void
}

/** How compositions put it together; a test's may change its parts. */
export type CreateScheduler = (parts: SchedulerParts) => Scheduler

/** Longest time between two looks at the wall clock, which may be set, in milliseconds. */
const LOOK_MS = 30_000

/**
 * Fires each occurrence once, over restarts and kills:
 *
 * 1. the claim (`firing`) is written: whatever happens now, this occurrence is fired, also by the next process;
 * 2. the call goes the one path, with the occurrence's key: called again it is the same run;
 * 3. the claim is taken away and `done_until` moves on: from here on nothing asks for it again.
 *
 * `done_until` never goes back, so a clock that does fires nothing twice.
 */
export function createScheduler(parts: SchedulerParts): Scheduler {
  const { schedules, clock, store, log } = parts
  const lanes = schedules.map((schedule) => createLane(parts, schedule, () => arm()))
  let cancelTimer = () => {}
  let running = false
  let beginning: Promise<void> = Promise.resolve()

  function look(): void {
    if (!running) return
    const now = clock.now()
    for (const lane of lanes) if (lane.waitsForRun() || lane.wakeAt() <= now) lane.advance()
    arm()
  }

  function arm(): void {
    cancelTimer()
    if (!running) return
    const now = clock.now()
    const wait = Math.min(LOOK_MS, ...lanes.map((lane) => lane.wakeAt() - now))
    cancelTimer = clock.after(Math.max(wait, 0), look)
  }

  async function prepare(): Promise<void> {
    const names = schedules.map(({ name }) => name)
    await forgetOthers(store, names)
    await Promise.all(lanes.map((lane) => lane.open()))
  }

  function begin(): void {
    running = true
    beginning = prepare().then(look, (error: unknown) => {
      log.error('the schedules could not be read from the journal; they are read again', { error: toMhvError(error) })
      if (running) cancelTimer = clock.after(LOOK_MS, begin)
    })
  }

  return {
    begin,
    async stop() {
      running = false
      cancelTimer()
      await beginning
      await Promise.all(lanes.map((lane) => lane.stop()))
    },
    async change(schedule, how) {
      const lane = lanes.find((each) => each.name === schedule.name)
      if (lane === undefined) throw mhvError('MHV_INTERNAL', 'a schedule that this scheduler does not have')
      const state = await lane.change(how)
      if (running) look()
      return state
    },
  }
}
