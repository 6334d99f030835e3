import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ALICE, BOB } from '../../test/helpers/runtime-parts.ts'
import { createScheduleFixture, hourly, type ScheduleOptions, stateOf } from '../../test/helpers/schedule-parts.ts'
import { callControl } from './call-control.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

interface Shown {
  readonly schedule: { readonly paused: boolean; readonly next_at: string | null }
}

describe('the calls about schedules', () => {
  function createCalls(options: ScheduleOptions = {}) {
    const list = [hourly({ description: 'every hour', input: { value: 'x' }, overlap: 'queue_one' })]
    const fixture = createScheduleFixture({ schedules: list, ...options })
    const scheduler = fixture.create()
    const { parts, invoke } = fixture
    const schedules = { list, scheduler, invoke }
    const call = (name: string, input: Record<string, unknown> = {}, principal = ALICE) =>
      callControl({ ...parts, runtime: parts, schedules }, { name, input, principal })
    const look = (name: string, input: Record<string, unknown> = {}) =>
      callControl({ ...parts, runtime: null, schedules: { list } }, { name, input, principal: ALICE })
    return { ...fixture, scheduler, call, look }
  }

  test('list and show tell what comes next and what was, also where the journal is only read', async () => {
    const { scheduler, clock, call, look, runs } = createCalls()
    scheduler.begin()
    await clock.advance(HOUR + MINUTE)
    const [run] = await runs()
    const expected = {
      name: 'hourly',
      description: 'every hour',
      operation: 'probe.script',
      target: 'one',
      timing: '0 * * * * UTC',
      paused: false,
      next_at: '2026-01-01T02:00:00.000Z',
      last_occurrence: '2026-01-01T01:00:00.000Z',
      last_run_id: run?.run_id,
      last_error: null,
    }
    assert.deepEqual(await call('schedule_list'), { schedules: [expected] })
    assert.deepEqual(await look('schedule_list'), { schedules: [expected] })
    const shown = await look('schedule_show', { name: 'hourly', count: 2 })
    assert.deepEqual(shown['schedule'], expected)
    assert.deepEqual(shown['next_runs'], ['2026-01-01T02:00:00.000Z', '2026-01-01T03:00:00.000Z'])
    assert.deepEqual([shown['input'], shown['overlap'], shown['firing']], [{ value: 'x' }, 'queue_one', null])
    await scheduler.stop()
  })

  test('pause and resume hold over restarts, and are in the audit trail with their reason', async () => {
    const { scheduler, clock, call, keys, create, store } = createCalls()
    scheduler.begin()
    await clock.advance(MINUTE)
    const paused = (await call('schedule_pause', { name: 'hourly', reason: 'the disk is full' })) as unknown as Shown
    assert.deepEqual([paused.schedule.paused, paused.schedule.next_at], [true, null])
    await scheduler.stop()
    const again = create()
    again.begin()
    await clock.advance(3 * HOUR)
    assert.deepEqual(keys(), [])
    const { paused: why } = await call('schedule_show', { name: 'hourly' })
    assert.deepEqual(why, { at: '2026-01-01T00:01:00.000Z', by: 'user:alice', reason: 'the disk is full' })
    await again.stop()
    const resumed = (await call('schedule_resume', { name: 'hourly' })) as unknown as Shown
    assert.equal(resumed.schedule.next_at, '2026-01-01T04:00:00.000Z')
    const trail = await store.listAudit({ limit: 10 })
    assert.deepEqual(
      trail.map(({ action, principal, details }) => [action, principal, details]),
      [
        ['schedule_pause', 'user:alice', { schedule: 'hourly', reason: 'the disk is full' }],
        ['schedule_resume', 'user:alice', { schedule: 'hourly' }],
      ],
    )
  })

  test('run_now runs it once as whoever asks, and leaves its occurrences as they are', async () => {
    const { scheduler, clock, call, run, keys, store } = createCalls()
    scheduler.begin()
    await clock.advance(MINUTE)
    await call('schedule_pause', { name: 'hourly' })
    const before = await stateOf(store)
    const answer = (await run(call('schedule_run_now', { name: 'hourly', reason: 'to see' }, BOB))) as unknown as {
      readonly run: { readonly run_id: string; readonly status: string }
    }
    assert.equal(answer.run.status, 'completed')
    const record = await store.getRun(answer.run.run_id)
    assert.deepEqual(
      [record?.principal, record?.surface, record?.operation, record?.input, record?.reason],
      ['agent:bob', 'schedule', 'probe.script', { value: 'x' }, 'to see'],
    )
    assert.deepEqual(await stateOf(store), before)
    assert.deepEqual(keys(), [])
    assert.equal((await store.listAudit({ limit: 10 })).at(-1)?.run_id, answer.run.run_id)
    await scheduler.stop()
  })

  test('who may not do the operation may not have it run by a schedule either', async () => {
    const policy = `version: 1
name: p
rules:
  - { id: calls, decision: allow, operations: ["schedule_*"] }
`
    const { call, runs } = createCalls({ policy })
    await assert.rejects(call('schedule_run_now', { name: 'hourly' }), { code: 'MHV_POLICY_DENIED' })
    const reading = 'version: 1\nname: p\nrules:\n  - { id: reads, decision: allow, effects: [read] }\n'
    const reader = createCalls({ policy: reading })
    await assert.rejects(reader.call('schedule_run_now', { name: 'hourly' }), {
      code: 'MHV_POLICY_DENIED',
      message: /probe\.script/,
    })
    assert.deepEqual(await reader.runs(), [])
    assert.deepEqual(await runs(), [])
  })

  test('a name that is not there is told, with the nearest that is', async () => {
    const { call } = createCalls()
    for (const name of ['schedule_show', 'schedule_pause', 'schedule_resume', 'schedule_run_now']) {
      await assert.rejects(call(name, { name: 'hourli' }), {
        code: 'MHV_SCHEDULE_UNKNOWN',
        message: /did you mean "hourly"/,
      })
    }
  })
})
