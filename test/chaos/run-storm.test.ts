import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { mhvError } from '../../src/core/errors.ts'
import { isFinal, type WorkerResult } from '../../src/core/result.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { createFakeClock } from '../../src/testing/fake-clock.ts'
import { createRuntimeFixture, type Script } from '../helpers/runtime-parts.ts'

/** What the far side does with one act; only `clean` and `refused` leave it as it was. */
const outcomes = ['done', 'clean', 'refused', 'lost', 'slow', 'deaf', 'defect'] as const

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('call' as const),
      operation: fc.constantFrom('probe.script', 'probe.repeat', 'probe.peek'),
      target: fc.constantFrom('one', 'two'),
      key: fc.option(fc.constantFrom('k1', 'k2', 'k3')),
      outcome: fc.constantFrom(...outcomes),
      timeout: fc.constantFrom(0.5, 5, 60),
      wait: fc.constantFrom(0, 0.2, 100),
      priority: fc.constantFrom('critical' as const, 'normal' as const, 'low' as const),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.nat(3_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('leave' as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat(20) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('journal' as const),
      fails: fc.constantFrom(null, 'createRun', 'changeRun', 'appendOutput'),
    }),
  },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

/** What each run changed on the far side, and how many acted at once: counted outside of the path. */
interface Ledger {
  readonly effects: Map<string, number>
  active: number
  highest: number
}

const LIMIT = 3

function storm(wrap: (store: Store) => Store) {
  const clock = createFakeClock(0)
  const memory = createMemoryStore(clock)
  const ledger: Ledger = { effects: new Map(), active: 0, highest: 0 }
  const mood: { fails: string | null } = { fails: null }
  const failing =
    <A extends unknown[], R>(name: string, act: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await clock.sleep(3)
      if (mood.fails === name) throw mhvError('MHV_JOURNAL_FULL', 'no room')
      return act(...args)
    }
  const store = wrap({
    ...memory,
    createRun: failing('createRun', memory.createRun),
    changeRun: failing('changeRun', memory.changeRun),
    appendOutput: failing('appendOutput', memory.appendOutput),
  })
  const fixture = createRuntimeFixture({
    clock,
    store,
    script: farSide(ledger),
    limits: { max_concurrent: LIMIT, queue_size: 6 },
    runs: { abort_grace_seconds: 1 },
  })
  return { clock, memory, ledger, mood, fixture }
}

function farSide(ledger: Ledger): Script {
  return async (context, value) => {
    const outcome = value.split(' ')[0]
    const deaf = outcome === 'deaf'
    if (!deaf) ledger.active += 1
    ledger.highest = Math.max(ledger.highest, ledger.active)
    try {
      await context.output.write('stdout', Buffer.from(`attempt ${context.attempt}`))
      if (outcome === 'clean') throw mhvError('MHV_EXEC_NOT_FOUND', 'nothing there')
      if (outcome === 'refused') throw mhvError('MHV_SSH_CONNECT_REFUSED', 'refused')
      ledger.effects.set(context.run_id, (ledger.effects.get(context.run_id) ?? 0) + 1)
      if (outcome === 'lost') throw mhvError('MHV_SSH_CONNECTION_LOST', 'lost')
      if (outcome === 'defect') throw new Error('a defect')
      if (outcome === 'slow') await context.clock.sleep(1_000, context.signal)
      if (deaf) await context.clock.sleep(20_000)
      return { value }
    } finally {
      if (!deaf) ledger.active -= 1
    }
  }
}

type Storm = ReturnType<typeof storm>

