import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  type Answer,
  type BatchFixture,
  childrenOf,
  createFixture,
  fails,
  fleet,
  names,
} from '../../test/helpers/batch-fixture.ts'
import { ALICE, BOB } from '../../test/helpers/runtime-parts.ts'
import type { OperationContext } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import type { BatchRecord } from '../store/batch.ts'
import { createBatches } from './batch.ts'

/** A batch whose process has gone after so long, with what acts and what waits. */
async function leftAfter(ms: number, fixture: BatchFixture, request: Record<string, unknown>): Promise<Answer> {
  const left = await fixture.ask('batch_run', { operation: 'probe.script', select: '*', seconds: 0, ...request })
  await fixture.clock.advance(ms)
  fixture.batches.pause()
  await fixture.run(fixture.batches.settled(5_000))
  return left
}

suite('RES-11: a batch that was cut off', () => {
  test('goes on where it was, whenever that is: each target acts once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 900 }), fc.integer({ min: 1, max: 5 }), async (ms, parallel) => {
        const fixture = createFixture(fleet(12))
        const run = { operation: 'probe.script', select: '*', batch_size: '5', parallel, seconds: 0 }
        const { batch } = await fixture.ask('batch_run', run)
        await fixture.clock.advance(ms)
        fixture.batches.pause()
        await fixture.run(fixture.batches.settled(5_000))
        const next = createBatches(fixture.parts, fixture.invoke)
        await next.resumeLeft()
        const ended = await fixture.run(next.wait(batch.batch_id, 45))
        assert.deepEqual([ended.state, ended.progress.done, ended.progress.failed], ['completed', 12, 0])
        assert.deepEqual(fixture.acts.map(({ target }) => target).toSorted(), names(12))
      }),
      { numRuns: 30 },
    )
  })

  test('counts the failures of before, and keeps to the limit', async () => {
    const fixture = createFixture(fleet(10), fails)
    const run = { operation: 'probe.script', select: '*', parallel: 1, max_fail: 3, seconds: 0 }
    const { batch } = await fixture.ask('batch_run', run)
    await fixture.clock.advance(220)
    fixture.batches.pause()
    await fixture.run(fixture.batches.settled(5_000))
    const next = createBatches(fixture.parts, fixture.invoke)
    await next.resume(batch.batch_id)
    const ended: BatchRecord = await fixture.run(next.wait(batch.batch_id, 45))
    assert.deepEqual([ended.state, ended.progress.failed, fixture.acts.length], ['failed', 4, 4])
    assert.deepEqual(await next.resume(batch.batch_id), ended)
  })
})

suite('RES-11: a batch that was cut off and is stopped', () => {
  for (const cancel of [false, true]) {
    test(`makes no run at all, ${cancel ? 'with' : 'without'} cancel`, async () => {
      const fixture = createFixture(fleet(12))
      const { batch } = await leftAfter(150, fixture, { parallel: 3 })
      const before = fixture.acts.length
      const next = createBatches(fixture.parts, fixture.invoke)
      await fixture.run(next.stop(batch.batch_id, ALICE, cancel))
      const ended = await fixture.run(next.wait(batch.batch_id, 45))
      assert.deepEqual([ended.state, ended.progress.done, fixture.acts.length], ['stopped', before, before])
      const events = await fixture.store.getBatchEvents(batch.batch_id, 0, 99)
      const asked = events.filter(({ type }) => type === 'stop_requested')
      assert.deepEqual(
        asked.map(({ data }) => data),
        [{ principal: ALICE.id, cancel }],
      )
    })
  }
})

