import assert from 'node:assert/strict'
import { it } from 'node:test'
import { isFinal, isTransition, RUN_STATUSES, RUN_TRANSITIONS } from '../core/run-status.ts'
import type { NewRun } from '../store/store.ts'
import {
  create,
  IN_JOURNAL,
  keyedRun,
  refused,
  runIn,
  sampleEnd,
  sampleEvent,
  sampleId,
  sampleRun,
  type WithStore,
} from './store-samples.ts'

/** The part of the contract that is about runs: how they begin, and the state machine. */

const STRANGE = { 'na\u0000me': 'nul \u0000, half \ud800, 💾', list: [1, null, { deep: true }], empty: {}, zero: 0 }

export function describeNewRuns(withStore: WithStore): void {
  it(
    'is read as it was given',
    withStore(async (store) => {
      const given = sampleRun(1, {}, { target: null, tier: null, reason: 'why \u0000 not', input: STRANGE })
      const { run } = await create(store, given)
      assert.deepEqual(run, {
        ...given.facts,
        status: 'running',
        started_at: given.started_at,
        end: null,
        ...IN_JOURNAL,
      })
      assert.deepEqual(await store.getRun(sampleId(1)), run)
      assert.deepEqual(await store.getEvents(sampleId(1), 0, 10), [{ run_id: sampleId(1), seq: 1, ...given.events[0] }])
    }),
  )
  it(
    'may come with its end',
    withStore(async (store) => {
      for (const [n, status] of (['completed', 'failed', 'timeout', 'cancelled'] as const).entries()) {
        const end = sampleEnd(status, { data: STRANGE, output: 'a\u0000b', error_details: STRANGE })
        const { run } = await create(store, sampleRun(n, { status, end }))
        assert.deepEqual(run.end, end)
        assert.deepEqual(await store.getRun(sampleId(n)), run)
      }
    }),
  )
  it(
    'answers what a later read will say, where the value given was not plain JSON',
    withStore(async (store) => {
      const input = { left: undefined, when: new Date(0), list: [undefined], nan: Number.NaN }
      const { run } = await create(store, sampleRun(1, {}, { input, reason: 'half \udc00' }))
      assert.deepEqual(run.input, { when: '1970-01-01T00:00:00.000Z', list: [null], nan: null })
      assert.equal(run.reason, 'half \ufffd')
      assert.deepEqual(await store.getRun(sampleId(1)), run)
    }),
  )
  it(
    'shares nothing with the caller',
    withStore(async (store) => {
      const input = { list: ['as given'] }
      const { run } = await create(store, sampleRun(1, {}, { input }))
      input.list.push('later')
      ;(run.input as typeof input).list.push('later')
      const read = await store.getRun(sampleId(1))
      assert.deepEqual(read?.input, { list: ['as given'] })
      assert.ok(read !== null)
      ;(read.input as typeof input).list.push('later')
      assert.deepEqual((await store.getRun(sampleId(1)))?.input, { list: ['as given'] })
    }),
  )
  it(
    'is refused with the id of another, which stays as it is',
    withStore(async (store) => {
      const { run } = await create(store, sampleRun(1))
      await refused(
        store.createRun(keyedRun(1, 'k', { events: [sampleEvent('queued')] }, { target: 'other' })),
        'MHV_INTERNAL',
      )
      assert.deepEqual(await store.getRun(sampleId(1)), run)
      assert.equal((await store.getEvents(sampleId(1), 0, 10)).length, 1)
      // Nor did the refused one leave its key.
      assert.equal((await store.createRun(keyedRun(2, 'k', {}, { target: 'other' }))).kind, 'created')
    }),
  )
  it(
    'is refused where status and end do not fit, or no run begins so',
    withStore(async (store) => {
      const bad: NewRun[] = [
        sampleRun(1, { status: 'starting' }),
        sampleRun(1, { status: 'completed' }),
        sampleRun(1, { status: 'running', end: sampleEnd('completed') }),
        sampleRun(1, { status: 'failed', end: sampleEnd('timeout') }),
      ]
      for (const run of bad) await refused(store.createRun(run), 'MHV_INTERNAL')
      assert.equal((await store.facts()).runs, 0)
    }),
  )
  it(
    'is refused where it cannot be stored, and leaves nothing',
    withStore(async (store) => {
      const cycle: Record<string, unknown> = {}
      cycle.self = cycle
      const bad: NewRun[] = [
        sampleRun(1, {}, { input: { big: 1n } }),
        sampleRun(1, {}, { input: cycle }),
        sampleRun(1, {}, { accepted_at: 1.5 }),
        sampleRun(1, { started_at: Number.NaN }),
        sampleRun(1, { events: [sampleEvent('accepted'), { ...sampleEvent('queued'), at: 2 ** 60 }] }),
        sampleRun(1, { idempotency: { key: 'k', digest: 'd', expires_at: 0.5 } }),
      ]
      for (const run of bad) await refused(store.createRun(run), 'MHV_INTERNAL')
      assert.equal(await store.getRun(sampleId(1)), null)
      assert.equal((await store.createRun(keyedRun(1, 'k'))).kind, 'created')
    }),
  )
}

