import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DeadLetterLimits, NewDeadLetter } from '../store/dead-letter.ts'
import type { NewRun, RunRecord, Store } from '../store/store.ts'
import {
  create,
  keyedRun,
  refused,
  SAMPLE_START,
  sampleEnd,
  sampleId,
  sampleRun,
  type WithStore,
} from './store-samples.ts'

/** The part of the contract that is about dead letters. */

const ROOMY: DeadLetterLimits = { max_count: 100, max_bytes: 1_000_000, overflow: 'drop_oldest' }

function letter(n: number, given: Partial<NewDeadLetter> = {}): NewDeadLetter {
  return { id: sampleId(1_000 + n), policy: 'never', max_replays: 3, next_at: null, limits: ROOMY, ...given }
}

/** A run that failed, with its letter. */
function deadRun(n: number, given: Partial<NewDeadLetter> = {}, run: Partial<NewRun> = {}): NewRun {
  const end = sampleEnd('failed', { effect_certainty: 'unknown' })
  return sampleRun(n, { status: 'failed', end, dead_letter: letter(n, given), ...run })
}

async function fail(store: Store, n: number, given: Partial<NewDeadLetter> = {}): Promise<RunRecord | null> {
  const end = sampleEnd('failed')
  return store.changeRun({
    run_id: sampleId(n),
    from: ['pending', 'running'],
    to: 'failed',
    end,
    events: [],
    dead_letter: letter(n, given),
  })
}

async function ids(store: Store): Promise<readonly string[]> {
  return (await store.listDeadLetters({ limit: 100 })).map(({ id }) => id)
}

export function describeLetters(withStore: WithStore): void {
  describe('a dead letter', () => {
    describeWriting(withStore)
    describeOverflow(withStore)
    describeStates(withStore)
    describePins(withStore)
  })
}

function describeWriting(withStore: WithStore): void {
  it(
    'is written with the end of its run',
    withStore(async (store) => {
      await create(store, sampleRun(1))
      const run = await fail(store, 1, { policy: 'linear', next_at: SAMPLE_START + 60_000 })
      assert.equal(run?.dead_letter, sampleId(1_001))
      const expected = {
        id: sampleId(1_001),
        run_id: sampleId(1),
        worker: 'ssh',
        operation: 'ssh.execute',
        target: 'web-1',
        principal: 'agent:ops',
        error_code: 'MHV_SSH_CONNECT_REFUSED',
        error: 'refused',
        effect: 'write',
        effect_certainty: 'none',
        state: 'open',
        replays: 0,
        max_replays: 3,
        policy: 'linear',
        next_at: SAMPLE_START + 60_000,
        last_run_id: null,
        created_at: SAMPLE_START + 900,
        updated_at: SAMPLE_START + 900,
        bytes: 512 + '{"command":"uptime"}'.length + 'refused'.length,
      }
      assert.deepEqual(await store.getDeadLetter(sampleId(1_001)), expected)
      assert.deepEqual(await store.getRun(sampleId(1)), run)
      assert.equal(await store.getDeadLetter(sampleId(1)), null)
    }),
  )
  it(
    'is written with a run that is written once, and only with one that failed',
    withStore(async (store) => {
      const { run } = await create(store, deadRun(1))
      assert.equal(run.dead_letter, sampleId(1_001))
      assert.deepEqual(await ids(store), [sampleId(1_001)])
      const completed = { status: 'completed', end: sampleEnd('completed'), dead_letter: letter(2) } as const
      await refused(store.createRun(sampleRun(2, completed)), 'MHV_INTERNAL')
      await refused(store.createRun(sampleRun(3, { dead_letter: letter(3) })), 'MHV_INTERNAL')
      assert.deepEqual(await ids(store), [sampleId(1_001)])
    }),
  )
  it(
    'is set aside when its run is opened again, and the same one is open when that fails too',
    withStore(async (store) => {
      await create(store, keyedRun(1, 'k'))
      await fail(store, 1)
      await store.changeDeadLetter({ id: sampleId(1_001), from: ['open'], to: 'open', at: 1, replays: 2 })
      const again = await store.createRun(keyedRun(2, 'k'))
      assert.deepEqual([again.kind, again.run.dead_letter], ['reopened', sampleId(1_001)])
      assert.equal((await store.getDeadLetter(sampleId(1_001)))?.state, 'archived')
      const failed = await fail(store, 1, { id: sampleId(7_000), policy: 'immediate' })
      assert.equal(failed?.dead_letter, sampleId(1_001))
      const found = await store.getDeadLetter(sampleId(1_001))
      assert.deepEqual([found?.state, found?.replays, found?.policy], ['open', 2, 'immediate'])
      assert.equal((await store.deadLetterStats()).count, 1)
    }),
  )
  it(
    'outlives a close of the journal',
    withStore(async (store, _clock, { reopen }) => {
      await create(store, deadRun(1))
      const before = await store.getDeadLetter(sampleId(1_001))
      if (reopen === undefined) return assert.notEqual(before, null)
      assert.deepEqual(await (await reopen()).getDeadLetter(sampleId(1_001)), before)
    }),
  )
}

