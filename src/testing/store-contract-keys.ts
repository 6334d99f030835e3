import assert from 'node:assert/strict'
import { it } from 'node:test'
import {
  create,
  IN_JOURNAL,
  keyedRun,
  SAMPLE_START,
  sampleEnd,
  sampleEvent,
  sampleId,
  sampleRun,
  type WithStore,
} from './store-samples.ts'

/** The part of the contract that is about idempotency keys. */
export function describeKeys(withStore: WithStore): void {
  it(
    'leads every later call with the same input to the first run',
    withStore(async (store) => {
      await create(store, keyedRun(1, 'k'))
      const second = await store.createRun(keyedRun(2, 'k', { events: [sampleEvent('queued')] }))
      assert.deepEqual([second.kind, second.run.run_id, second.attempts_before], ['attached', sampleId(1), 0])
      await store.changeRun({
        run_id: sampleId(1),
        from: ['running'],
        to: 'completed',
        end: sampleEnd('completed'),
        events: [],
      })
      const third = await store.createRun(keyedRun(3, 'k'))
      assert.deepEqual([third.kind, third.run], ['attached', await store.getRun(sampleId(1))])
      assert.equal((await store.facts()).runs, 1)
      assert.equal((await store.getEvents(sampleId(1), 0, 10)).length, 1)
    }),
  )
  it(
    'is refused with another input',
    withStore(async (store) => {
      const { run } = await create(store, keyedRun(1, 'k'))
      const idempotency = { key: 'k', digest: 'd2', expires_at: SAMPLE_START + 60_000 }
      assert.deepEqual(await store.createRun(keyedRun(2, 'k', { idempotency })), {
        kind: 'mismatch',
        run,
        attempts_before: 0,
      })
      assert.equal((await store.facts()).runs, 1)
    }),
  )
  it(
    'belongs to its principal, operation and target',
    withStore(async (store) => {
      await create(store, keyedRun(1, 'k'))
      const others = [
        { principal: 'user:1' },
        { operation: 'ssh.sftp_transfer' },
        { target: 'web-2' },
        { target: null },
      ]
      for (const [n, facts] of others.entries()) await create(store, keyedRun(n + 2, 'k', {}, facts))
      assert.equal((await store.createRun(keyedRun(9, 'k', {}, { target: null }))).run.run_id, sampleId(5))
    }),
  )
  it(
    'may fail over and over with certainty none, and is the same run each time',
    withStore(async (store) => {
      await create(store, keyedRun(1, 'k'))
      for (const [index, status] of (['failed', 'timeout', 'cancelled'] as const).entries()) {
        const end = sampleEnd(status, { attempts: index + 3 })
        await store.changeRun({ run_id: sampleId(1), from: ['pending', 'running'], to: status, end, events: [] })
        const to = index === 0 ? 'pending' : 'running'
        const started_at = to === 'pending' ? null : 4711 + index
        const run = { status: to, started_at, events: [sampleEvent('reopened')] } as const
        const again = await store.createRun(keyedRun(index + 2, 'k', run, { deadline: 5 + index, worker_id: 'other' }))
        assert.deepEqual([again.kind, again.attempts_before], ['reopened', index + 3])
        const { facts } = keyedRun(1, 'k')
        assert.deepEqual(again.run, { ...facts, deadline: 5 + index, status: to, started_at, end: null, ...IN_JOURNAL })
        assert.deepEqual(await store.getRun(sampleId(1)), again.run)
        if (to === 'pending')
          await store.changeRun({ run_id: sampleId(1), from: ['pending'], to: 'running', events: [] })
      }
      const log = await store.getEvents(sampleId(1), 0, 10)
      assert.deepEqual(
        log.map(({ seq, type }) => `${seq} ${type}`),
        ['1 accepted', '2 reopened', '3 reopened', '4 reopened'],
      )
    }),
  )
  it(
    'reopens a read together with its second end',
    withStore(async (store) => {
      await create(store, keyedRun(1, 'k', { status: 'failed', end: sampleEnd('failed') }))
      const end = sampleEnd('completed', { effect_certainty: 'none' })
      const again = await store.createRun(keyedRun(2, 'k', { status: 'completed', end }))
      assert.deepEqual(
        [again.kind, again.run.run_id, again.run.status, again.run.end],
        ['reopened', sampleId(1), 'completed', end],
      )
      assert.deepEqual(await store.getRun(sampleId(1)), again.run)
    }),
  )
  it(
    'never takes up a run again that may have changed something, or was completed',
    withStore(async (store) => {
      const ends = [
        sampleEnd('failed', { effect_certainty: 'unknown' }),
        sampleEnd('timeout', { effect_certainty: 'applied' }),
        sampleEnd('completed', { effect_certainty: 'none' }),
      ]
      for (const [n, end] of ends.entries()) {
        const { run } = await create(store, keyedRun(n, `k${n}`, { status: end.status, end }))
        assert.deepEqual(await store.createRun(keyedRun(n + 10, `k${n}`)), {
          kind: 'attached',
          run,
          attempts_before: 0,
        })
      }
    }),
  )
  it(
    'is as absent once its time has passed',
    withStore(async (store, clock) => {
      await create(store, keyedRun(1, 'k'))
      await clock.advance(59_999)
      assert.equal((await store.createRun(keyedRun(2, 'k'))).kind, 'attached')
      await clock.advance(1)
      const idempotency = { key: 'k', digest: 'd2', expires_at: SAMPLE_START + 120_000 }
      await create(store, keyedRun(2, 'k', { idempotency }))
      assert.equal((await store.createRun(keyedRun(3, 'k', { idempotency }))).run.run_id, sampleId(2))
    }),
  )
  it(
    'is kept for as long as the last call that reopened its run asked for',
    withStore(async (store, clock) => {
      await create(store, keyedRun(1, 'k', { status: 'failed', end: sampleEnd('failed') }))
      const idempotency = { key: 'k', digest: 'd1', expires_at: SAMPLE_START + 90_000 }
      assert.equal((await store.createRun(keyedRun(2, 'k', { idempotency }))).kind, 'reopened')
      await clock.advance(60_000)
      assert.equal((await store.createRun(keyedRun(3, 'k'))).kind, 'attached')
    }),
  )
  it(
    'is never kept for less time than an earlier call asked for',
    withStore(async (store, clock) => {
      await create(store, keyedRun(1, 'k', { status: 'failed', end: sampleEnd('failed') }))
      const idempotency = { key: 'k', digest: 'd1', expires_at: SAMPLE_START + 10 }
      assert.equal((await store.createRun(keyedRun(2, 'k', { idempotency }))).kind, 'reopened')
      await clock.advance(59_999)
      assert.equal((await store.createRun(keyedRun(3, 'k'))).kind, 'attached')
    }),
  )
  it(
    'is removed when its time has passed, in steps',
    withStore(async (store) => {
      const keys = Array.from({ length: 1_203 }, (_, n) =>
        store.createRun(sampleRun(n, { idempotency: { key: `k${n}`, digest: 'd', expires_at: SAMPLE_START + n } })),
      )
      await Promise.all(keys)
      assert.equal(await store.expireKeys(SAMPLE_START + 1_200), 1_201)
      assert.equal(await store.expireKeys(SAMPLE_START + 1_200), 0)
      const kept = { key: 'k1202', digest: 'd', expires_at: SAMPLE_START + 5_000 }
      assert.equal((await store.createRun(sampleRun(5_000, { idempotency: kept }))).kind, 'attached')
    }),
  )
}
