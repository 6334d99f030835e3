import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createScheduleFixture, hourly, stateOf } from '../../test/helpers/schedule-parts.ts'
import type { Schedule } from '../config/schedules.ts'
import { mhvError } from '../core/errors.ts'
import type { Invoke } from './runtime.ts'
import { createScheduler } from './schedule.ts'
import { occurrenceKey } from './schedule-call.ts'
import { SCHEDULE_STATE } from './schedule-state.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

describe('schedules', () => {
  test('each occurrence is one run, as the schedule, with the key of its time', async () => {
    const { create, clock, calls, keys, runs, outcomes } = createScheduleFixture()
    const scheduler = create()
    scheduler.begin()
    await clock.advance(3 * HOUR + MINUTE)
    assert.deepEqual(keys(), ['2026-01-01T01:00', '2026-01-01T02:00', '2026-01-01T03:00'])
    assert.equal(calls[0]?.envelope?.idempotency_key, occurrenceKey('hourly', Date.parse('2026-01-01T01:00:00Z')))
    const list = await runs()
    assert.deepEqual(
      list.map(({ principal, status, target }) => [principal, status, target]),
      Array(3).fill(['schedule:hourly', 'completed', 'one']),
    )
    assert.deepEqual(outcomes, { fired: 3 })
    await scheduler.stop()
    await clock.advance(3 * HOUR)
    assert.equal(calls.length, 3)
  })

  test('it fires at the time itself, not at the next look', async () => {
    const at: number[] = []
    const { create, clock } = createScheduleFixture({
      wrapInvoke: (invoke) => (request) => {
        at.push(clock.now())
        return invoke(request)
      },
    })
    const scheduler = create()
    scheduler.begin()
    await clock.advance(2 * HOUR)
    assert.deepEqual(at, [Date.parse('2026-01-01T01:00:00Z'), Date.parse('2026-01-01T02:00:00Z')])
    await scheduler.stop()
  })

  test('what the policy does not allow is refused, told, and not tried again', async () => {
    const { create, clock, runs, outcomes, calls, store } = createScheduleFixture({
      policy: 'version: 1\nname: p\nrules:\n  - { id: a, decision: allow, principals: ["user:*"] }\n',
    })
    const scheduler = create()
    scheduler.begin()
    await clock.advance(HOUR + 10 * MINUTE)
    assert.deepEqual(await runs(), [])
    assert.deepEqual(outcomes, { refused: 1 })
    assert.equal(calls.length, 1)
    assert.equal((await stateOf(store))['last_error'], 'MHV_POLICY_DENIED')
    await scheduler.stop()
  })

  test('a refusal that passes is tried again until there is room', async () => {
    let full = 3
    const refuse =
      (invoke: Invoke): Invoke =>
      async (request) => {
        if (full-- > 0) throw mhvError('MHV_DISK_LOW', 'full', { retryAfter: 20 })
        return invoke(request)
      }
    const { create, clock, runs, outcomes } = createScheduleFixture({ wrapInvoke: refuse })
    const scheduler = create()
    scheduler.begin()
    await clock.advance(HOUR + 59_000)
    assert.equal((await runs()).length, 0)
    await clock.advance(2_000)
    assert.equal((await runs()).length, 1)
    assert.deepEqual(outcomes, { fired: 1 })
    await scheduler.stop()
  })

  test('jitter is the same in every process, differs between occurrences, and stays below its limit', async () => {
    const at: number[][] = [[], []]
    for (const seen of at) {
      const { create, clock } = createScheduleFixture({
        schedules: [hourly({ jitterMs: 10 * MINUTE })],
        wrapInvoke: (invoke) => (request) => {
          seen.push(clock.now())
          return invoke(request)
        },
      })
      const scheduler = create()
      scheduler.begin()
      await clock.advance(5 * HOUR)
      await scheduler.stop()
    }
    assert.deepEqual(at[0], at[1])
    const waits = (at[0] ?? []).map((time) => time % HOUR)
    assert.ok(new Set(waits).size > 1)
    assert.ok(
      waits.every((wait) => wait >= 0 && wait < 10 * MINUTE),
      waits.join(),
    )
  })

  test('a paused schedule fires nothing; resumed, it does not catch up', async () => {
    const { create, clock, keys } = createScheduleFixture({ schedules: [hourly({ missed: 'run_all' })] })
    const scheduler = create()
    scheduler.begin()
    await clock.advance(HOUR)
    const paused = { at: clock.now(), by: 'user:alice', reason: null }
    await scheduler.change(hourly(), (state) => ({ ...state, paused }))
    await clock.advance(3 * HOUR)
    await scheduler.change(hourly(), (state) => ({ ...state, paused: null, done_until: clock.now() }))
    await clock.advance(HOUR)
    assert.deepEqual(keys(), ['2026-01-01T01:00', '2026-01-01T05:00'])
    await scheduler.stop()
  })

  test('it can be paused while an occurrence waits for a place; that one is fired, and no other', async () => {
    const place = Promise.withResolvers<void>()
    const wait = (invoke: Invoke): Invoke =>
      async function waiting(request) {
        await place.promise
        return invoke(request)
      }
    const { create, clock, keys, store } = createScheduleFixture({ wrapInvoke: wait })
    const scheduler = create()
    scheduler.begin()
    await clock.advance(HOUR + MINUTE)
    const paused = { at: clock.now(), by: 'user:alice', reason: null }
    await scheduler.change(hourly(), (state) => ({ ...state, paused }))
    place.resolve()
    await clock.advance(3 * HOUR)
    assert.deepEqual(keys(), ['2026-01-01T01:00'])
    const { paused: still, firing } = await stateOf(store)
    assert.deepEqual([still, firing], [paused, null])
    await scheduler.stop()
  })

  test('an occurrence that a stopping process cannot fire is left to the next one; a changed input does not fire it again', async () => {
    let stopping = true
    const refuse = (invoke: Invoke): Invoke =>
      async function stopped(request) {
        if (stopping) throw mhvError('MHV_SHUTTING_DOWN', 'stopping')
        return invoke(request)
      }
    const first = createScheduleFixture({ wrapInvoke: refuse })
    const { clock, store, parts, runs, create } = first
    const before = create()
    before.begin()
    await clock.advance(HOUR + MINUTE)
    await before.stop()
    const claim = (await stateOf(store))['firing']
    stopping = false
    // Hours later it is fired all the same, since it was claimed; then once more with another input, as after a kill.
    await clock.advance(2.5 * HOUR)
    for (const value of ['', 'changed']) {
      const schedules = [hourly({ input: { value } })]
      const after = createScheduler({ ...parts, schedules, invoke: first.invoke })
      after.begin()
      await clock.advance(MINUTE)
      await after.stop()
      assert.equal((await runs()).length, 1, value)
      const state = await stateOf(store)
      assert.deepEqual([state['firing'], state['last_error']], [null, null])
      await store.stateSet(SCHEDULE_STATE, 'hourly', { ...state, firing: claim })
    }
  })
})