async function walk({ clock, mood, fixture }: Storm, steps: readonly Step[]): Promise<readonly WorkerResult[]> {
  const calls: { readonly controller: AbortController; readonly answer: Promise<WorkerResult | null> }[] = []
  const handles: string[] = []
  for (const each of steps) {
    if (each.do === 'pass') await clock.advance(each.ms)
    if (each.do === 'journal') mood.fails = each.fails
    if (each.do === 'leave') calls[each.which % Math.max(1, calls.length)]?.controller.abort()
    if (each.do === 'cancel' && handles.length > 0) {
      const run_id = handles[each.which % handles.length] as string
      fixture.control('run_cancel', { run_id }).catch(() => undefined)
    }
    if (each.do !== 'call') continue
    const controller = new AbortController()
    const { operation, target, key, outcome, timeout, wait, priority } = each
    // The input of a key is always the same, so that its calls are duplicates.
    const value = key === null ? outcome : `done ${key}`
    const envelope = { target, timeout, wait, priority, ...(key === null ? {} : { idempotency_key: key }) }
    const answer = fixture
      .call(operation, { value }, envelope, { signal: controller.signal })
      .catch((error: { code?: string }) => {
        assert.match(String(error.code), /^MHV_(ADMISSION_FULL|JOURNAL_FULL|RUN_CANCELLED_QUEUED)$/)
        return null
      })
    calls.push({ controller, answer })
    void answer.then((result) => result && handles.push(result.run_id))
    await clock.advance(1)
  }
  mood.fails = null
  const answers = await fixture.run(Promise.all(calls.map(({ answer }) => answer)), 500)
  await fixture.run(Promise.all(fixture.parts.live.all().map(({ done }) => done)), 500)
  return answers.filter((result) => result !== null)
}

async function check({ memory, ledger, fixture }: Storm, answers: readonly WorkerResult[]): Promise<void> {
  assert.deepEqual(fixture.parts.live.all(), [])
  assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  assert.ok(ledger.highest <= LIMIT, `${ledger.highest} acted at once`)
  assert.deepEqual(await memory.unfinishedRuns(), [])
  const runs = new Map((await memory.listRuns({ limit: 1_000 })).map((run) => [run.run_id, run]))
  for (const run_id of ledger.effects.keys()) assert.ok(runs.has(run_id), 'a run acted and is not in the journal')
  for (const run of runs.values()) {
    const effects = ledger.effects.get(run.run_id) ?? 0
    const certainty = run.end?.effect_certainty
    if (run.effect === 'read') assert.equal(certainty, 'none')
    else if (effects > 0) assert.notEqual(certainty, 'none', `${run.end?.error_code} after ${effects} effects`)
    else assert.notEqual(certainty, 'applied')
    if (run.operation === 'probe.script')
      assert.ok(effects <= 1, `${effects} effects of one run that is not idempotent`)
  }
  for (const answer of answers) {
    const run = runs.get(answer.run_id)
    assert.ok(run, 'a handle was given out and its run is not in the journal')
    if (isFinal(answer.status) && answer.status === 'completed') assert.equal(run.status, 'completed')
  }
  const ofKeys = Map.groupBy(
    [...runs.values()].filter(
      ({ input, effect }) => /^done k/.test((input as { value: string }).value) && effect !== 'read',
    ),
    ({ operation, target, input }) => JSON.stringify([operation, target, input]),
  )
  for (const [key, same] of ofKeys) assert.equal(same.length, 1, `${same.length} runs of the key ${key}`)
  const events = await Promise.all([...runs.keys()].map((run_id) => memory.getEvents(run_id, 0, 1_000)))
  for (const log of events) assert.equal(log.at(-1)?.type, 'finished', log.map(({ type }) => type).join(' '))
}

const property = (wrap: (store: Store) => Store) =>
  fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }), async (steps) => {
    const one = storm(wrap)
    await check(one, await walk(one, steps))
  })

suite('a storm of calls, cancellations, deadlines and failures of the journal', () => {
  test('leaks no slot, loses no run, does nothing twice, and is never certain of what is not', async () => {
    await fc.assert(
      property((store) => store),
      { numRuns: 150, interruptAfterTimeLimit: 60_000 },
    )
  })

  test('negative control: a journal that forgets keys is found out', async () => {
    const forgetful = (store: Store): Store => ({
      ...store,
      createRun: ({ idempotency: _none, ...run }) => store.createRun(run),
    })
    await assert.rejects(fc.assert(property(forgetful), { numRuns: 150, endOnFailure: true }), (error: Error) => {
      assert.match(String(error.cause), /runs of the key/)
      return true
    })
  })
})