export function describeChanges(withStore: WithStore): void {
  it(
    'takes a run through its life',
    withStore(async (store) => {
      await create(store, runIn(1, 'pending'))
      const events = [sampleEvent('started', { slot: 3 })]
      const running = await store.changeRun({
        run_id: sampleId(1),
        from: ['pending'],
        to: 'running',
        started_at: 77,
        events,
      })
      assert.deepEqual([running?.status, running?.started_at, running?.end], ['running', 77, null])
      assert.deepEqual(await store.getRun(sampleId(1)), running)
      const end = sampleEnd('completed')
      const from = ['pending', 'running'] as const
      const done = await store.changeRun({
        run_id: sampleId(1),
        from,
        to: 'completed',
        end,
        events: [sampleEvent('finished')],
      })
      assert.deepEqual(done, { ...running, status: 'completed', end })
      assert.deepEqual(await store.getRun(sampleId(1)), done)
      const log = await store.getEvents(sampleId(1), 0, 10)
      assert.deepEqual(
        log.map(({ seq, type }) => [seq, type]),
        [
          [1, 'accepted'],
          [2, 'started'],
          [3, 'finished'],
        ],
      )
    }),
  )
  it(
    'does nothing where the run is in another status, or is not there',
    withStore(async (store) => {
      const { run } = await create(store, runIn(1, 'running'))
      const change = {
        from: ['pending'],
        to: 'cancelled',
        end: sampleEnd('cancelled'),
        events: [sampleEvent('finished')],
      } as const
      assert.equal(await store.changeRun({ ...change, run_id: sampleId(1) }), null)
      assert.equal(await store.changeRun({ ...change, run_id: sampleId(2) }), null)
      assert.deepEqual(await store.getRun(sampleId(1)), run)
      assert.equal((await store.getEvents(sampleId(1), 0, 10)).length, 1)
    }),
  )
  it(
    'follows the state machine and nothing else',
    withStore(async (store) => {
      const begins = RUN_TRANSITIONS.filter((row) => row.from === null).map((row) => row.to)
      let n = 0
      for (const from of begins) {
        for (const to of RUN_STATUSES) {
          n += 1
          const { run } = await create(store, runIn(n, from))
          const end = isFinal(to) ? sampleEnd(to) : undefined
          const change = store.changeRun({
            run_id: sampleId(n),
            from: RUN_STATUSES,
            to,
            end,
            events: [sampleEvent('progress')],
          })
          const allowed = isTransition(from, to)
          if (!allowed) await refused(change, 'MHV_INTERNAL')
          assert.equal(allowed ? (await change)?.status : from, allowed ? to : run.status, `${from} to ${to}`)
          assert.equal((await store.getEvents(sampleId(n), 0, 10)).length, allowed ? 2 : 1, `${from} to ${to}`)
        }
      }
    }),
  )
  it(
    'takes up an ended run again only where it is certain that nothing was changed',
    withStore(async (store) => {
      for (const [n, effect_certainty] of (['none', 'applied', 'unknown'] as const).entries()) {
        await create(store, sampleRun(n, { status: 'failed', end: sampleEnd('failed', { effect_certainty }) }))
        const change = store.changeRun({ run_id: sampleId(n), from: ['failed'], to: 'pending', events: [] })
        if (effect_certainty === 'none')
          assert.deepEqual([(await change)?.end, (await change)?.started_at], [null, null])
        else await refused(change, 'MHV_INTERNAL')
      }
    }),
  )
  it(
    'is refused where status and end do not fit',
    withStore(async (store) => {
      await create(store, runIn(1, 'running'))
      const change = { run_id: sampleId(1), from: ['running'], events: [] } as const
      await refused(store.changeRun({ ...change, to: 'completed' }), 'MHV_INTERNAL')
      await refused(store.changeRun({ ...change, to: 'completed', end: sampleEnd('failed') }), 'MHV_INTERNAL')
      assert.equal((await store.getRun(sampleId(1)))?.status, 'running')
    }),
  )
  it(
    'succeeds for exactly one of many at once',
    withStore(async (store) => {
      await create(store, runIn(1, 'pending'))
      const starts = Array.from({ length: 40 }, (_, index) =>
        store.changeRun({
          run_id: sampleId(1),
          from: ['pending'],
          to: 'running',
          started_at: index,
          events: [sampleEvent('started', { index })],
        }),
      )
      const won = (await Promise.all(starts)).filter((record) => record !== null)
      assert.equal(won.length, 1)
      const log = await store.getEvents(sampleId(1), 0, 100)
      assert.deepEqual(
        log.map((event) => event.data.index),
        [undefined, won[0]?.started_at],
      )
    }),
  )
}
