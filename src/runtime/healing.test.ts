import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type FixtureOptions, type Script } from '../../test/helpers/runtime-parts.ts'
import type { OperationContext } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import type { OperationSpec } from '../core/operation.ts'
import type { AnyWorker } from '../core/worker.ts'
import { createMemoryStore } from '../store/memory.ts'
import type { RunRecord, Store } from '../store/store.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createHealing, type Resume } from './healing.ts'
import { resumeRun } from './resume.ts'

const forever: Script = (context) => context.clock.sleep(1e9, context.signal)
const never: Resume = async () => false

/** A journal as a killed process leaves it, and what the next process makes of it. */
async function left(next: FixtureOptions = {}) {
  const clock = createFakeClock(0)
  const store = createMemoryStore(clock)
  const killed = createRuntimeFixture({
    clock,
    store,
    script: forever,
    limits: { max_concurrent: 2, queue_size: 5 } as never,
  })
  const handle = (operation: string) => killed.run(killed.call(operation, {}, { wait: 0 }), 1)
  const runs = [await handle('probe.script'), await handle('probe.peek'), await handle('probe.touch')]
  const kept = await Promise.all(runs.map(({ run_id }) => store.getRun(run_id)))
  const fixture = createRuntimeFixture({ clock, store: asNext(store), ...next })
  return { clock, store, fixture, runs, kept: kept as RunRecord[] }
}

/** The same journal, opened after the process before. */
function asNext(store: Store): Store {
  const mine = (run: RunRecord | null) => (run === null ? null : { ...run, fence: 2 })
  return { ...store, fence: 2, adoptRun: async (adoption) => mine(await store.adoptRun(adoption)) }
}

/** The probe, whose scripted write can be taken up again. */
function resumable(resume: Script) {
  return (worker: AnyWorker): AnyWorker => ({
    ...worker,
    operations: worker.operations.map(
      (spec): OperationSpec =>
        spec.id === 'probe.script'
          ? { ...spec, resume: async (context, input) => (await resume(context, String(input.value))) as never }
          : spec,
    ),
  })
}

