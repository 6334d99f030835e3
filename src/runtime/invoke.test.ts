import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ALICE, BOB, createRuntimeFixture } from '../../test/helpers/runtime-parts.ts'
import { mhvError, toMhvError } from '../core/errors.ts'
import { anyResultSchema } from '../core/result.ts'
import { decide, NO_POLICY } from '../governance/policy.ts'
import { parsePolicy } from '../governance/policy-file.ts'
import { createMemoryStore } from '../store/memory.ts'
import type { Store } from '../store/store.ts'
import { createFakeClock } from '../testing/fake-clock.ts'

suite('a call', () => {
  test('gives the finished result in the wire shape, and the journal has the same', async () => {
    const fixture = createRuntimeFixture()
    const result = await fixture.run(fixture.call('probe.touch', { value: 'x' }, { reason: 'because' }))
    assert.deepEqual(anyResultSchema.parse(result), result)
    assert.equal(result.status, 'completed')
    assert.equal(result.effect_certainty, 'applied')
    assert.deepEqual([result.output, result.data, result.exit_code, result.attempts], ['x', { value: 'x' }, 0, 1])
    assert.equal(result.metadata.reason, 'because')
    const { run, events } = await fixture.control('run_get', { run_id: result.run_id })
    assert.deepEqual(run, result)
    assert.deepEqual(
      (events as { type: string }[]).map(({ type }) => type),
      ['accepted', 'started', 'finished'],
    )
  })

  test('a read is certain to have changed nothing, however it ends', async () => {
    const fixture = createRuntimeFixture({
      script: () => {
        throw mhvError('MHV_SSH_CONNECTION_LOST', 'lost')
      },
    })
    assert.equal((await fixture.run(fixture.call('probe.look'))).effect_certainty, 'none')
    assert.equal((await fixture.run(fixture.call('probe.peek'))).effect_certainty, 'none')
    assert.equal((await fixture.run(fixture.call('probe.script'))).effect_certainty, 'unknown')
  })

  test('effectOf narrows what is asked of the policy and kept in the journal', async () => {
    const fixture = createRuntimeFixture({
      policy: 'version: 1\nname: r\nrules:\n  - { id: r, decision: allow, effects: [read] }\n',
    })
    const dry = await fixture.run(fixture.call('probe.wipe', { value: 'dry' }))
    assert.deepEqual([dry.metadata.effect, dry.effect_certainty], ['read', 'none'])
    await assert.rejects(fixture.call('probe.wipe', { value: 'wet' }), { code: 'MHV_POLICY_DENIED' })
  })

  const malformed: readonly (readonly [
    what: string,
    operation: string,
    input: unknown,
    envelope: object,
    error: object,
  ])[] = [
    [
      'an unknown operation',
      'probe.tuch',
      {},
      {},
      { code: 'MHV_OPERATION_UNKNOWN', message: /did you mean "probe\.touch"\?/ },
    ],
    [
      'an unknown field',
      'probe.touch',
      { valeu: 'x' },
      {},
      { code: 'MHV_INPUT_INVALID', message: /"valeu"; did you mean "value"\?/ },
    ],
    [
      'an unknown field of the envelope',
      'probe.touch',
      {},
      { timout: 1 },
      { code: 'MHV_INPUT_INVALID', message: /did you mean "timeout"\?/ },
    ],
    ['a field of the wrong type', 'probe.touch', { value: 1 }, {}, { code: 'MHV_INPUT_INVALID', message: /^value: / }],
    ['an input that is no object', 'probe.touch', 'x', {}, { code: 'MHV_INPUT_INVALID', message: /^input: / }],
    ['an input that is a list', 'probe.touch', [], {}, { code: 'MHV_INPUT_INVALID' }],
    [
      'an input that is too large',
      'probe.script',
      { value: 'x'.repeat(1_100_000) },
      {},
      { code: 'MHV_INPUT_INVALID', message: /larger than/ },
    ],
    ['a timeout of zero', 'probe.touch', {}, { timeout: 0 }, { code: 'MHV_INPUT_INVALID', message: /^timeout: / }],
    ['an empty key', 'probe.touch', {}, { idempotency_key: '' }, { code: 'MHV_INPUT_INVALID' }],
    [
      'a plan where there are none',
      'probe.touch',
      {},
      { plan_digest: 'x' },
      { code: 'MHV_INPUT_INVALID', message: /plan/ },
    ],
    ['no target', 'probe.touch', {}, { target: undefined }, { code: 'MHV_TARGET_REQUIRED' }],
    ['an unknown target', 'probe.touch', {}, { target: 'nowhere' }, { code: 'MHV_TARGET_UNKNOWN' }],
    [
      'a target for what has none',
      'probe.look',
      {},
      { target: 'one' },
      { code: 'MHV_INPUT_INVALID', message: /no target/ },
    ],
    ['names of objects as fields', 'probe.touch', JSON.parse('{"__proto__": 1}'), {}, { code: 'MHV_INPUT_INVALID' }],
  ]
  for (const [what, operation, input, envelope, error] of malformed) {
    test(`with ${what} is refused, and there is no run`, async () => {
      const fixture = createRuntimeFixture()
      await assert.rejects(fixture.call(operation, input as Record<string, unknown>, envelope), error)
      assert.deepEqual(await fixture.store.listRuns({ limit: 10 }), [])
      assert.deepEqual(fixture.ledger.calls, [])
      assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
    })
  }

  test('names that callers make up are no labels of metrics', async () => {
    const fixture = createRuntimeFixture()
    for (let call = 0; call < 20; call++) await assert.rejects(fixture.call(`made-up-${call}.x`))
    const text = await fixture.parts.metrics.registry.metrics()
    assert.ok(!text.includes('made-up'))
    assert.match(text, /mahavishnu_refused_total\{worker="unknown",code="MHV_OPERATION_UNKNOWN"\} 20/)
  })

  test('is refused while the disk is low', async () => {
    const checkDisk = async () => {
      throw mhvError('MHV_DISK_LOW', 'low')
    }
    await assert.rejects(createRuntimeFixture({ checkDisk }).call('probe.touch'), { code: 'MHV_DISK_LOW' })
  })

  test('a watcher that throws does not make the run fail', async () => {
    const fixture = createRuntimeFixture()
    const onProgress = () => {
      throw new Error('the surface is gone')
    }
    const result = await fixture.run(fixture.call('probe.emit', { pieces: ['x'] }, {}, { onProgress }))
    assert.equal(result.status, 'completed')
    assert.ok(fixture.log.some(({ level }) => level === 'warn'))
  })

  test('a defect before the run is in the journal gives the slot back', async () => {
    const fixture = createRuntimeFixture({
      change: (parts) => ({
        ...parts,
        instances: {
          ...parts.instances,
          idOf: () => {
            throw new Error('a defect')
          },
        },
      }),
    })
    await assert.rejects(fixture.call('probe.touch'), { code: 'MHV_INTERNAL' })
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  })

  test('whatever is thrown on the way, the caller gets an error of the table', async () => {
    const checkDisk = async () => {
      throw new TypeError('a defect')
    }
    const fixture = createRuntimeFixture({ checkDisk })
    await assert.rejects(fixture.call('probe.touch'), { code: 'MHV_INTERNAL', message: 'a defect' })
    assert.ok(fixture.log.some(({ level }) => level === 'error'))
  })
})

