import type { Schedule } from '../../src/config/schedules.ts'
import { cronRecurrence } from '../../src/core/recurrence.ts'
import type { Invoke, InvokeRequest } from '../../src/runtime/runtime.ts'
import { createScheduler, type OccurrenceOutcome } from '../../src/runtime/schedule.ts'
import { SCHEDULE_STATE } from '../../src/runtime/schedule-state.ts'
import type { Store } from '../../src/store/store.ts'
import { createFakeClock } from '../../src/testing/fake-clock.ts'
import { createRuntimeFixture, type FixtureOptions } from './runtime-parts.ts'

const START = '2026-01-01T00:00:00Z'

/** A schedule that acts on target `one` once an hour. */
export function hourly(more: Partial<Schedule> = {}): Schedule {
  return {
    name: 'hourly',
    description: null,
    operation: 'probe.script',
    worker: 'probe',
    target: 'one',
    input: {},
    recurrence: cronRecurrence('0 * * * *', 'UTC'),
    timing: '0 * * * * UTC',
    timezone: 'UTC',
    jitterMs: 0,
    overlap: 'skip',
    missed: 'skip',
    maxMissed: 3,
    timeout: undefined,
    priority: 'low',
    reason: undefined,
    ...more,
  }
}

export interface ScheduleOptions extends FixtureOptions {
  readonly schedules?: readonly Schedule[]
  /** Wall time at the beginning. */
  readonly start?: string
  readonly wrapInvoke?: (invoke: Invoke) => Invoke
}

/** A clock whose wall time can be set: the monotonic one goes on as it did. */
function settableClock(start = START) {
  const clock = createFakeClock(Date.parse(start))
  let shift = 0
  function set(ms: number): void {
    shift += ms
  }
  return { ...clock, now: () => clock.now() + shift, set }
}

/** A scheduler, or several after each other, on one journal and a clock that stands still until it is moved. */
export function createScheduleFixture({ schedules = [hourly()], wrapInvoke, start, ...options }: ScheduleOptions = {}) {
  const clock = settableClock(start)
  const outcomes: Record<string, number> = {}
  const fixture = createRuntimeFixture({ clock, script: () => ({ value: null }), ...options })
  const calls: InvokeRequest[] = []
  const record: Invoke = async (request) => {
    calls.push(request)
    return fixture.invoke(request)
  }
  const onOutcome = (_name: string, outcome: OccurrenceOutcome, count: number) => {
    outcomes[outcome] = (outcomes[outcome] ?? 0) + count
  }
  const create = () =>
    createScheduler({ ...fixture.parts, schedules, invoke: (wrapInvoke ?? ((same) => same))(record), onOutcome })
  const keys = () =>
    calls.map(({ envelope }) => envelope?.idempotency_key?.replace(/^schedule:[^:]+:/, '').slice(0, 16))
  const runs = async () =>
    (await fixture.store.listRuns({ limit: 1_000 })).filter(({ surface }) => surface === 'schedule')
  return { ...fixture, clock, outcomes, calls, keys, runs, create }
}

/** What the journal has of a schedule. */
export async function stateOf(store: Store, name = 'hourly') {
  return (await store.stateGet(SCHEDULE_STATE, name)) as Record<string, unknown>
}
