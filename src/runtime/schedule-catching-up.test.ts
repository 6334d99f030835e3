import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createScheduleFixture, hourly, stateOf } from '../../test/helpers/schedule-parts.ts'
import { mhvError } from '../core/errors.ts'
import { cronRecurrence, intervalRecurrence } from '../core/recurrence.ts'
import type { Invoke } from './runtime.ts'
import { createScheduler } from './schedule.ts'
import { fireAt, nextRuns } from './schedule-plan.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

describe('occurrences that were not fired in time', () => {
  test('RES-12: one that was claimed is fired by the next process, also where the schedule was paused meanwhile', async () => {
    let stopping = true
    const refuse =
      (invoke: Invoke): Invoke =>
      async (request) => {
        if (stopping) throw mhvError('MHV_SHUTTING_DOWN', 'stopping')
        return invoke(request)
      }
    const { create, clock, runs, store } = createScheduleFixture({ wrapInvoke: refuse })
    const before = create()
    before.begin()
    await clock.advance(HOUR + MINUTE)
    const paused = { at: clock.now(), by: 'user:alice', reason: null }
    await before.change(hourly(), (state) => ({ ...state, paused }))
    await before.stop()
    stopping = false
    const after = create()
    after.begin()
    await clock.advance(3 * HOUR)
    assert.equal((await runs()).length, 1)
    const state = await stateOf(store)
    assert.deepEqual([state['firing'], state['paused']], [null, paused])
    await after.stop()
  })

  test('are caught up with one after the other, also where those on time may overlap', async () => {
    let active = 0
    let most = 0
    const { create, clock, keys, calls } = createScheduleFixture({
      schedules: [hourly({ missed: 'run_all', overlap: 'allow', timeout: 3_600 })],
      script: async (context) => {
        most = Math.max(most, ++active)
        await context.clock.sleep(5 * MINUTE, context.signal)
        active -= 1
        return { value: null }
      },
    })
    const before = create()
    before.begin()
    await clock.advance(HOUR + 10 * MINUTE)
    await before.stop()
    calls.length = 0
    await clock.advance(5 * HOUR)
    const after = create()
    after.begin()
    await clock.advance(20 * MINUTE)
    assert.deepEqual(keys(), ['2026-01-01T04:00', '2026-01-01T05:00', '2026-01-01T06:00'])
    assert.equal(most, 1)
    await after.stop()
  })

  for (const overlap of ['skip', 'queue_one', 'cancel_running', 'allow'] as const) {
    test(`RES-12: an occurrence that is on time comes after those that are caught up with before it (${overlap})`, async () => {
      const { create, clock, keys, runs, outcomes } = createScheduleFixture({
        schedules: [hourly({ missed: 'run_all', overlap })],
        script: async (context) => {
          await context.clock.sleep(5_000, context.signal)
          return { value: null }
        },
      })
      const scheduler = create()
      scheduler.begin()
      await clock.advance(1_000)
      // Over 01:00; 02:00 has just come.
      clock.set(2 * HOUR)
      const change = scheduler.change(hourly(), (state) => state)
      await clock.advance(4_000)
      await change
      assert.deepEqual(keys(), ['2026-01-01T01:00'])
      // As soon as that one has ended, not at the next look.
      await clock.advance(1_100)
      assert.deepEqual(keys(), ['2026-01-01T01:00', '2026-01-01T02:00'])
      await clock.advance(MINUTE)
      assert.deepEqual(
        (await runs()).map(({ status }) => status),
        ['completed', 'completed'],
      )
      assert.deepEqual(outcomes, { fired: 2 })
      await scheduler.stop()
    })
  }

  test('RES-12: what comes while the last of them is run overlaps with it as ever', async () => {
    const { create, clock, keys, outcomes } = createScheduleFixture({
      schedules: [hourly({ missed: 'run_all', timeout: 86_400 })],
      script: async (context) => {
        await context.clock.sleep(1.5 * HOUR, context.signal)
        return { value: null }
      },
    })
    const before = create()
    before.begin()
    await clock.advance(MINUTE)
    await before.stop()
    clock.set(1.5 * HOUR)
    const after = create()
    after.begin()
    await clock.advance(HOUR)
    assert.deepEqual(keys(), ['2026-01-01T01:00'])
    assert.deepEqual(outcomes, { fired: 1, skipped: 1 })
    await after.stop()
  })

  test('are left alone once another process has the instance, and this one does not spin', async () => {
    const { clock, parts, calls } = createScheduleFixture()
    let timers = 0
    const counting = {
      ...clock,
      after(ms: number, callback: () => void) {
        if (++timers > 1_000) throw new Error('timers without end')
        return clock.after(ms, callback)
      },
    }
    const fenced: Invoke = async (request) => {
      calls.push(request)
      throw mhvError('MHV_INSTANCE_FENCED', 'another process has it')
    }
    const scheduler = createScheduler({ ...parts, clock: counting, schedules: [hourly()], invoke: fenced })
    scheduler.begin()
    await clock.advance(2 * HOUR)
    assert.equal(calls.length, 1)
    await scheduler.stop()
  })

  test('where they are more than are counted, the log says so', async () => {
    const recurrence = intervalRecurrence(1_000)
    const { create, clock, outcomes, log } = createScheduleFixture({
      schedules: [hourly({ recurrence, timing: 'every 1 s', overlap: 'allow' })],
    })
    const before = create()
    before.begin()
    await clock.advance(0)
    await before.stop()
    clock.set(3 * HOUR)
    const after = create()
    after.begin()
    await clock.advance(0)
    await after.stop()
    assert.deepEqual(outcomes, { missed: 999, fired: 1 })
    const [line] = log.filter(({ message }) => message === 'occurrences were missed')
    const { count, and_more } = (line?.fields ?? {}) as Record<string, unknown>
    assert.deepEqual([count, and_more], [999, true])
  })
})

