import assert from 'node:assert/strict'
import { it } from 'node:test'
import { create, runIn, SAMPLE_START, sampleEvent, sampleId, sampleRun, type WithStore } from './store-samples.ts'

/** The parts of the contract that are about the outbox, and about taking over the runs of a process that is gone. */

function entry(n: number, destination = 'ops', dedupe_key: string | null = null) {
  return { id: sampleId(n), destination, kind: 'alert', payload: { n }, at: SAMPLE_START + n, dedupe_key }
}

export function describeOutbox(withStore: WithStore): void {
  it(
    'gives the first entry of each destination, in order, until it is done',
    withStore(async (store) => {
      for (const n of [2, 1, 3]) assert.equal(await store.enqueueOutbox(entry(n)), true)
      await store.enqueueOutbox(entry(4, 'other'))
      const due = async (now: number) => (await store.dueOutbox(now, 9)).map(({ id }) => id)
      assert.deepEqual(await due(SAMPLE_START + 9), [1, 4].map(sampleId))
      assert.deepEqual(await due(SAMPLE_START + 1), [sampleId(1)])
      assert.deepEqual((await store.dueOutbox(SAMPLE_START + 9, 1))[0], {
        ...entry(1),
        attempts: 0,
        next_at: SAMPLE_START + 1,
        error: null,
      })
      assert.equal(await store.outboxDone(sampleId(1)), true)
      assert.equal(await store.outboxDone(sampleId(1)), false)
      assert.deepEqual(await due(SAMPLE_START + 9), [2, 4].map(sampleId))
    }),
  )
  it(
    'holds a destination back while its first entry waits for its next try',
    withStore(async (store) => {
      await store.enqueueOutbox(entry(1))
      await store.enqueueOutbox(entry(2))
      const failure = { attempts: 1, next_at: SAMPLE_START + 500, error: 'HTTP 503' }
      assert.equal(await store.outboxFailed(sampleId(1), failure), true)
      assert.equal(await store.outboxFailed(sampleId(9), failure), false)
      assert.deepEqual(await store.dueOutbox(SAMPLE_START + 499, 9), [])
      assert.deepEqual(await store.dueOutbox(SAMPLE_START + 500, 9), [{ ...entry(1), ...failure }])
    }),
  )
  it(
    'takes an entry with the same key once while it waits',
    withStore(async (store) => {
      assert.equal(await store.enqueueOutbox(entry(1, 'ops', 'disk')), true)
      assert.equal(await store.enqueueOutbox(entry(2, 'ops', 'disk')), false)
      assert.equal(await store.enqueueOutbox(entry(1, 'ops', 'other')), false)
      assert.equal(await store.enqueueOutbox(entry(3, 'elsewhere', 'disk')), true)
      assert.deepEqual(await store.outboxStats(), {
        waiting: 2,
        by_destination: { ops: 1, elsewhere: 1 },
        oldest_at: SAMPLE_START + 1,
        bytes: 2 * '{"n":1}'.length,
      })
      await store.outboxDone(sampleId(1))
      assert.equal(await store.enqueueOutbox(entry(4, 'ops', 'disk')), true)
    }),
  )
}

export function describeAdoption(withStore: WithStore): void {
  it(
    'gives a run of the opening before to this one, once',
    withStore(async (first, _clock, { reopen }) => {
      await create(first, sampleRun(1))
      const store = reopen === undefined ? first : await reopen()
      if (reopen !== undefined) assert.equal(store.fence, first.fence + 1)
      const adoption = { run_id: sampleId(1), from_fence: first.fence, events: [sampleEvent('resumed')] }
      const run = await store.adoptRun(adoption)
      assert.deepEqual([run?.status, run?.fence], ['running', store.fence])
      assert.deepEqual(await store.getRun(sampleId(1)), run)
      assert.equal(await store.adoptRun({ ...adoption, from_fence: store.fence + 1 }), null)
      if (reopen !== undefined) assert.equal(await store.adoptRun(adoption), null)
      const log = await store.getEvents(sampleId(1), 0, 9)
      assert.deepEqual(
        log.map(({ type }) => type),
        ['accepted', 'resumed'],
      )
    }),
  )
  it(
    'is not possible for a run that has ended, or has not begun',
    withStore(async (store) => {
      await create(store, runIn(1, 'failed'))
      await create(store, sampleRun(2, { status: 'pending', started_at: null }))
      for (const n of [1, 2, 3]) {
        assert.equal(await store.adoptRun({ run_id: sampleId(n), from_fence: store.fence, events: [] }), null)
      }
      await store.assertOwner()
    }),
  )
}