suite('who may', () => {
  test('without a policy nothing is allowed, and the remedy is a whole policy file that allows it', async () => {
    const fixture = createRuntimeFixture({
      change: (parts) => ({ ...parts, policy: { name: 'none', file: 'p.yaml', rules: NO_POLICY.rules } }),
    })
    const error = await rejection(fixture.call('probe.touch'))
    assert.equal(error.code, 'MHV_POLICY_DENIED')
    const text = error.remedy.slice(error.remedy.indexOf('\n') + 1)
    const policy = parsePolicy('p.yaml', text)
    const allowed = createRuntimeFixture({ change: (parts) => ({ ...parts, policy }) })
    assert.equal((await allowed.run(allowed.call('probe.touch'))).status, 'completed')
    await assert.rejects(allowed.call('probe.touch', {}, { target: 'two' }), { code: 'MHV_POLICY_DENIED' })
  })

  test('a denial is in the audit trail and prints the rule that allows it; approve is a denial until there are approvals', async () => {
    const asks = 'version: 1\nname: asks\nrules:\n  - { id: asks, decision: approve, targets: [vault] }\n'
    const fixture = createRuntimeFixture({ policy: asks })
    for (const [target, code, rule] of [
      ['one', 'MHV_POLICY_DENIED', null],
      ['vault', 'MHV_APPROVAL_REQUIRED', 'asks'],
    ] as const) {
      const error = await rejection(fixture.call('probe.touch', {}, { target }, { principal: BOB }))
      assert.equal(error.code, code)
      const [entry] = (await fixture.store.listAudit({ limit: 10 })).slice(-1)
      assert.deepEqual(
        [entry?.principal, entry?.action, entry?.target, entry?.rule],
        [BOB.id, 'probe.touch', target, rule],
      )
      const policy = parsePolicy('p.yaml', asks.replace('rules:\n', `rules:\n${error.details?.rule_to_add}\n`))
      const allowed = createRuntimeFixture({ change: (parts) => ({ ...parts, policy }) })
      const call = () => allowed.call('probe.touch', {}, { target }, { principal: BOB })
      assert.equal((await allowed.run(call())).status, 'completed')
    }
    assert.deepEqual(fixture.ledger.calls, [])
    assert.deepEqual(await fixture.store.listRuns({ limit: 10 }), [])
  })

  test('of a deny the remedy says that no allow helps', async () => {
    const denies =
      'version: 1\nname: d\nrules:\n  - { id: all, decision: allow }\n  - { id: never, decision: deny, tags: [pci] }\n'
    const fixture = createRuntimeFixture({ policy: denies })
    const error = await rejection(fixture.call('probe.touch', {}, { target: 'vault' }))
    assert.equal(error.code, 'MHV_POLICY_DENIED')
    assert.match(error.remedy, /narrow or remove rule "never"/)
    const policy = parsePolicy('p.yaml', denies.replace('rules:\n', `rules:\n${error.details?.rule_to_add}\n`))
    const target = { name: 'vault', tier: 'prod', tags: ['pci'] } as const
    const question = { principal: ALICE, worker: 'probe', operation: 'probe.touch', effect: 'write', target } as const
    assert.equal(decide(policy, question).decision, 'deny')
  })

  test('a denial that cannot be written down is no permission', async () => {
    const clock = createFakeClock(0)
    const store: Store = {
      ...createMemoryStore(clock),
      appendAudit: async () => {
        throw mhvError('MHV_JOURNAL_FULL', 'no room')
      },
    }
    const fixture = createRuntimeFixture({ clock, store, policy: null })
    await assert.rejects(fixture.call('probe.touch'), { code: 'MHV_JOURNAL_FULL' })
    assert.deepEqual(fixture.ledger.calls, [])
  })
})