describe('occurrences that overlap', () => {
  /** Fires hourly; the first run takes two and a half hours, the others no time. */
  async function overlap(policy: Schedule['overlap'], hours = 4) {
    let count = 0
    const ended: string[] = []
    const fixture = createScheduleFixture({
      schedules: [hourly({ overlap: policy, timeout: 86_400 })],
      script: async (context) => {
        const mine = count++
        if (mine > 0) return { value: null }
        try {
          await context.clock.sleep(2.5 * HOUR, context.signal)
        } catch (error) {
          ended.push('cancelled')
          throw error
        }
        return { value: null }
      },
    })
    const scheduler = fixture.create()
    scheduler.begin()
    await fixture.clock.advance(hours * HOUR + MINUTE)
    await scheduler.stop()
    return { ...fixture, ended }
  }

  test('skip: they are left out', async () => {
    const { keys, outcomes } = await overlap('skip')
    assert.deepEqual(keys(), ['2026-01-01T01:00', '2026-01-01T04:00'])
    assert.deepEqual(outcomes, { fired: 2, skipped: 2 })
  })

  test('queue_one: one waits for the end', async () => {
    const { keys, outcomes, runs } = await overlap('queue_one')
    assert.deepEqual(keys(), ['2026-01-01T01:00', '2026-01-01T02:00', '2026-01-01T04:00'])
    assert.deepEqual(outcomes, { fired: 3, skipped: 1 })
    const queued = (await runs())[1]
    assert.equal(queued?.accepted_at, Date.parse('2026-01-01T03:30:00Z'))
  })

  test('cancel_running: the one before is cancelled first', async () => {
    const { keys, outcomes, ended, runs } = await overlap('cancel_running', 2)
    assert.deepEqual(keys(), ['2026-01-01T01:00', '2026-01-01T02:00'])
    assert.deepEqual(ended, ['cancelled'])
    assert.deepEqual(outcomes, { fired: 2 })
    assert.deepEqual(
      (await runs()).map(({ status, end }) => [status, end?.error_code ?? null]),
      [
        ['completed', null],
        ['cancelled', 'MHV_RUN_CANCELLED'],
      ],
    )
  })

  test('allow: they run beside each other', async () => {
    const { keys, outcomes } = await overlap('allow')
    assert.equal(keys().length, 4)
    assert.deepEqual(outcomes, { fired: 4 })
  })
})