function describeOverflow(withStore: WithStore): void {
  it(
    'is dropped for a newer one where there is no room: first what is done with, never one that is being replayed',
    withStore(async (store) => {
      const limits = { ...ROOMY, max_count: 4 }
      for (const n of [1, 2, 3, 4]) await create(store, deadRun(n, { limits }))
      const move = (n: number, to: 'replaying' | 'archived') =>
        store.changeDeadLetter({ id: sampleId(1_000 + n), from: ['open'], to, at: 1 })
      await move(1, 'replaying')
      await move(3, 'archived')
      await create(store, deadRun(5, { limits }))
      await create(store, deadRun(6, { limits }))
      assert.deepEqual(
        await ids(store),
        [6, 5, 4, 1].map((n) => sampleId(1_000 + n)),
      )
      assert.equal((await store.getRun(sampleId(3)))?.dead_letter, null)
      const { dropped, rejected, count } = await store.deadLetterStats()
      assert.deepEqual([dropped, rejected, count], [2, 0, 4])
    }),
  )
  it(
    'is not taken where the rule says so, and that is counted and seen in its run',
    withStore(async (store) => {
      const limits = { ...ROOMY, max_bytes: 1_100, overflow: 'reject' } as const
      await create(store, deadRun(1, { limits }))
      await create(store, deadRun(2, { limits }))
      const { run } = await create(store, deadRun(3, { limits }))
      assert.deepEqual([run.dead_letter, run.status], [null, 'failed'])
      assert.deepEqual(await store.getRun(sampleId(3)), run)
      assert.deepEqual(
        await ids(store),
        [2, 1].map((n) => sampleId(1_000 + n)),
      )
      const { dropped, rejected, bytes } = await store.deadLetterStats()
      assert.deepEqual([dropped, rejected, bytes], [0, 1, 2 * 539])
    }),
  )
  it(
    'larger than all the room drops nobody',
    withStore(async (store) => {
      await create(store, deadRun(1))
      const { run } = await create(store, deadRun(2, { limits: { ...ROOMY, max_bytes: 538 } }))
      assert.equal(run.dead_letter, null)
      assert.deepEqual(await ids(store), [sampleId(1_001)])
    }),
  )
}

