import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { systemClock } from '../../src/core/clock.ts'
import { ERROR_CODES, ERROR_TABLE } from '../../src/core/error-table.ts'
import { mhvError } from '../../src/core/errors.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { createFakeClock } from '../../src/testing/fake-clock.ts'
import { ALICE, BOB, createRuntimeFixture, type FixtureOptions } from '../helpers/runtime-parts.ts'

const KEY = { idempotency_key: 'k' }

/** The mechanism off: a journal that knows no keys. */
function withoutKeys(store: Store): Store {
  return { ...store, createRun: ({ idempotency: _none, ...run }) => store.createRun(run) }
}

/** A fixture that counts what acted. */
function counting(options: FixtureOptions = {}) {
  const acts: string[] = []
  const fixture = createRuntimeFixture({
    async script(context, value) {
      acts.push(value)
      await context.clock.sleep(200, context.signal)
      return { value }
    },
    ...options,
  })
  return { ...fixture, acts }
}

const ids = (results: readonly WorkerResult[]) => [...new Set(results.map(({ run_id }) => run_id))]

suite('CORE-02: idempotency keys', () => {
  test('CORE-02: fifty calls at once with one key are one run with one effect', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mhv-keys-'))
    const sqlite = await openSqliteStore({ path: join(folder, 'journal.db') })
    for (const clock of [createFakeClock(0), systemClock]) {
      const store = clock === systemClock ? sqlite : createMemoryStore(clock)
      const fifty = async (f: ReturnType<typeof counting>) => {
        const calls = Promise.all(Array.from({ length: 50 }, () => f.call('probe.script', { value: 'x' }, KEY)))
        return clock === systemClock ? calls : f.run(calls)
      }
      const fixture = counting({ clock, store })
      const results = await fifty(fixture)
      assert.equal(ids(results).length, 1)
      assert.deepEqual(fixture.acts, ['x'])
      assert.ok(
        results.every(({ status, data }) => status === 'completed' && (data as { value: string }).value === 'x'),
      )
      assert.equal((await store.listRuns({ limit: 100 })).length, 1)
      assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })

      // Negative control: with a journal that knows no keys, each call acts.
      const without = counting({ clock, store: withoutKeys(store) })
      const many = await fifty(without)
      assert.equal(ids(many).length, 50)
      assert.equal(without.acts.length, 50)
    }
    await sqlite.close()
    await rm(folder, { recursive: true })
  })

  test('CORE-02: a duplicate attaches to its run where there is no room for another', async () => {
    const limits = { max_concurrent: 1, queue_size: 0 }
    const fixture = counting({ limits })
    const twice = (f: ReturnType<typeof counting>) => [0, 1].map(() => f.call('probe.script', { value: 'x' }, KEY))
    const first = twice(fixture)
    const full = fixture.call('probe.script', { value: 'x' }, { idempotency_key: 'other' })
    const another = fixture.call('probe.script', { value: 'y' }, KEY)
    await Promise.all([
      assert.rejects(fixture.run(full), { code: 'MHV_ADMISSION_FULL' }),
      assert.rejects(fixture.run(another), { code: 'MHV_IDEMPOTENCY_MISMATCH' }),
    ])
    assert.equal(ids(await fixture.run(Promise.all(first))).length, 1)
    assert.deepEqual(fixture.acts, ['x'])
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })

    // Negative control: where the key is not looked up, the duplicate is turned away.
    const blind = counting({
      limits,
      store: { ...createMemoryStore(createFakeClock(0)), getKeyedRun: async () => null },
    })
    const [one, other] = twice(blind)
    await assert.rejects(blind.run(other as Promise<WorkerResult>), { code: 'MHV_ADMISSION_FULL' })
    await blind.run(one as Promise<WorkerResult>)
  })

  test('CORE-02: a duplicate attaches to the run in flight, waits with it, and sees its progress', async () => {
    const fixture = counting({
      async script(context, value) {
        await context.clock.sleep(100, context.signal)
        await context.progress({ progress: 1, message: 'half' })
        await context.clock.sleep(100, context.signal)
        return { value }
      },
    })
    const first = fixture.call('probe.script', { value: 'x' }, KEY)
    await fixture.clock.advance(50)
    const handle = await fixture.run(fixture.call('probe.script', { value: 'x' }, { ...KEY, wait: 0 }), 1)
    assert.equal(handle.status, 'running')
    const seen: unknown[] = []
    const onProgress = (progress: unknown) => seen.push(progress)
    const second = fixture.call('probe.script', { value: 'x' }, KEY, { onProgress })
    assert.deepEqual(ids(await fixture.run(Promise.all([first, second]))), [handle.run_id])
    assert.deepEqual(seen, [{ progress: 1, message: 'half' }])
  })

  test('CORE-02: a call after the end gives the same result again, without acting', async () => {
    const fixture = counting()
    const first = await fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
    const again = await fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
    assert.deepEqual(again, first)
    assert.equal(fixture.acts.length, 1)
  })

  test('CORE-02: a run that ends while a duplicate is told about it is not reported as unfinished', async () => {
    const clock = createFakeClock(0)
    const memory = createMemoryStore(clock)
    // The duplicate's answer comes late: by then the run that it names has ended.
    let late = false
    const store: Store = {
      ...memory,
      async createRun(run) {
        const outcome = await memory.createRun(run)
        if (late) await clock.sleep(1_000)
        return outcome
      },
    }
    const fixture = counting({ clock, store })
    const first = fixture.call('probe.script', { value: 'x' }, KEY)
    await clock.advance(50)
    late = true
    const second = await fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
    assert.equal(second.status, 'completed')
    assert.equal(second.run_id, (await first).run_id)
  })

  test('CORE-02: another input under the same key is refused, whatever differs', async () => {
    const fixture = counting()
    const first = await fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
    await assert.rejects(fixture.run(fixture.call('probe.script', { value: 'y' }, KEY)), {
      code: 'MHV_IDEMPOTENCY_MISMATCH',
      details: { run_id: first.run_id },
    })
    assert.equal(fixture.acts.length, 1)
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
    // A default that is written out is the same input; so are envelope fields that only say how to wait.
    const same = await fixture.run(fixture.call('probe.touch', {}, { idempotency_key: 'd' }))
    const spelt = fixture.call(
      'probe.touch',
      { value: '' },
      { idempotency_key: 'd', wait: 3, priority: 'low', reason: 'r' },
    )
    assert.equal((await fixture.run(spelt)).run_id, same.run_id)
  })

  test('CORE-02: a key belongs to one principal, one operation and one target', async () => {
    const fixture = counting()
    const call = (operation: string, target: string, principal = ALICE) =>
      fixture.run(fixture.call(operation, { value: 'x' }, { ...KEY, target }, { principal }))
    const results = [
      await call('probe.script', 'one'),
      await call('probe.script', 'two'),
      await call('probe.repeat', 'one'),
      await call('probe.script', 'one', BOB),
    ]
    assert.equal(ids(results).length, 4)
    assert.equal(fixture.acts.length, 4)
    assert.deepEqual(ids([await call('probe.script', 'one'), ...results.slice(0, 1)]).length, 1)
  })

  test('CORE-02: after a failure with certainty none the same run is tried again, and only then: every code', async () => {
    for (const code of ERROR_CODES) {
      let failing = true
      const fixture = counting({
        script: (_context, value) => {
          if (failing) throw mhvError(code, 'told to')
          return { value }
        },
      })
      const failed = await fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
      failing = false
      const again = await fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
      assert.equal(again.run_id, failed.run_id, code)
      const mayRunAgain = failed.effect_certainty === 'none'
      assert.equal(again.status, mayRunAgain ? 'completed' : failed.status, code)
      assert.equal(again.attempts, failed.attempts + (mayRunAgain ? 1 : 0), code)
      // What the journal itself throws within an operation says nothing of what the operation had done by then.
      const ofJournal = /^MHV_(JOURNAL_|DISK_LOW|INSTANCE_FENCED)/.test(code)
      assert.equal(mayRunAgain, ERROR_TABLE[code].phase === 'before-effect' && !ofJournal, code)
    }
  })

  test('CORE-02: what was cancelled or timed out while it acted is not run again', async () => {
    for (const status of ['timeout', 'cancelled'] as const) {
      const fixture = counting({ script: (context) => context.clock.sleep(1e9, context.signal) })
      const controller = new AbortController()
      if (status === 'cancelled') fixture.clock.after(100, () => controller.abort())
      const envelope = { ...KEY, timeout: 1 }
      const first = await fixture.run(fixture.call('probe.script', {}, envelope, { signal: controller.signal }))
      assert.deepEqual([first.status, first.effect_certainty], [status, 'unknown'])
      const again = await fixture.run(fixture.call('probe.script', {}, envelope))
      assert.deepEqual(again, first)
    }
  })

  test('CORE-02: attempts go on counting, and the log of the run tells that it was opened again', async () => {
    let failures = 2
    const fixture = counting({
      script: (_context, value) => {
        if (failures-- > 0) throw mhvError('MHV_EXEC_NOT_FOUND', 'not there')
        return { value }
      },
    })
    const call = () => fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
    const results = [await call(), await call(), await call()]
    assert.deepEqual(
      results.map(({ attempts }) => attempts),
      [1, 2, 3],
    )
    const { events } = (await fixture.control('run_get', { run_id: results[0]?.run_id })) as {
      events: { type: string }[]
    }
    const types = events.map(({ type }) => type)
    assert.equal(types.filter((type) => type === 'reopened').length, 2)
    assert.equal(types.filter((type) => type === 'finished').length, 3)
    assert.equal(types.at(-1), 'finished')
  })

  test('CORE-02: a run that is opened again before its last end was acknowledged can still be found and cancelled', async () => {
    const clock = createFakeClock(0)
    const memory = createMemoryStore(clock)
    const store: Store = {
      ...memory,
      async changeRun(change) {
        const changed = await memory.changeRun(change)
        if (change.end !== undefined) await clock.sleep(1_000)
        return changed
      },
    }
    let failing = true
    const script: FixtureOptions['script'] = async (context) => {
      if (failing) throw mhvError('MHV_EXEC_NOT_FOUND', 'not there')
      await context.clock.sleep(60_000, context.signal)
    }
    const fixture = counting({ clock, store, script })
    const first = fixture.call('probe.script', {}, KEY)
    await clock.advance(500)
    failing = false
    const again = await fixture.run(fixture.call('probe.script', {}, { ...KEY, wait: 0 }), 1)
    assert.equal((await fixture.run(first)).status, 'failed')
    await clock.advance(1_000)
    assert.equal(fixture.parts.live.get(again.run_id)?.record().status, 'running')
    const { ended } = await fixture.run(fixture.control('run_cancel', { run_id: again.run_id }))
    assert.equal(ended, true)
    assert.deepEqual([fixture.parts.live.all(), fixture.parts.admission.counts()], [[], { running: 0, queued: 0 }])
  })

  test('CORE-02: a key is kept for its days and then free again', async () => {
    const fixture = counting()
    const call = () => fixture.run(fixture.call('probe.script', { value: 'x' }, KEY))
    const first = await call()
    await fixture.clock.advance(7 * 86_400_000 - 10_000)
    assert.equal((await call()).run_id, first.run_id)
    await fixture.clock.advance(20_000)
    assert.notEqual((await call()).run_id, first.run_id)
  })

  test('a duplicate that goes away leaves the run to those who still wait for it; the last one takes it along', async () => {
    const controllers = [new AbortController(), new AbortController()]
    const fixture = counting({ script: (context) => context.clock.sleep(10_000, context.signal) })
    const calls = controllers.map(({ signal }) => fixture.call('probe.script', {}, KEY, { signal }))
    await fixture.clock.advance(100)
    controllers[0]?.abort()
    await fixture.clock.advance(100)
    assert.equal(fixture.parts.live.all().length, 1)
    const [live] = fixture.parts.live.all()
    assert.equal(live?.record().status, 'running')
    const types = async () => (await fixture.store.getEvents(live?.run_id ?? '', 0, 100)).map(({ type }) => type)
    assert.deepEqual(await types(), ['accepted', 'started', 'caller_left'])
    controllers[1]?.abort()
    assert.deepEqual(
      (await fixture.run(Promise.all(calls))).map(({ status }) => status),
      ['cancelled', 'cancelled'],
    )
    assert.deepEqual(await types(), ['accepted', 'started', 'caller_left', 'cancel_requested', 'finished'])
  })

  test('whoever has the handle keeps the run, also when a duplicate goes away', async () => {
    const fixture = counting()
    const handle = await fixture.run(fixture.call('probe.script', { value: 'x' }, { ...KEY, wait: 0 }), 1)
    const controller = new AbortController()
    const duplicate = fixture.call('probe.script', { value: 'x' }, KEY, { signal: controller.signal })
    await fixture.clock.advance(1)
    controller.abort()
    assert.equal((await fixture.run(duplicate)).status, 'completed')
    assert.equal((await duplicate).run_id, handle.run_id)
  })
})
