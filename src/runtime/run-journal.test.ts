import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type FixtureOptions } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import { createMemoryStore } from '../store/memory.ts'
import type { RunChange, Store } from '../store/store.ts'
import { createFakeClock } from '../testing/fake-clock.ts'

type Writes = 'createRun' | 'changeRun' | 'appendOutput'

/** A journal that can be told to fail or to take its time, and tells what it was asked to write. */
function moody(options: FixtureOptions = {}) {
  const clock = createFakeClock(0)
  const memory = createMemoryStore(clock)
  const mood = {
    failing: new Set<Writes>(),
    lies: null as Writes | null,
    failsToStart: false,
    delayMs: 0,
    asked: [] as string[],
  }
  const write =
    <A extends unknown[], R>(name: Writes, act: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      mood.asked.push(name)
      if (mood.failing.has(name)) throw mhvError('MHV_JOURNAL_FULL', 'no room')
      // The change takes place in the order of the calls; only its acknowledgement takes its time.
      const done = await act(...args)
      if (mood.delayMs > 0) await clock.sleep(mood.delayMs)
      if (mood.lies === name) {
        mood.lies = null
        throw mhvError('MHV_JOURNAL_UNAVAILABLE', 'the answer was lost')
      }
      return done
    }
  const store: Store = {
    ...memory,
    createRun: write('createRun', memory.createRun),
    changeRun: write('changeRun', async (change: RunChange) => {
      if (mood.failsToStart && change.to === 'running') throw mhvError('MHV_JOURNAL_FULL', 'no room')
      return memory.changeRun(change)
    }),
    appendOutput: write('appendOutput', memory.appendOutput),
  }
  const fixture = createRuntimeFixture({
    clock,
    store,
    async script(context, value) {
      await context.output.write('stdout', Buffer.from('some output'))
      if (value !== '') await context.clock.sleep(Number(value), context.signal)
      return { value }
    },
    ...options,
  })
  const events = async (run_id: string) => (await memory.getEvents(run_id, 0, 100)).map(({ type }) => type)
  return { ...fixture, mood, memory, events }
}

suite('a read', () => {
  test('is journaled once, with its end and its output', async () => {
    const f = moody()
    const result = await f.run(f.call('probe.peek', { value: '100' }))
    assert.equal(result.status, 'completed')
    assert.deepEqual(f.mood.asked, ['createRun', 'appendOutput'])
    assert.deepEqual(await f.events(result.run_id), ['accepted', 'started', 'finished'])
    const { chunks, ended } = await f.control('run_output', { run_id: result.run_id })
    assert.deepEqual([(chunks as { text: string }[])[0]?.text, ended], ['some output', true])
    // Negative control: a write is journaled before it acts, and once more with its end.
    const write = moody()
    await write.run(write.call('probe.script', { value: '100' }))
    assert.deepEqual(write.mood.asked, ['createRun', 'changeRun', 'appendOutput'])
  })

  test('is in the journal before its handle is given out', async () => {
    const f = moody()
    const handle = await f.run(f.call('probe.peek', { value: '5000' }, { wait: 1 }))
    assert.equal(handle.status, 'running')
    assert.equal((await f.memory.getRun(handle.run_id))?.status, 'running')
    const { run, ended } = await f.run(f.control('run_wait', { run_id: handle.run_id }))
    assert.equal(ended, true)
    assert.equal((run as { status: string }).status, 'completed')
    assert.deepEqual(await f.events(handle.run_id), ['accepted', 'started', 'finished'])
  })

  test('in the queue it is pending in the journal when its handle is given out, and runs on from there', async () => {
    const f = moody({ limits: { max_concurrent: 1, queue_size: 5 } })
    const first = f.call('probe.script', { value: '3000' })
    await f.clock.advance(10)
    const handle = await f.run(f.call('probe.peek', { value: '10' }, { wait: 1 }))
    assert.equal(handle.status, 'pending')
    assert.equal((await f.memory.getRun(handle.run_id))?.status, 'pending')
    await f.run(first)
    const { run } = await f.run(f.control('run_wait', { run_id: handle.run_id }))
    assert.equal((run as { status: string }).status, 'completed')
    assert.deepEqual(await f.events(handle.run_id), ['accepted', 'queued', 'admitted', 'started', 'finished'])
  })

  test('ends well whenever its handle is written: before, between and after its start and its end', async () => {
    for (let waitMs = 0; waitMs <= 400; waitMs += 20) {
      for (const delayMs of [0, 30]) {
        const f = moody({ limits: { max_concurrent: 1, queue_size: 5 } })
        f.mood.delayMs = delayMs
        const first = f.call('probe.script', { value: '100' })
        await f.clock.advance(10)
        const answer = await f.run(f.call('probe.peek', { value: '100' }, { wait: waitMs / 1000 }), 10)
        const { run } = await f.run(f.control('run_wait', { run_id: answer.run_id }), 10)
        assert.equal(
          (run as { status: string }).status,
          'completed',
          `handle after ${waitMs} ms, writes of ${delayMs} ms`,
        )
        assert.equal((await f.memory.getRun(answer.run_id))?.status, 'completed')
        await f.run(first)
        assert.deepEqual(f.parts.live.all(), [])
      }
    }
  })

  test('without its handle in the journal the caller gets the error, and the read is given up', async () => {
    const f = moody()
    f.mood.failing.add('createRun')
    await assert.rejects(f.run(f.call('probe.peek', { value: '60000' }, { wait: 1 })), { code: 'MHV_JOURNAL_FULL' })
    f.mood.failing.clear()
    await f.clock.advance(5_000)
    assert.deepEqual(f.parts.live.all(), [])
    assert.deepEqual(f.parts.admission.counts(), { running: 0, queued: 0 })
    const [run] = await f.memory.listRuns({ limit: 10 })
    assert.equal(run?.status, 'cancelled')
    // Nothing of its log was lost with the writes that failed.
    assert.deepEqual(await f.events(run?.run_id ?? ''), ['accepted', 'started', 'cancel_requested', 'finished'])
  })
})