function describeStates(withStore: WithStore): void {
  it(
    'changes only from the states and the replays that are named',
    withStore(async (store) => {
      await create(store, deadRun(1, { next_at: 5 }))
      const id = sampleId(1_001)
      const begin = {
        id,
        from: ['open'],
        to: 'replaying',
        at: 9,
        expect_replays: 0,
        replays: 1,
        next_at: null,
      } as const
      // Two who begin the same replay: one does.
      const both = await Promise.all([store.changeDeadLetter(begin), store.changeDeadLetter(begin)])
      assert.deepEqual(both.map((found) => found?.state ?? 'lost').sort(), ['lost', 'replaying'])
      const failed = { error_code: 'MHV_RUN_TIMEOUT', error: 'late', effect_certainty: 'none' } as const
      const change = { id, from: ['replaying'], to: 'open', at: 10, next_at: 77, last_run_id: sampleId(9) } as const
      const found = await store.changeDeadLetter({ ...change, ...failed })
      assert.deepEqual(found, await store.getDeadLetter(id))
      const { state, replays, updated_at, next_at, last_run_id, error } = found ?? {}
      assert.deepEqual(
        [state, replays, updated_at, next_at, last_run_id, error],
        ['open', 1, 10, 77, sampleId(9), 'late'],
      )
      assert.equal(await store.changeDeadLetter({ ...begin, at: 11 }), null)
      assert.equal(await store.changeDeadLetter({ ...begin, id: 'X' }), null)
    }),
  )
  it(
    'is due when its time has come, the earliest first',
    withStore(async (store) => {
      for (const [n, next_at] of [30, 10, 20, null, 40].entries()) await create(store, deadRun(n, { next_at }))
      const due = async (now: number, limit: number) =>
        (await store.dueDeadLetters(now, limit)).map(({ next_at }) => next_at)
      assert.deepEqual(await due(30, 9), [10, 20, 30])
      assert.deepEqual(await due(30, 2), [10, 20])
      await store.changeDeadLetter({ id: sampleId(1_001), from: ['open'], to: 'archived', at: 1 })
      assert.deepEqual(await due(30, 9), [20, 30])
    }),
  )
  it(
    'is found by its filters, page by page, newest first',
    withStore(async (store) => {
      await create(store, deadRun(1))
      await create(store, { ...deadRun(2), facts: { ...deadRun(2).facts, target: null, worker: 'mqtt' } })
      await create(store, deadRun(3))
      await store.changeDeadLetter({ id: sampleId(1_003), from: ['open'], to: 'poison', at: 1 })
      const list = async (query: Parameters<Store['listDeadLetters']>[0]) =>
        (await store.listDeadLetters(query)).map(({ run_id }) => run_id)
      const [one, two, three] = [1, 2, 3].map(sampleId)
      assert.deepEqual(await list({ limit: 2 }), [three, two])
      assert.deepEqual(await list({ limit: 2, before: sampleId(1_002) }), [one])
      assert.deepEqual(await list({ limit: 9, worker: 'mqtt' }), [two])
      assert.deepEqual(await list({ limit: 9, target: 'web-1', state: ['open'] }), [one])
      assert.deepEqual(await list({ limit: 9, state: [] }), [])
      assert.deepEqual(await list({ limit: 9, principal: 'nobody' }), [])
    }),
  )
  it(
    'is removed by id, state and age, oldest first, but not while it is replayed',
    withStore(async (store) => {
      for (const n of [1, 2, 3, 4]) await create(store, deadRun(n))
      await store.changeDeadLetter({ id: sampleId(1_001), from: ['open'], to: 'replaying', at: 1 })
      await store.changeDeadLetter({ id: sampleId(1_002), from: ['open'], to: 'replayed', at: 1 })
      assert.equal(await store.deleteDeadLetters({ before: SAMPLE_START + 900 }, 9), 0)
      assert.equal(await store.deleteDeadLetters({ state: ['replayed', 'replaying'] }, 9), 1)
      assert.equal(await store.deleteDeadLetters({ ids: [sampleId(1_004), sampleId(1_001)] }, 9), 1)
      assert.deepEqual(
        await ids(store),
        [3, 1].map((n) => sampleId(1_000 + n)),
      )
      assert.equal((await store.getRun(sampleId(4)))?.dead_letter, null)
      assert.equal(await store.deleteDeadLetters({}, 1), 1)
      const stats = await store.deadLetterStats()
      assert.deepEqual([stats.count, stats.bytes, stats.dropped], [1, 539, 0])
    }),
  )
  it(
    'is counted by its state and its worker',
    withStore(async (store) => {
      const empty = { count: 0, bytes: 0, dropped: 0, rejected: 0, oldest_at: null, by_worker: {} }
      const none = { open: 0, replaying: 0, replayed: 0, archived: 0, poison: 0 }
      assert.deepEqual(await store.deadLetterStats(), { ...empty, by_state: none })
      for (const n of [1, 2, 3]) await create(store, deadRun(n))
      await store.changeDeadLetter({ id: sampleId(1_003), from: ['open'], to: 'poison', at: 1 })
      assert.deepEqual(await store.deadLetterStats(), {
        ...empty,
        count: 3,
        bytes: 3 * 539,
        oldest_at: SAMPLE_START + 900,
        by_state: { ...none, open: 2, poison: 1 },
        by_worker: { ssh: 2 },
      })
    }),
  )
}

function describePins(withStore: WithStore): void {
  it(
    'keeps the idempotency key of its run as long as it is to be dealt with',
    withStore(async (store, clock) => {
      const key = { principal: 'agent:ops', operation: 'ssh.execute', target: 'web-1', key: 'k' }
      await create(store, { ...keyedRun(1, 'k'), ...deadRun(1) })
      await create(store, keyedRun(2, 'l'))
      const found = await store.getKeyedRun(key, SAMPLE_START)
      assert.deepEqual([found?.digest, found?.run.run_id], ['d1', sampleId(1)])
      await clock.advance(60_000)
      assert.equal(await store.expireKeys(SAMPLE_START + 60_000), 1)
      assert.equal((await store.getKeyedRun(key, clock.now()))?.run.run_id, sampleId(1))
      assert.equal(await store.getKeyedRun({ ...key, key: 'l' }, clock.now()), null)
      assert.equal((await store.createRun(keyedRun(3, 'k'))).kind, 'attached')
      await store.changeDeadLetter({ id: sampleId(1_001), from: ['open'], to: 'archived', at: 1 })
      assert.equal(await store.getKeyedRun(key, clock.now()), null)
      assert.equal(await store.expireKeys(SAMPLE_START + 60_000), 1)
    }),
  )
  it(
    'that is or was replayed keeps its run from being opened again beside it',
    withStore(async (store) => {
      await create(store, keyedRun(1, 'k'))
      await fail(store, 1)
      const id = sampleId(1_001)
      for (const [from, to] of [
        ['open', 'replaying'],
        ['replaying', 'replayed'],
      ] as const) {
        await store.changeDeadLetter({ id, from: [from], to, at: 1 })
        assert.equal((await store.createRun(keyedRun(2, 'k'))).kind, 'attached', to)
      }
    }),
  )
}
