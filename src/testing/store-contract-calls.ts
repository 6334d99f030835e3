import assert from 'node:assert/strict'
import { it } from 'node:test'
import { create, keyedRun, refused, sampleEvent, sampleId, sampleRun, type WithStore } from './store-samples.ts'

/** The part of the contract that is about many calls at once, and about closing. */

export function describeMany(withStore: WithStore): void {
  it(
    'at once are all done, and those for one run in their order',
    withStore(async (store) => {
      await Promise.all(Array.from({ length: 150 }, (_, n) => store.createRun(sampleRun(n))))
      const appended = Array.from({ length: 300 }, (_, index) =>
        store.appendEvents(sampleId(7), [sampleEvent('progress', { index })]),
      )
      const output = Array.from({ length: 50 }, (_, index) =>
        store.appendOutput(sampleId(7), [{ stream: 'stdout', bytes: Buffer.from([index]), gap_bytes: 0 }]),
      )
      await Promise.all([...appended, ...output])
      assert.equal((await store.facts()).runs, 150)
      const log = await store.getEvents(sampleId(7), 1, 1_000)
      assert.deepEqual(
        log.map((event) => event.data.index),
        Array.from({ length: 300 }, (_, index) => index),
      )
      const chunks = await store.getOutput(sampleId(7), 0, 1_000)
      assert.deepEqual(
        chunks.map(({ bytes }) => bytes[0]),
        Array.from({ length: 50 }, (_, index) => index),
      )
    }),
  )
  it(
    'with one key make one run',
    withStore(async (store) => {
      const outcomes = await Promise.all(Array.from({ length: 30 }, (_, n) => store.createRun(keyedRun(n, 'k'))))
      assert.deepEqual(
        outcomes.map(({ kind }) => kind),
        ['created', ...Array(29).fill('attached')],
      )
      assert.equal(new Set(outcomes.map(({ run }) => run.run_id)).size, 1)
    }),
  )
  it(
    'do not fail with one of them that fails',
    withStore(async (store) => {
      await create(store, sampleRun(0))
      const calls = [
        store.createRun(sampleRun(1)),
        store.createRun(sampleRun(0)),
        store.appendEvents('nobody', [sampleEvent('progress')]),
        store.appendEvents(sampleId(1), [sampleEvent('progress')]),
        store.changeRun({ run_id: sampleId(1), from: ['running'], to: 'pending', events: [] }),
        store.createRun(sampleRun(2)),
      ]
      const outcome = (await Promise.allSettled(calls)).map(({ status }) => status === 'fulfilled')
      assert.deepEqual(outcome, [true, false, false, true, false, true])
      assert.equal((await store.getEvents(sampleId(1), 0, 10)).length, 2)
    }),
  )
  it(
    'are seen by a read as soon as they are acknowledged',
    withStore(async (store) => {
      for (let n = 0; n < 60; n += 1) {
        await store.createRun(sampleRun(n))
        assert.equal((await store.getRun(sampleId(n)))?.run_id, sampleId(n))
        await store.stateSet('ssh', 'n', n)
        assert.equal(await store.stateGet('ssh', 'n'), n)
        assert.equal((await store.stateList('ssh', ''))[0]?.value, n)
      }
    }),
  )
}

export function describeClosing(withStore: WithStore): void {
  it(
    'commits what has arrived, and refuses what comes later',
    withStore(async (store, _clock, { reopen }) => {
      const calls = Array.from({ length: 20 }, (_, n) => store.createRun(sampleRun(n)))
      const closing = [store.close(), store.close()]
      await refused(store.createRun(sampleRun(98)), 'MHV_JOURNAL_UNAVAILABLE')
      await refused(store.getRun(sampleId(1)), 'MHV_JOURNAL_UNAVAILABLE')
      await Promise.all(closing)
      await Promise.all(calls)
      const later = [
        store.createRun(sampleRun(99)),
        store.appendEvents(sampleId(1), []),
        store.getRun(sampleId(1)),
        store.stateGet('ssh', 'a'),
        store.expireKeys(0),
        store.check(),
        store.facts(),
      ]
      for (const call of later) await refused(call, 'MHV_JOURNAL_UNAVAILABLE')
      if (reopen !== undefined) assert.equal((await (await reopen()).facts()).runs, 20)
    }),
  )
  it(
    'keeps everything, where the store outlives it',
    withStore(async (store, _clock, { reopen }) => {
      if (reopen === undefined) return
      const { run } = await create(store, keyedRun(1, 'k'))
      await store.appendOutput(sampleId(1), [{ stream: 'stderr', bytes: Buffer.from('x'), gap_bytes: 2 }])
      await store.appendAudit({
        at: 1,
        principal: 'p',
        action: 'a',
        target: null,
        decision: 'deny',
        rule: null,
        run_id: null,
        details: {},
      })
      await store.stateSet('ssh', 'key', [1])
      const events = await store.getEvents(sampleId(1), 0, 10)
      const output = await store.getOutput(sampleId(1), 0, 10)
      const audit = await store.listAudit({ limit: 10 })
      const again = await reopen()
      assert.deepEqual(await again.getRun(sampleId(1)), run)
      assert.deepEqual(await again.getEvents(sampleId(1), 0, 10), events)
      assert.deepEqual(await again.getOutput(sampleId(1), 0, 10), output)
      assert.deepEqual(await again.listAudit({ limit: 10 }), audit)
      assert.deepEqual(await again.stateGet('ssh', 'key'), [1])
      assert.equal((await again.createRun(keyedRun(2, 'k'))).kind, 'attached')
    }),
  )
}
