import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createScheduleFixture, hourly, stateOf } from '../../test/helpers/schedule-parts.ts'
import { DAYS, patternOf, slowOccurrences, ZONES } from '../../test/helpers/slow-recurrence.ts'
import { mhvError } from '../core/errors.ts'
import { cronRecurrence, intervalRecurrence } from '../core/recurrence.ts'
import type { Store } from '../store/store.ts'
import type { Invoke } from './runtime.ts'
import { createScheduler } from './schedule.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

interface Step {
  readonly minutes: number
  /** Minutes that the wall clock is set by. */
  readonly set: number
  readonly restart: boolean
}

describe('RES-12: scheduled work runs once, over restarts and changes of the clock', () => {
  for (const [missed, expected, lost] of [
    ['skip', [], 5],
    ['run_once', ['2026-01-01T06:00'], 4],
    ['run_all', ['2026-01-01T04:00', '2026-01-01T05:00', '2026-01-01T06:00'], 2],
  ] as const) {
    test(`missed: ${missed}, over a restart that took five hours and a half`, async () => {
      const { create, clock, keys, outcomes, calls } = createScheduleFixture({ schedules: [hourly({ missed })] })
      const before = create()
      before.begin()
      await clock.advance(HOUR + MINUTE)
      await before.stop()
      await clock.advance(5.5 * HOUR)
      calls.length = 0
      const after = create()
      after.begin()
      await clock.advance(MINUTE)
      assert.deepEqual(keys(), expected)
      assert.equal(outcomes['missed'], lost)
      await clock.advance(HOUR)
      assert.deepEqual(keys(), [...expected, '2026-01-01T07:00'])
      await after.stop()
    })

    test(`missed: ${missed}, over a clock that is set forward by five hours and a half`, async () => {
      const { create, clock, keys, calls } = createScheduleFixture({ schedules: [hourly({ missed })] })
      const scheduler = create()
      scheduler.begin()
      await clock.advance(HOUR + MINUTE)
      calls.length = 0
      clock.set(5.5 * HOUR)
      // The clock is looked at every thirty seconds.
      await clock.advance(31_000)
      assert.deepEqual(keys(), expected)
      await scheduler.stop()
    })
  }

  test('a clock that is set back fires nothing twice, with and without a restart between', async () => {
    const { create, clock, keys } = createScheduleFixture({ schedules: [hourly({ missed: 'run_all' })] })
    let scheduler = create()
    scheduler.begin()
    await clock.advance(3 * HOUR + MINUTE)
    clock.set(-2 * HOUR)
    await clock.advance(HOUR + 30 * MINUTE)
    await scheduler.stop()
    scheduler = create()
    scheduler.begin()
    await clock.advance(2 * HOUR)
    assert.deepEqual(keys(), ['2026-01-01T01:00', '2026-01-01T02:00', '2026-01-01T03:00', '2026-01-01T04:00'])
    await scheduler.stop()
  })

  const FIELDS = { minutes: [0, 15, 30], hours: [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17, 18], weekdays: [] }

  /** Goes through steps with run_all; gives the occurrences that were fired, in order, and those of the slow model. */
  async function through(zone: string, day: string, steps: readonly Step[]) {
    const recurrence = cronRecurrence(patternOf(FIELDS), zone)
    const schedules = [hourly({ recurrence, timing: zone, missed: 'run_all', maxMissed: 100 })]
    const { create, clock, runs, calls } = createScheduleFixture({ schedules, start: `${day}T00:00:00Z` })
    const from = clock.now()
    let latest = from
    let scheduler = create()
    scheduler.begin()
    for (const { minutes, set, restart } of steps) {
      await clock.advance(minutes * MINUTE)
      latest = Math.max(latest, clock.now())
      clock.set(set * MINUTE)
      if (restart) {
        await scheduler.stop()
        scheduler = create()
        scheduler.begin()
      }
      // The clock is looked at every thirty seconds.
      await clock.advance(31_000)
      latest = Math.max(latest, clock.now())
    }
    await scheduler.stop()
    const fired = calls.map(({ envelope }) =>
      Date.parse(String(envelope?.idempotency_key).replace('schedule:hourly:', '')),
    )
    assert.equal((await runs()).length, fired.length)
    return { fired, expected: slowOccurrences(FIELDS, zone, from, latest) }
  }

  test('whatever clock and restarts do, each occurrence has one run, in every zone and over changes of the clocks', async () => {
    const step = fc.record({
      minutes: fc.integer({ min: 0, max: 300 }),
      set: fc.oneof(fc.constant(0), fc.integer({ min: -400, max: 400 })),
      restart: fc.boolean(),
    })
    const steps = fc.array(step, { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...ZONES), fc.constantFrom(...DAYS), steps, async (zone, day, list) => {
        const { fired, expected } = await through(zone, day, list)
        assert.deepEqual(fired, expected)
      }),
      { numRuns: 15 },
    )
  })

  test('another timing counts from now on, and keeps the pause', async () => {
    const { create, clock, keys, calls, parts, store } = createScheduleFixture()
    const scheduler = create()
    scheduler.begin()
    await clock.advance(HOUR + MINUTE)
    await scheduler.stop()
    calls.length = 0
    await clock.advance(10 * HOUR)
    const other = hourly({ recurrence: intervalRecurrence(600_000), timing: 'every 600 s', missed: 'run_all' })
    const invoke: Invoke = async (request) => {
      calls.push(request)
      throw mhvError('MHV_POLICY_DENIED', 'no')
    }
    const next = createScheduler({ ...parts, schedules: [other], invoke })
    next.begin()
    await clock.advance(10 * MINUTE)
    assert.deepEqual(keys(), ['2026-01-01T11:10'])
    await next.change(other, (state) => ({ ...state, paused: { at: 1, by: 'x', reason: null } }))
    await next.stop()
    const again = create()
    again.begin()
    await clock.advance(1)
    assert.notEqual((await stateOf(store))['paused'], null)
    await again.stop()
  })

  test('a claim that a killed process left is fired again with its key, and is one run', async () => {
    for (const keyed of [true, false]) {
      const withoutKey =
        (invoke: Invoke): Invoke =>
        (request) => {
          const { idempotency_key: _key, ...envelope } = request.envelope ?? {}
          return invoke(keyed ? request : { ...request, envelope })
        }
      const { create, clock, runs, parts } = createScheduleFixture({ wrapInvoke: withoutKey })
      const first = create()
      first.begin()
      await clock.advance(59 * MINUTE)
      const { stateSet } = parts.store
      // What a process does not come to any more: the write after its run is in the journal.
      let writes = 0
      Object.assign(parts.store, {
        stateSet: (...change: Parameters<Store['stateSet']>) =>
          ++writes > 1 ? new Promise(() => {}) : stateSet(...change),
      })
      await clock.advance(2 * MINUTE)
      assert.equal((await runs()).length, 1)
      Object.assign(parts.store, { stateSet })
      const second = create()
      second.begin()
      await clock.advance(10 * MINUTE)
      assert.equal((await runs()).length, keyed ? 1 : 2, `with key: ${keyed}`)
      await second.stop()
    }
  })
})