describe('when occurrences are fired', () => {
  /** On the day on which clocks go forward, 2:10 and 2:50 come at 3:00, ten minutes after 1:50. */
  const recurrence = cronRecurrence('10,50 1,2 * * *', 'Europe/Berlin')
  const schedules = Array.from({ length: 60 }, (_, index) =>
    hourly({ name: `s${index}`, recurrence, timing: 'berlin', jitterMs: 15 * MINUTE }),
  )

  test('RES-12: none is missed where the hour that is skipped brings two closer together than their jitter', async () => {
    const { create, clock, outcomes } = createScheduleFixture({ schedules, start: '2026-03-29T00:00:00Z' })
    const scheduler = create()
    scheduler.begin()
    await clock.advance(2 * HOUR)
    await scheduler.stop()
    assert.deepEqual(outcomes, { fired: 3 * schedules.length })
  })

  test('jitter brings none behind the one that follows it', () => {
    const [before, after] = ['2026-03-29T00:50Z', '2026-03-29T01:00Z'].map((text) => Date.parse(text))
    for (const schedule of schedules) assert.ok(fireAt(schedule, before as number) < (after as number), schedule.name)
  })

  test('the next runs are ahead, also while nothing has fired for days', () => {
    const state = { done_until: Date.parse('2026-01-01T00:00Z') }
    const now = Date.parse('2026-01-05T10:30Z')
    const next = nextRuns(hourly(), state, now, 2)
    assert.deepEqual(next, [now + 30 * MINUTE, now + 90 * MINUTE])
    // Its time has come, and its jitter has not.
    const jittered = hourly({ jitterMs: HOUR - 1 })
    const occurrence = Date.parse('2026-01-05T10:00Z')
    const due = fireAt(jittered, occurrence)
    assert.ok(due > occurrence)
    assert.deepEqual(nextRuns(jittered, state, occurrence, 1), [due])
  })
})
