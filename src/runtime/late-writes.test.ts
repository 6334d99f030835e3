import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type FixtureOptions } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import { createMemoryStore } from '../store/memory.ts'
import type { Store } from '../store/store.ts'
import { createFakeClock } from '../testing/fake-clock.ts'

/** One slot, which a run holds until it is told to let go; and what is written for all others. */
async function narrow(options: FixtureOptions = {}) {
  const clock = createFakeClock(0)
  const memory = createMemoryStore(clock)
  const gate = Promise.withResolvers<void>()
  const writes: string[] = []
  const acted: (string | undefined)[] = []
  let full = false
  let holder = ''
  const note = (run_id: string, what: string) => {
    if (run_id !== holder) writes.push(what)
  }
  const store: Store = {
    ...memory,
    async createRun(run) {
      if (full) throw mhvError('MHV_JOURNAL_FULL', 'no room')
      const { run_id } = run.facts
      if (holder === '') holder = run_id
      note(run_id, `${run.status}: ${run.events.map(({ type }) => type)}`)
      return memory.createRun(run)
    },
    async changeRun(change) {
      note(change.run_id, change.to)
      return memory.changeRun(change)
    },
  }
  const fixture = createRuntimeFixture({
    clock,
    store,
    limits: { max_concurrent: 1, queue_size: 10 },
    async script({ run_id }, value) {
      if (value === 'hold') await gate.promise
      else acted.push((await memory.getRun(run_id))?.status)
      return { value }
    },
    ...options,
  })
  void fixture.call('probe.script', { value: 'hold' }, { timeout: 3_600 })
  await clock.advance(10)
  return {
    fixture,
    clock,
    writes,
    acted,
    memory,
    letGo: () => gate.resolve(),
    fill: (now: boolean) => {
      full = now
    },
  }
}

suite('CORE-01, CORE-03: a write that waits for its slot', () => {
  test('is written once, as running and with all that happened, when nobody has its handle yet', async () => {
    const { fixture, clock, writes, acted, letGo } = await narrow()
    const call = fixture.call('probe.script')
    await clock.advance(500)
    assert.deepEqual(writes, [])
    letGo()
    const { status } = await fixture.run(call)
    assert.deepEqual([status, acted], ['completed', ['running']])
    assert.deepEqual(writes, ['running: accepted,queued,admitted,started', 'completed'])
  })

  test('is pending in the journal before its handle is given out', async () => {
    const { fixture, clock, writes, memory, letGo } = await narrow()
    const { run_id } = await fixture.run(fixture.call('probe.script', {}, { wait: 0.1 }))
    assert.equal((await memory.getRun(run_id))?.status, 'pending')
    letGo()
    await clock.advance(100)
    assert.deepEqual(writes, ['pending: accepted,queued', 'running', 'completed'])
  })

  test('is pending in the journal once it has waited for a while, however many wait', async () => {
    const { fixture, clock, writes, letGo } = await narrow()
    const calls = [fixture.call('probe.script')]
    await clock.advance(1_500)
    calls.push(fixture.call('probe.script'))
    assert.deepEqual(writes, [])
    await clock.advance(500)
    assert.deepEqual(writes, ['pending: accepted,queued'])
    await clock.advance(1_500)
    assert.deepEqual(writes, ['pending: accepted,queued', 'pending: accepted,queued'])
    letGo()
    await fixture.run(Promise.all(calls))
    await clock.advance(10_000)
    assert.deepEqual(writes.slice(2), ['running', 'completed', 'running', 'completed'])
  })

  test('that ends in the queue is written once, with its end and its dead letter', async () => {
    const { fixture, writes, memory } = await narrow()
    const { run_id, status } = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.equal(status, 'timeout')
    assert.deepEqual(writes, ['timeout: accepted,queued,left_queue,finished'])
    const letters = await memory.listDeadLetters({ limit: 2 })
    assert.deepEqual(
      letters.map((letter) => letter.run_id),
      [run_id],
    )
  })

  test('does not act when the journal does not take it', async () => {
    const { fixture, clock, acted, letGo, fill } = await narrow()
    const call = fixture.call('probe.script')
    fill(true)
    await clock.advance(2_500)
    assert.equal(fixture.log.filter(({ message }) => message.includes('could not be journaled yet')).length, 1)
    letGo()
    await clock.advance(5_000)
    fill(false)
    const { status, error_code, effect_certainty } = await fixture.run(call)
    assert.deepEqual([status, error_code, effect_certainty], ['failed', 'MHV_JOURNAL_FULL', 'none'])
    assert.deepEqual(acted, [])
  })

  test('with a key is written at once', async () => {
    const { fixture, clock, writes } = await narrow()
    void fixture.call('probe.script', {}, { idempotency_key: 'k' })
    await clock.advance(10)
    assert.deepEqual(writes, ['pending: accepted,queued'])
  })
})