suite('RES-11: the stop of the instance', () => {
  test('fails no target that had not begun to act: at the next start each of them acts once', async () => {
    const one = { max_concurrent: 1, queue_size: 10 }
    const fixture = createFixture(fleet(6), undefined, { workerLimits: one })
    const run = { operation: 'probe.script', select: '*', parallel: 4, seconds: 0 }
    const { batch } = await fixture.ask('batch_run', run)
    await fixture.clock.advance(110)
    fixture.batches.pause()
    await fixture.run(fixture.close(5_000))
    await fixture.run(fixture.batches.settled(5_000))
    const acted = fixture.acts.map(({ target }) => target)
    const { store, clock } = fixture
    const next = createFixture(fleet(6), undefined, { store, clock, workerLimits: one })
    await next.batches.resumeLeft()
    const ended = await next.run(next.batches.wait(batch.batch_id, 45))
    // The one that acted when it was cancelled may have done anything: it counts as failed, and the limit is 0.
    assert.deepEqual(acted, ['t0001', 't0002'])
    assert.deepEqual([ended.state, ended.progress.done, ended.progress.failed], ['failed', 2, 1])
    const again = await next.ask('batch_rerun', { batch_id: batch.batch_id, rest: true })
    assert.deepEqual([again.batch.state, again.batch.total], ['completed', 5])
  })

  test('lets a read go on where it was', async () => {
    const fixture = createFixture(fleet(6))
    const run = { operation: 'probe.peek', select: '*', parallel: 2, max_fail: 0, seconds: 0 }
    const { batch } = await fixture.ask('batch_run', run)
    await fixture.clock.advance(150)
    fixture.batches.pause()
    await fixture.run(fixture.close(5_000))
    await fixture.run(fixture.batches.settled(5_000))
    const { store, clock } = fixture
    const next = createFixture(fleet(6), undefined, { store, clock })
    await next.batches.resumeLeft()
    const ended = await next.run(next.batches.wait(batch.batch_id, 45))
    assert.deepEqual([ended.state, ended.progress.done, ended.progress.failed], ['completed', 6, 0])
  })

  test('does not undo what somebody has cancelled', async () => {
    const one = { max_concurrent: 1, queue_size: 10 }
    const fixture = createFixture(fleet(4), undefined, { workerLimits: one })
    const run = { operation: 'probe.script', select: '*', parallel: 4, max_fail: 4, seconds: 0 }
    const { batch } = await fixture.ask('batch_run', run)
    await fixture.clock.advance(50)
    const waits = (await childrenOf(fixture, batch.batch_id)).find(({ target }) => target === 't0004')
    await fixture.run(fixture.control('run_cancel', { run_id: waits?.run_id }))
    fixture.batches.pause()
    await fixture.run(fixture.close(5_000))
    await fixture.run(fixture.batches.settled(5_000))
    const { store, clock } = fixture
    const next = createFixture(fleet(4), undefined, { store, clock, workerLimits: one })
    await next.batches.resumeLeft()
    await next.run(next.batches.wait(batch.batch_id, 45))
    assert.deepEqual(
      fixture.acts.map(({ target }) => target),
      ['t0001', 't0002'],
    )
    assert.deepEqual(
      next.acts.map(({ target }) => target),
      ['t0003'],
    )
  })
})

suite('RES-11: a batch is taken up again', () => {
  test('also where another one cannot be', async () => {
    const fixture = createFixture(fleet(3))
    const first = await leftAfter(10, fixture, { parallel: 1, idempotency_key: 'a' })
    const second = createBatches(fixture.parts, fixture.invoke)
    const other = await second.start(
      { operation: 'probe.script', input: {}, select: 't0003', parallel: 1, priority: 'normal' },
      ALICE,
    )
    second.pause()
    await fixture.run(second.settled(5_000))
    const { store } = fixture
    const changeBatch: typeof store.changeBatch = async (change) => {
      if (change.id === other.id) throw mhvError('MHV_JOURNAL_FULL', 'no room')
      return store.changeBatch(change)
    }
    const next = createBatches({ ...fixture.parts, store: { ...store, changeBatch } }, fixture.invoke)
    await next.resumeLeft()
    const ended = await fixture.run(next.wait(first.batch.batch_id, 45))
    assert.equal(ended.state, 'completed')
    assert.ok(fixture.log.some(({ level, message }) => level === 'error' && message.includes('could not be resumed')))
  })

  test('by whoever asked for it, and by others as a write', async () => {
    const policy = 'version: 1\nname: p\nrules:\n  - { id: reads, decision: allow, effects: [read] }\n'
    const own = '  - { id: own, decision: allow, principals: ["user:alice"], operations: [probe.script] }\n'
    const fixture = createFixture(fleet(3), undefined, { policy: `${policy}${own}` })
    const { batch } = await leftAfter(10, fixture, { parallel: 1 })
    const { batch_id } = batch
    await assert.rejects(fixture.run(fixture.control('batch_resume', { batch_id }, BOB)), { code: 'MHV_POLICY_DENIED' })
    assert.equal((await fixture.ask('batch_resume', { batch_id, seconds: 0 })).batch.batch_id, batch_id)
  })

  test('its end is written when the journal takes it again', async () => {
    const fixture = createFixture(fleet(2))
    const { store, clock } = fixture
    let full = true
    const changeBatch: typeof store.changeBatch = async (change) => {
      if (full) throw mhvError('MHV_JOURNAL_FULL', 'no room')
      return store.changeBatch(change)
    }
    const batches = createBatches({ ...fixture.parts, store: { ...store, changeBatch } }, fixture.invoke)
    const request = { operation: 'probe.script', input: {}, select: '*', parallel: 2, priority: 'normal' } as const
    const { id } = await batches.start(request, ALICE)
    await clock.advance(1_000)
    assert.equal((await batches.get(id)).state, 'running')
    full = false
    const ended = await fixture.run(batches.wait(id, 45))
    const events = await store.getBatchEvents(id, 0, 99)
    assert.deepEqual(
      [ended.state, events.map(({ type }) => type)],
      ['completed', ['started', 'batch_started', 'finished']],
    )
  })
})

