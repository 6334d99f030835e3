import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { OperationContext, Principal } from '../../src/core/context.ts'
import type { MhvError } from '../../src/core/errors.ts'
import { PRIORITIES } from '../../src/core/operation.ts'
import { type Admission, createAdmission } from '../../src/resilience/admission.ts'
import type { RuntimeParts } from '../../src/runtime/runtime.ts'
import { ALICE, BOB, createRuntimeFixture, type FixtureOptions } from '../helpers/runtime-parts.ts'

const sleeping =
  (ms: number) =>
  async ({ clock }: OperationContext) => {
    await clock.sleep(ms)
    return { value: null }
  }

/** What runs at once on the far side, counted there: in all, and by target and principal. */
function createMeter() {
  const active = new Map<string, number>()
  const highest = new Map<string, number>()
  const change = (of: readonly string[], by: number) => {
    for (const name of of) {
      const now = (active.get(name) ?? 0) + by
      active.set(name, now)
      highest.set(name, Math.max(highest.get(name) ?? 0, now))
    }
  }
  return {
    highest: (name: string) => highest.get(name) ?? 0,
    async during(of: readonly string[], act: () => Promise<void>): Promise<void> {
      change(of, 1)
      try {
        await act()
      } finally {
        change(of, -1)
      }
    },
  }
}

const LIMITS = {
  limits: { max_concurrent: 5 },
  workerLimits: { max_concurrent: 4 },
  targetLimits: { max_concurrent: 3 },
  principalLimits: { max_concurrent: 2 },
} satisfies FixtureOptions

const calls = fc.array(
  fc.record({
    target: fc.constantFrom('one', 'two', 'vault'),
    who: fc.constantFrom(ALICE, BOB, { id: 'user:carol', kind: 'user' } satisfies Principal),
    priority: fc.constantFrom(...PRIORITIES),
    ms: fc.nat(300),
    cancelled: fc.boolean(),
  }),
  { minLength: 10, maxLength: 40 },
)
type Calls = typeof calls extends fc.Arbitrary<infer T> ? T : never

/** Runs all of them at once through the whole path, and looks at the meter of the far side afterwards. */
async function runAll(given: Calls, options: FixtureOptions): Promise<ReturnType<typeof createMeter>> {
  const meter = createMeter()
  const fixture = createRuntimeFixture({
    ...options,
    script: async (context, value) => {
      const names = ['all', `target ${context.target?.name}`, `principal ${context.principal.id}`]
      await meter.during(names, () => context.clock.sleep(Number(value), context.signal))
      return { value }
    },
  })
  const runs = given.map(async ({ target, who, priority, ms, cancelled }) => {
    const controller = new AbortController()
    if (cancelled) fixture.clock.after(Math.floor(ms / 2), () => controller.abort())
    const envelope = { target, priority }
    const more = { principal: who, signal: controller.signal }
    const result = await fixture.call('probe.script', { value: String(ms) }, envelope, more)
    assert.ok(cancelled ? result.status !== 'pending' : result.status === 'completed', result.status)
  })
  await fixture.run(Promise.all(runs), 20)
  assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  return meter
}

function checkMeter(meter: ReturnType<typeof createMeter>): void {
  const check = (name: string, limit: number) =>
    assert.ok(meter.highest(name) <= limit, `over the limit: ${name} had ${meter.highest(name)}`)
  check('all', 4)
  for (const target of ['one', 'two', 'vault']) check(`target ${target}`, 3)
  for (const who of ['user:alice', 'agent:bob', 'user:carol']) check(`principal ${who}`, 2)
}

/** An admission that lets one more in than it should at one level. */
function offByOne(kind: 'worker' | 'target' | 'principal') {
  const right = { process: 5, worker: 4, target: 3, principal: 2 }
  return ({ clock, ...parts }: RuntimeParts): RuntimeParts => {
    const admission: Admission = createAdmission({
      clock,
      agingSeconds: 10,
      limitsOf: (level) => ({
        max_concurrent: right[level.kind] + (level.kind === kind ? 1 : 0),
        queue_size: 100,
        max_queue_seconds: null,
        rate_per_second: null,
        rate_burst: 1,
        full: 'reject_new',
      }),
    })
    return { ...parts, clock, admission }
  }
}