suite('RES-02 runs of a process that is gone', () => {
  test('what acted is unknown, what read changed nothing, what waited was never begun; and all of it is in the log', async () => {
    const { store, fixture, runs } = await left()
    const healing = createHealing(fixture.parts, never)
    const { ended } = await healing.pass()
    assert.deepEqual(
      ended.map(({ run_id, status, end }) => [run_id, status, end?.error_code, end?.effect_certainty, end?.attempts]),
      [
        [runs[0]?.run_id, 'failed', 'MHV_RUN_INTERRUPTED', 'unknown', 1],
        [runs[1]?.run_id, 'failed', 'MHV_RUN_INTERRUPTED', 'none', 1],
        [runs[2]?.run_id, 'failed', 'MHV_RUN_NOT_STARTED', 'none', 0],
      ],
    )
    assert.deepEqual(await store.unfinishedRuns(), [])
    const events = await store.getEvents(runs[0]?.run_id ?? '', 0, 10)
    assert.deepEqual(events.at(-1)?.data, {
      was: 'running',
      status: 'failed',
      effect_certainty: 'unknown',
      error_code: 'MHV_RUN_INTERRUPTED',
      fence: 1,
    })
    assert.equal(fixture.log.filter(({ level }) => level === 'warn').length, 3)
    // The writes have their dead letters, the read has none.
    assert.deepEqual(
      await Promise.all(runs.map(async ({ run_id }) => (await store.getRun(run_id))?.dead_letter !== null)),
      [true, false, true],
    )
    // Once is enough: the second time there is nothing to do.
    assert.deepEqual((await healing.pass()).ended, [])
  })

  test('a run that somebody ended meanwhile is left alone', async () => {
    const { store, fixture, runs, kept } = await left()
    await createHealing(fixture.parts, never).pass()
    const before = await Promise.all(runs.map(({ run_id }) => store.getRun(run_id)))
    const stale = { ...fixture.parts, store: { ...fixture.parts.store, unfinishedRuns: async () => kept } }
    assert.deepEqual((await createHealing(stale, never).pass()).ended, [])
    assert.deepEqual(await Promise.all(runs.map(({ run_id }) => store.getRun(run_id))), before)
  })

  test('a journal that takes nothing stops the start', async () => {
    const { fixture } = await left()
    const full = async () => {
      throw mhvError('MHV_JOURNAL_FULL', 'no room')
    }
    const parts = { ...fixture.parts, store: { ...fixture.parts.store, changeRun: full } }
    await assert.rejects(createHealing(parts, never).pass(), { code: 'MHV_JOURNAL_FULL' })
  })

  test('are taken up again where the operation declares it: the same run, its next attempt, and only once', async () => {
    const seen: [string, number, string][] = []
    const { clock, store, fixture, runs } = await left({
      worker: resumable(async (context, value) => {
        seen.push([context.run_id, context.attempt, value])
        await context.clock.sleep(100)
        return { value: 'the rest' }
      }),
    })
    const givingUp = new AbortController().signal
    const healing = createHealing(fixture.parts, (run) => resumeRun(fixture.parts, run, { givingUp }))
    const run_id = runs[0]?.run_id ?? ''
    const first = await healing.pass()
    assert.deepEqual([first.resumed, first.ended.length], [[run_id], 2])
    assert.deepEqual((await healing.pass()).resumed, [])
    await clock.advance(200)
    const run = await store.getRun(run_id)
    assert.deepEqual(
      [run?.status, run?.end?.data, run?.end?.attempts, run?.end?.effect_certainty],
      ['completed', { value: 'the rest' }, 2, 'applied'],
    )
    assert.deepEqual(seen, [[run_id, 2, '']])
    const log = await store.getEvents(run_id, 0, 20)
    assert.deepEqual(
      log.map(({ type }) => type),
      ['accepted', 'started', 'resumed', 'finished'],
    )
    assert.deepEqual(log[2]?.data, { attempt: 2, was_fence: 1, fence: 2 })
  })

  test('SSH-07: what cannot be taken up with this input is ended; behind what was, it is tidied up after its end', async () => {
    for (const resumes of [false, true]) {
      const seen: string[] = []
      const worker = resumable(async () => ({ value: 'the rest' }))
      const { clock, store, fixture, runs } = await left({
        worker: (given: AnyWorker) => {
          const made = worker(given)
          const more = {
            resumes: () => resumes,
            settle: async ({ run_id }: { run_id: string }) => {
              seen.push((await store.getRun(run_id))?.status ?? '')
            },
          }
          return { ...made, operations: made.operations.map((spec) => ({ ...spec, ...more })) as OperationSpec[] }
        },
      })
      const givingUp = new AbortController().signal
      const healing = createHealing(fixture.parts, (run) => resumeRun(fixture.parts, run, { givingUp }))
      assert.equal((await healing.pass()).resumed.length, resumes ? 1 : 0)
      await clock.advance(1_000)
      const { status, end } = (await store.getRun(runs[0]?.run_id ?? '')) ?? {}
      assert.deepEqual([status, end?.error_code], resumes ? ['completed', null] : ['failed', 'MHV_RUN_INTERRUPTED'])
      assert.deepEqual(seen, resumes ? ['completed'] : [])
    }
  })

  test('RES-03: what the process before may have done stays unknown, whatever keeps it from being taken up again', async () => {
    const ways: Record<string, (fixture: Awaited<ReturnType<typeof left>>['fixture']) => unknown> = {
      'it does not get through': () => undefined,
      'the breaker is open': ({ parts }) => parts.breakers.force('probe', 'one', 'open'),
      'it is cancelled before it acts': ({ parts }) => {
        for (const run of parts.live.all()) run.abort(mhvError('MHV_RUN_CANCELLED', 'told to'))
      },
    }
    for (const [name, prepare] of Object.entries(ways)) {
      const worker = resumable(() => {
        throw mhvError('MHV_SSH_CONNECT_REFUSED', 'refused')
      })
      const { clock, store, fixture, runs } = await left({ worker })
      if (name.includes('breaker')) await prepare(fixture)
      const healing = createHealing(fixture.parts, (run) =>
        resumeRun(fixture.parts, run, { givingUp: new AbortController().signal }),
      )
      const pass = healing.pass()
      while (fixture.parts.live.all().length === 0) await Promise.resolve()
      if (!name.includes('breaker')) await prepare(fixture)
      assert.equal((await pass).resumed.length, 1, name)
      await clock.advance(60_000)
      const end = (await store.getRun(runs[0]?.run_id ?? ''))?.end
      assert.deepEqual([end === null, end?.effect_certainty], [false, 'unknown'], `${name}: ${end?.error_code}`)
    }
  })

  test('are ended and not taken up again without permission, without their target, or after their deadline', async () => {
    const worker = resumable(() => assert.fail('it acted'))
    const policy = 'version: 1\nname: none\nrules: []\n'
    for (const next of [{ policy }, { gone: true }, { late: true }]) {
      const { clock, store, fixture, runs } = await left({ worker, ...('policy' in next ? next : {}) })
      if ('late' in next) await clock.advance(60_000)
      const environment = {
        ...fixture.parts.environment,
        resolveTarget() {
          throw mhvError('MHV_TARGET_UNKNOWN', 'gone')
        },
      }
      const parts = 'gone' in next ? { ...fixture.parts, environment } : fixture.parts
      // The killed process itself would end them at their deadline; it does not run any longer.
      const healing = createHealing(parts, (run) => resumeRun(parts, run, { givingUp: new AbortController().signal }))
      const { resumed } = await healing.pass()
      assert.deepEqual(resumed, [])
      assert.notEqual((await store.getRun(runs[0]?.run_id ?? ''))?.end, null, JSON.stringify(next))
    }
  })
})