suite('the end of a run', () => {
  for (const failing of ['changeRun', 'appendOutput'] as const) {
    test(`is written again and again while ${failing} fails, and nothing is reported before it is there`, async () => {
      const f = moody()
      f.mood.failing.add(failing)
      const call = f.call('probe.script', {}, { wait: 1000 })
      let reported = false
      void call.then(() => {
        reported = true
      })
      await f.clock.advance(10_000)
      assert.equal(reported, false)
      const handle = await f.run(f.call('probe.look'))
      assert.equal(handle.status, 'completed')
      f.mood.failing.clear()
      const result = await f.run(call)
      assert.equal(result.status, 'completed')
      assert.deepEqual(await f.events(result.run_id), ['accepted', 'started', 'finished'])
      const output = await f.memory.getOutput(result.run_id, 0, 1_000)
      assert.equal(Buffer.concat(output.map(({ bytes }) => bytes)).toString(), 'some output')
    })
  }

  test('of a read is written again and again too', async () => {
    const f = moody()
    f.mood.failing.add('createRun')
    const call = f.call('probe.peek')
    await f.clock.advance(5_000)
    f.mood.failing.clear()
    const result = await f.run(call)
    assert.equal(result.status, 'completed')
    assert.deepEqual(await f.events(result.run_id), ['accepted', 'started', 'finished'])
  })

  test('a caller who waits no longer gets the handle of a run that is not over', async () => {
    const f = moody()
    f.mood.failing.add('changeRun')
    const handle = await f.run(f.call('probe.script', {}, { wait: 2 }))
    assert.equal(handle.status, 'running')
    f.mood.failing.clear()
    const { ended } = await f.run(f.control('run_wait', { run_id: handle.run_id }))
    assert.equal(ended, true)
  })

  test('that was written although the journal said no is found there, not written twice', async () => {
    const f = moody()
    const call = f.call('probe.script', { value: '100' })
    await f.clock.advance(50)
    f.mood.lies = 'changeRun'
    const result = await f.run(call)
    assert.equal(result.status, 'completed')
    assert.deepEqual(await f.events(result.run_id), ['accepted', 'started', 'finished'])
  })

  test('a write that is slow is not made a second time beside one that fails', async () => {
    const f = moody()
    f.mood.delayMs = 3_000
    f.mood.failing.add('appendOutput')
    const call = f.call('probe.script')
    await f.clock.advance(10_000)
    f.mood.failing.clear()
    assert.equal((await f.run(call)).status, 'completed')
    assert.equal(f.mood.asked.filter((name) => name === 'changeRun').length, 1)
  })

  test('output is not called complete before it is all there', async () => {
    const f = moody()
    const handle = await f.run(f.call('probe.script', { value: '1000' }, { wait: 0 }), 1)
    f.mood.failing.add('appendOutput')
    await f.clock.advance(3_000)
    assert.equal((await f.memory.getRun(handle.run_id))?.status, 'completed')
    const read = () => f.control('run_output', { run_id: handle.run_id })
    assert.equal((await read()).ended, false)
    f.mood.failing.clear()
    await f.clock.advance(3_000)
    const { chunks, ended } = await read()
    assert.deepEqual([(chunks as { text: string }[])[0]?.text, ended], ['some output', true])
  })

  test('that cannot be journaled before the process stops is reported as unknown, never as not begun', async () => {
    const f = moody()
    const call = f.call('probe.script', {})
    f.mood.failing.add('changeRun')
    await f.clock.advance(3_000)
    const closing = f.close(5_000)
    await assert.rejects(f.run(call), { code: 'MHV_RUN_INTERRUPTED' })
    await f.run(closing)
    assert.deepEqual(f.parts.live.all(), [])
    assert.deepEqual(f.parts.admission.counts(), { running: 0, queued: 0 })
    const metrics = await f.parts.metrics.registry.metrics()
    assert.match(metrics, /mahavishnu_runs_active\{worker="probe"\} 0/)
  })
})

suite('a start that cannot be journaled', () => {
  test('acts on nothing, and says so', async () => {
    const f = moody({ limits: { max_concurrent: 1, queue_size: 5 } })
    const first = f.call('probe.script', { value: '1000' })
    await f.clock.advance(10)
    const queued = f.call('probe.touch', {}, { idempotency_key: 'k' })
    await f.clock.advance(10)
    f.mood.failsToStart = true
    const results = await f.run(Promise.all([first, queued]))
    assert.deepEqual(
      results.map(({ status }) => status),
      ['completed', 'failed'],
    )
    assert.deepEqual([results[1]?.error_code, results[1]?.effect_certainty], ['MHV_JOURNAL_FULL', 'none'])
    assert.deepEqual(f.ledger.calls, [])
  })
})