suite('admission on the whole path', () => {
  test('RES-01: what acts at once on the far side never exceeds a limit, whatever is called and cancelled', async () => {
    await fc.assert(
      fc.asyncProperty(calls, async (given) => checkMeter(await runAll(given, LIMITS))),
      { numRuns: 40 },
    )
  })

  for (const kind of ['worker', 'target', 'principal'] as const) {
    test(`RES-01: negative control: one slot too many per ${kind} is found out`, async () => {
      await assert.rejects(
        fc.assert(
          fc.asyncProperty(calls, async (given) =>
            checkMeter(await runAll(given, { ...LIMITS, change: offByOne(kind) })),
          ),
          { numRuns: 60, endOnFailure: true },
        ),
        ({ cause }: Error) => /over the limit/.test(String(cause)),
      )
    })
  }

  test('RES-04: runs act in the order of their priorities', async () => {
    const order: string[] = []
    const fixture = createRuntimeFixture({
      limits: { max_concurrent: 1 },
      script: async (context, value) => {
        order.push(value)
        await context.clock.sleep(100)
        return { value }
      },
    })
    const names = ['first', 'low', 'normal', 'critical'] as const
    const runs = names.map((value) =>
      fixture.call('probe.script', { value }, { priority: value === 'first' ? 'normal' : value }),
    )
    await fixture.run(Promise.all(runs))
    assert.deepEqual(order, ['first', 'critical', 'normal', 'low'])
  })

  test('a run that is shed ends as failed, without having acted, and says what made it go', async () => {
    const fixture = createRuntimeFixture({
      limits: { max_concurrent: 1, queue_size: 1, full: 'shed_low' },
      script: sleeping(1_000),
    })
    const running = fixture.call('probe.script')
    await fixture.clock.advance(1)
    const low = await fixture.run(fixture.call('probe.script', {}, { priority: 'low', wait: 0 }), 1)
    const urgent = fixture.call('probe.script', {}, { priority: 'critical' })
    await fixture.clock.advance(100)
    const { run } = (await fixture.control('run_get', { run_id: low.run_id })) as { run: Record<string, unknown> }
    assert.deepEqual(
      [run.status, run.error_code, run.effect_certainty, run.attempts],
      ['failed', 'MHV_ADMISSION_SHED', 'none', 0],
    )
    const events = await fixture.store.getEvents(low.run_id, 0, 100)
    assert.deepEqual(
      events.map(({ type }) => type),
      ['accepted', 'queued', 'left_queue', 'finished'],
    )
    await fixture.run(Promise.all([running, urgent]))
  })

  test('a run that waited too long ends as failed with the limit, and leaves its place', async () => {
    const fixture = createRuntimeFixture({
      limits: { max_concurrent: 1, max_queue_seconds: 2 },
      script: sleeping(10_000),
    })
    const running = fixture.call('probe.script')
    await fixture.clock.advance(1)
    const late = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual([late.status, late.error_code, late.effect_certainty], ['failed', 'MHV_ADMISSION_EXPIRED', 'none'])
    await fixture.run(running)
  })

  test('under wait a call is held outside until there is a place, and its deadline counts from the call', async () => {
    const fixture = createRuntimeFixture({
      limits: { max_concurrent: 1, queue_size: 1, full: 'wait' },
      script: (context, value) => sleeping(Number(value))(context),
    })
    const settled: string[] = []
    const call = (name: string, value: string, more: object = {}) =>
      fixture.call('probe.script', { value }, more).then(
        ({ status }) => settled.push(`${name} ${status}`),
        ({ code }: MhvError) => settled.push(`${name} ${code}`),
      )
    const all = [call('running', '3000'), call('queued', '1000')]
    await fixture.clock.advance(1)
    all.push(call('outside', '1000', { timeout: 60 }))
    await fixture.clock.advance(1)
    assert.deepEqual(fixture.parts.admission.counts(), { running: 1, queued: 1 })
    assert.equal(fixture.parts.live.all().length, 2)
    all.push(call('one too many', '1'))
    await fixture.run(Promise.all(all))
    assert.deepEqual(settled, [
      'one too many MHV_ADMISSION_FULL',
      'running completed',
      'queued completed',
      'outside completed',
    ])
  })

  test('a call that waits outside goes with its caller, and with its deadline', async () => {
    const fixture = createRuntimeFixture({
      limits: { max_concurrent: 1, queue_size: 0, full: 'wait' },
      script: sleeping(20_000),
    })
    const running = fixture.call('probe.script')
    await fixture.clock.advance(1)
    const controller = new AbortController()
    const gone = fixture.call('probe.script', {}, {}, { signal: controller.signal })
    const refused = assert.rejects(gone, { code: 'MHV_RUN_CANCELLED_QUEUED' })
    await fixture.clock.advance(1)
    controller.abort()
    await fixture.run(refused)
    await assert.rejects(fixture.run(fixture.call('probe.script', {}, { timeout: 2 })), {
      code: 'MHV_RUN_QUEUE_TIMEOUT',
    })
    await fixture.run(running)
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  })
})