suite('RES-11: a rerun', () => {
  test('is done once, however often it is asked for, and the next one touches only what failed in it', async () => {
    const bad = new Set(['t0002', 't0003', 't0005'])
    const fixture = createFixture(fleet(6), (target) => (bad.has(target) ? fails() : { value: null }))
    const run = { operation: 'probe.script', select: '*', max_fail: 6 }
    const { batch } = await fixture.ask('batch_run', run)
    const { batch_id } = batch
    bad.delete('t0002')
    fixture.acts.length = 0
    const asked = [1, 2].map(() => fixture.control('batch_rerun', { batch_id }))
    const [first, second] = await fixture.run(Promise.allSettled(asked))
    assert.deepEqual([first?.status, second?.status], ['fulfilled', 'rejected'])
    assert.equal((second as PromiseRejectedResult).reason.code, 'MHV_BATCH_STATE')
    assert.deepEqual(fixture.acts.map(({ target }) => target).toSorted(), ['t0002', 't0003', 't0005'])
    fixture.acts.length = 0
    bad.delete('t0003')
    await fixture.ask('batch_rerun', { batch_id })
    assert.deepEqual(fixture.acts.map(({ target }) => target).toSorted(), ['t0003', 't0005'])
    bad.clear()
    const last = await fixture.ask('batch_rerun', { batch_id })
    assert.equal(last.batch.total, 1)
    await assert.rejects(fixture.ask('batch_rerun', { batch_id }), { code: 'MHV_BATCH_STATE', message: /no target/ })
  })

  test('waits for nobody: while one goes on there is no other, nor of a batch that has not ended', async () => {
    const fixture = createFixture(fleet(4), (target) => (target === 't0001' ? fails() : { value: null }))
    const run = { operation: 'probe.script', select: '*', max_fail: 4 }
    const { batch } = await fixture.ask('batch_run', run)
    const { batch_id } = batch
    const rerun = (id: string) => fixture.run(fixture.control('batch_rerun', { batch_id: id, seconds: 0 }), 1)
    const again = ((await rerun(batch_id)) as unknown as Answer).batch.batch_id
    const refused = { code: 'MHV_BATCH_STATE', message: new RegExp(`${again} is running`) }
    await assert.rejects(rerun(batch_id), refused)
    await assert.rejects(rerun(again), refused)
  })

  test('leaves alone what a replay of its dead letter has done meanwhile', async () => {
    const bad = new Set(['t0001', 't0002'])
    const fixture = createFixture(fleet(3), (target) => (bad.has(target) ? fails() : { value: null }))
    const run = { operation: 'probe.script', select: '*', max_fail: 3 }
    const { batch } = await fixture.ask('batch_run', run)
    bad.clear()
    const child = (await childrenOf(fixture, batch.batch_id)).find(({ target }) => target === 't0001')
    await fixture.run(
      fixture.control('dlq_replay', { letter_id: child?.dead_letter, acknowledge_unknown: true, seconds: 45 }),
    )
    fixture.acts.length = 0
    await fixture.ask('batch_rerun', { batch_id: batch.batch_id })
    assert.deepEqual(
      fixture.acts.map(({ target }) => target),
      ['t0002'],
    )
  })
})

suite('RES-11: without room for a run', () => {
  test('a target is not given up while another one of the batch acts', async () => {
    const one = { max_concurrent: 1, queue_size: 0 }
    const long = async (_target: string, { clock, signal }: OperationContext) => {
      await clock.sleep(300_000, signal)
      return { value: null }
    }
    const fixture = createFixture(fleet(3), long, { workerLimits: one })
    const run = { operation: 'probe.script', select: '*', parallel: 3, timeout: 3_600, seconds: 0 }
    const { batch } = await fixture.ask('batch_run', run)
    const ended = await fixture.run(fixture.batches.wait(batch.batch_id, 3_600), 1_000)
    assert.deepEqual([ended.state, ended.progress.done, ended.progress.refused], ['completed', 3, 0])
  })
})
