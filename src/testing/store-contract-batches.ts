import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { BatchFacts, NewBatch } from '../store/batch.ts'
import { create, SAMPLE_START, sampleId, sampleRun, type WithStore } from './store-samples.ts'

/** The part of the contract that is about batches. */

const FACTS: BatchFacts = {
  select: 'tag:web',
  effect: 'write',
  input: { command: 'uptime', env: { A: '1' } },
  batches: [['web-1'], ['web-2', 'web-3']],
  parallel: 2,
  failure_limit: 0,
  timeout: null,
  priority: 'normal',
  reason: null,
  plan_digest: 'd1',
  request_digest: 'r1',
  rerun_of: null,
}

function batch(n: number, operation = 'ssh.execute'): NewBatch {
  const progress = { done: 0, failed: 0, refused: 0, total: 3, error_code: null }
  const created_at = SAMPLE_START + n
  return { id: sampleId(n), operation, principal: 'agent:ops', key: null, facts: FACTS, progress, created_at }
}

const started = { type: 'started', at: SAMPLE_START, data: { targets: 3 } } as const

export function describeBatches(withStore: WithStore): void {
  it(
    'is kept whole, with its events, and over a reopening',
    withStore(async (first, _clock, { reopen }) => {
      const record = await first.createBatch(batch(1), [started])
      const { created_at } = batch(1)
      assert.deepEqual(record, { ...batch(1), state: 'running', updated_at: created_at, finished_at: null })
      const store = reopen === undefined ? first : await reopen()
      assert.deepEqual(await store.getBatch(sampleId(1)), record)
      assert.deepEqual(await store.getBatchEvents(sampleId(1), 0, 9), [{ seq: 1, ...started }])
      assert.equal(await store.getBatch(sampleId(2)), null)
    }),
  )
  it(
    'changes only from the states that are named, and keeps what is not given',
    withStore(async (store) => {
      await store.createBatch(batch(1), [started])
      const progress = { ...batch(1).progress, done: 2, failed: 1 }
      const at = SAMPLE_START + 50
      const event = { type: 'batch_started', at, data: { batch: 1 } } as const
      const change = { id: sampleId(1), from: ['running'], at } as const
      const changed = await store.changeBatch({ ...change, to: 'stopping', progress, events: [event] })
      assert.deepEqual([changed?.state, changed?.progress, changed?.updated_at], ['stopping', progress, at])
      assert.equal(await store.changeBatch({ ...change, to: 'completed', events: [event] }), null)
      const end = { ...change, from: ['running', 'stopping'], to: 'stopped', finished_at: at, events: [] } as const
      const ended = await store.changeBatch(end)
      assert.deepEqual([ended?.state, ended?.progress, ended?.finished_at], ['stopped', progress, at])
      assert.deepEqual(await store.getBatchEvents(sampleId(1), 1, 9), [{ seq: 2, ...event }])
      assert.equal(await store.changeBatch({ ...end, id: sampleId(9) }), null)
    }),
  )
  it(
    'is written once for each key of a principal',
    withStore(async (store) => {
      const first = await store.createBatch({ ...batch(1), key: 'k' }, [started])
      assert.deepEqual(await store.createBatch({ ...batch(2), key: 'k' }, [started]), first)
      assert.equal((await store.getBatchEvents(sampleId(1), 0, 9)).length, 1)
      assert.equal(await store.getBatch(sampleId(2)), null)
      const other = await store.createBatch({ ...batch(3), key: 'k', principal: 'user:1' }, [])
      assert.equal(other.id, sampleId(3))
      assert.deepEqual(await store.getKeyedBatch('agent:ops', 'k'), first)
      assert.equal(await store.getKeyedBatch('agent:ops', 'other'), null)
      for (const n of [4, 5]) assert.equal((await store.createBatch(batch(n), [])).id, sampleId(n))
    }),
  )
  it(
    'is listed newest first, by state, by operation, page by page',
    withStore(async (store) => {
      for (const n of [2, 1, 3]) await store.createBatch(batch(n, n === 3 ? 'probe.touch' : 'ssh.execute'), [])
      const stop = { from: ['running'], to: 'stopped', at: SAMPLE_START + 9, events: [] } as const
      await store.changeBatch({ ...stop, id: sampleId(1) })
      const ids = async (query: Partial<Parameters<typeof store.listBatches>[0]>) =>
        (await store.listBatches({ limit: 9, ...query })).map(({ id }) => id)
      assert.deepEqual(await ids({}), [3, 2, 1].map(sampleId))
      assert.deepEqual(await ids({ state: ['running', 'stopping'] }), [3, 2].map(sampleId))
      assert.deepEqual(await ids({ operation: 'ssh.execute' }), [2, 1].map(sampleId))
      assert.deepEqual(await ids({ limit: 1 }), [sampleId(3)])
      assert.deepEqual(await ids({ before: sampleId(3), limit: 1 }), [sampleId(2)])
    }),
  )
  it(
    'has its runs listed by their parent',
    withStore(async (store) => {
      for (const n of [1, 2, 3]) await create(store, sampleRun(n, {}, { parent: n === 2 ? null : sampleId(9) }))
      const runs = await store.listRuns({ parent: sampleId(9), limit: 9 })
      assert.deepEqual(
        runs.map(({ run_id, parent }) => [run_id, parent]),
        [3, 1].map((n) => [sampleId(n), sampleId(9)]),
      )
      assert.equal((await store.getRun(sampleId(2)))?.parent, null)
    }),
  )
}