suite('CORE-01: nothing acts before it is in the journal', () => {
  /** A store whose createRun is done only when it is told to; a lying one says at once that it is done. */
  function slow(lying = false) {
    const clock = createFakeClock(0)
    const memory = createMemoryStore(clock)
    const gate = Promise.withResolvers<void>()
    gate.promise.catch(() => undefined)
    const store: Store = {
      ...memory,
      async createRun(run) {
        const written = gate.promise.then(() => memory.createRun(run))
        const { facts, status, started_at } = run
        if (lying)
          return {
            kind: 'created',
            run: { ...facts, status, started_at, end: null, fence: 1, dead_letter: null },
            attempts_before: 0,
          }
        return written
      },
    }
    const acts: string[] = []
    const script = (_context: unknown, value: string) => {
      acts.push(value)
      return { value }
    }
    return { clock, gate, acts, fixture: createRuntimeFixture({ clock, store, script }) }
  }

  test('CORE-01: while createRun hangs the operation is not called, and no handle is given out', async () => {
    const whileItHangs = async ({ clock, gate, acts, fixture }: ReturnType<typeof slow>) => {
      let settled = false
      const call = fixture.call('probe.script', { value: 'x' }, { wait: 0 })
      const done = () => {
        settled = true
      }
      call.then(done, done)
      await clock.advance(20_000)
      const seen = { acted: acts.length, settled }
      gate.resolve()
      await fixture.run(call).catch((error: unknown) => assert.equal(toMhvError(error).code, 'MHV_RUN_INTERRUPTED'))
      assert.deepEqual(acts, ['x'])
      return seen
    }
    assert.deepEqual(await whileItHangs(slow()), { acted: 0, settled: false })
    // Negative control: with a journal that says it is done before it is, it acts.
    assert.deepEqual(await whileItHangs(slow(true)), { acted: 1, settled: true })
  })

  test('CORE-01: when createRun rejects the operation is never called, and the slot is free again', async () => {
    const { gate, acts, fixture } = slow()
    gate.reject(mhvError('MHV_JOURNAL_FULL', 'no room'))
    await assert.rejects(fixture.run(fixture.call('probe.script', { value: 'x' })), { code: 'MHV_JOURNAL_FULL' })
    await assert.rejects(fixture.run(fixture.call('probe.script', { value: 'x' }, { idempotency_key: 'k' })))
    assert.deepEqual(acts, [])
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
    assert.deepEqual(fixture.parts.live.all(), [])
  })

  test('a deadline that passes while the run is journaled ends it before it acts, and says so', async () => {
    const { clock, gate, acts, fixture } = slow()
    const call = fixture.call('probe.script', { value: 'x' }, { timeout: 1 })
    await clock.advance(2_000)
    gate.resolve()
    const result = await fixture.run(call)
    assert.deepEqual(acts, [])
    assert.deepEqual(
      [result.status, result.error_code, result.effect_certainty],
      ['timeout', 'MHV_RUN_QUEUE_TIMEOUT', 'none'],
    )
  })

  test('a caller who goes away while the run is journaled cancels it before it acts', async () => {
    const { clock, gate, acts, fixture } = slow()
    const controller = new AbortController()
    const call = fixture.call('probe.script', { value: 'x' }, {}, { signal: controller.signal })
    await clock.advance(100)
    controller.abort()
    gate.resolve()
    const result = await fixture.run(call)
    assert.deepEqual(acts, [])
    assert.deepEqual(
      [result.status, result.error_code, result.effect_certainty],
      ['cancelled', 'MHV_RUN_CANCELLED_QUEUED', 'none'],
    )
  })

  test('a caller who is gone already begins nothing', async () => {
    const fixture = createRuntimeFixture()
    const signal = AbortSignal.abort()
    await assert.rejects(fixture.call('probe.touch', {}, {}, { signal }), { code: 'MHV_RUN_CANCELLED_QUEUED' })
    assert.deepEqual(await fixture.store.listRuns({ limit: 10 }), [])
  })
})

async function rejection(promise: Promise<unknown>) {
  const error = await promise.then(
    () => assert.fail('it was not refused'),
    (reason: unknown) => reason,
  )
  return error as Error & { code: string; remedy: string; details?: Record<string, unknown> }
}