suite('RES-02 runs of this process', () => {
  test('whose end got lost are ended at the second pass that finds them in no hands', async () => {
    const memory = createMemoryStore(createFakeClock(0))
    let broken = true
    const store: Store = {
      ...memory,
      async changeRun(change) {
        // Not a lack of room, which passes: it is not tried again.
        if (broken && change.end !== undefined) throw mhvError('MHV_INTERNAL', 'told to')
        return memory.changeRun(change)
      },
    }
    const fixture = createRuntimeFixture({ store })
    const call = fixture.call('probe.script')
    await assert.rejects(fixture.run(call), { code: 'MHV_RUN_INTERRUPTED' })
    broken = false
    const healing = createHealing(fixture.parts, never)
    assert.deepEqual((await healing.pass()).ended, [])
    const { ended } = await healing.pass()
    assert.deepEqual(
      ended.map(({ end }) => [end?.error_code, end?.effect_certainty]),
      [['MHV_RUN_INTERRUPTED', 'unknown']],
    )
  })

  test('that are live are never touched before their time, whatever the wall clock says', async () => {
    let jump = 0
    const clock = createFakeClock(0)
    const jumping = { ...clock, now: () => clock.now() + jump }
    const fixture = createRuntimeFixture({ clock: jumping, script: forever })
    const handle = await fixture.run(fixture.call('probe.script', {}, { wait: 0 }), 1)
    const healing = createHealing(fixture.parts, never)
    for (jump of [0, 86_400_000, -86_400_000]) {
      assert.deepEqual(await healing.pass(), { ended: [], resumed: [], stuck: [] })
    }
    assert.equal((await fixture.store.getRun(handle.run_id))?.status, 'running')
  })

  test('that do not end long after their deadline are given up, once, and whatever they come to later changes nothing', async () => {
    const gate = Promise.withResolvers<unknown>()
    // Hangs where no signal reaches: no deadline and no grace time ends it.
    const fixture = createRuntimeFixture({
      script: forever,
      runs: { abort_grace_seconds: 5 },
      change: (parts) => ({ ...parts, lease: { ...parts.lease, confirm: async () => void (await gate.promise) } }),
    })
    const healing = createHealing(fixture.parts, never)
    const call = fixture.call('probe.script', {}, { timeout: 30 })
    await fixture.clock.advance(10)
    assert.deepEqual((await healing.pass()).stuck, [])
    await fixture.clock.advance(39_900)
    assert.deepEqual((await healing.pass()).stuck, [])
    await fixture.clock.advance(200)
    const { stuck } = await healing.pass()
    assert.equal(stuck.length, 1)
    assert.deepEqual((await healing.pass()).stuck, [])
    const result = await fixture.run(call)
    assert.deepEqual(
      [result.run_id, result.status, result.error_code, result.effect_certainty],
      [stuck[0], 'timeout', 'MHV_RUN_STUCK', 'unknown'],
    )
    const before = await fixture.store.getRun(result.run_id)
    gate.resolve(undefined)
    await fixture.clock.advance(100)
    assert.deepEqual(await fixture.store.getRun(result.run_id), before)
    assert.deepEqual(fixture.parts.live.all(), [])
    assert.equal(fixture.parts.admission.counts().running, 0)
  })

  test('that take back what they did are given the time for that, and no more', async () => {
    for (const [hangs, code] of [
      [false, 'MHV_RUN_TIMEOUT'],
      [true, 'MHV_RUN_STUCK'],
    ] as const) {
      const gate = Promise.withResolvers<unknown>()
      let connects = 0
      let ended = false
      const fixture = createRuntimeFixture({
        script: forever,
        runs: { abort_grace_seconds: 5 },
        worker: (probe) => ({
          ...probe,
          recovery: { codes: { MHV_RUN_TIMEOUT: { strategy: 'rollback', max_attempts: 1 } }, categories: {} },
          operations: probe.operations.map(
            (spec): OperationSpec => ({
              ...spec,
              async compensate(context: OperationContext) {
                // It does not listen.
                await context.clock.sleep(25_000)
                ended = true
              },
            }),
          ),
        }),
        change: (parts) => ({
          ...parts,
          lease: {
            ...parts.lease,
            async confirm() {
              connects += 1
              if (hangs && connects === 2) await gate.promise
            },
          },
        }),
      })
      const healing = createHealing(fixture.parts, never)
      const call = fixture.call('probe.script', {}, { timeout: 30 })
      await fixture.clock.advance(10)
      assert.deepEqual((await healing.pass()).stuck, [])
      await fixture.clock.advance(50_000)
      assert.deepEqual((await healing.pass()).stuck, [])
      await fixture.clock.advance(30_000)
      assert.equal((await healing.pass()).stuck.length, hangs ? 1 : 0)
      const { run_id } = await fixture.run(call)
      const run = await fixture.store.getRun(run_id)
      assert.deepEqual([run?.end?.error_code, ended], [code, !hangs])
      assert.equal(fixture.parts.admission.counts().running, 0)
      gate.resolve(undefined)
      await fixture.clock.advance(60_000)
      assert.equal(ended, !hangs, 'what was given up does not act later')
    }
  })

  test('are looked after every heal_seconds until that is stopped', async () => {
    let passes = 0
    const fixture = createRuntimeFixture({ runs: { heal_seconds: 30 } })
    const store: Store = {
      ...fixture.store,
      async assertOwner() {
        passes += 1
        if (passes === 1) throw mhvError('MHV_JOURNAL_FULL', 'one that fails is not the last')
      },
    }
    const healing = createHealing({ ...fixture.parts, store }, never)
    healing.begin()
    await fixture.clock.advance(90_000)
    assert.equal(passes, 3)
    healing.stop()
    await fixture.clock.advance(90_000)
    assert.equal(passes, 3)
  })

  test('each pass removes the idempotency keys whose time is over, also where runs could not be looked after', async () => {
    for (const broken of [false, true]) {
      const fixture = createRuntimeFixture()
      const { store, clock } = fixture
      const assertOwner = async () => {
        throw mhvError('MHV_JOURNAL_UNAVAILABLE', 'not now')
      }
      const parts = broken ? { ...fixture.parts, store: { ...store, assertOwner } } : fixture.parts
      await fixture.run(fixture.call('probe.script', {}, { idempotency_key: 'old' }))
      await clock.advance(7 * 86_400_000)
      await fixture.run(fixture.call('probe.script', {}, { idempotency_key: 'new' }))
      const healing = createHealing(parts, never)
      healing.begin()
      await clock.advance(30_000)
      healing.stop()
      // What the pass has left: nothing now, and the new one when its time is over.
      assert.equal(await store.expireKeys(clock.now()), 0)
      assert.equal(await store.expireKeys(clock.now() + 7 * 86_400_000), 1)
    }
  })
})
