import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { type Answer, childrenOf, createFixture, fails, fleet, names } from '../../test/helpers/batch-fixture.ts'
import { ALICE, BOB } from '../../test/helpers/runtime-parts.ts'

suite('a plan', () => {
  const control = 'version: 1\nname: p\nrules:\n  - { id: all, decision: allow, workers: [control] }\n'
  const policy = `${control}  - { id: dev, decision: allow, tiers: [dev] }\n`

  test('tells the batches, the decision on each target and the limit, and does nothing', async () => {
    const targets = { ...fleet(5), vault: { tier: 'prod' as const, tags: [] } }
    const fixture = createFixture(targets, undefined, { policy })
    const input = { operation: 'probe.script', select: '*', batch_size: '40%', max_fail: 3, max_fail_percent: 20 }
    const plan = (await fixture.ask('batch_plan', input)) as unknown as Record<string, unknown>
    assert.deepEqual([plan.total, plan.allowed, plan.failure_limit, plan.effect], [6, 5, 1, 'write'])
    const batches = plan.batches as { target: string; decision: string }[][]
    assert.deepEqual(
      batches.map((batch) => batch.map(({ target }) => target)),
      [
        ['t0001', 't0002', 't0003'],
        ['t0004', 't0005', 'vault'],
      ],
    )
    assert.equal(batches[1]?.[2]?.decision, 'deny')
    assert.deepEqual([fixture.acts.length, (await fixture.store.listBatches({ limit: 9 })).length], [0, 0])
  })

  test('with a target that is not allowed is not applied, and names it', async () => {
    const targets = { ...fleet(2), vault: { tier: 'prod' as const, tags: [] } }
    const fixture = createFixture(targets, undefined, { policy })
    await assert.rejects(fixture.ask('batch_run', { operation: 'probe.script', select: '*' }), {
      code: 'MHV_POLICY_DENIED',
      message: /^1 of 3 targets are not allowed: .* on vault/,
    })
    assert.equal(fixture.acts.length, 0)
    const audit = await fixture.store.listAudit({ limit: 9 })
    assert.deepEqual(
      audit.map(({ action, target, decision }) => [action, target, decision]),
      [['probe.script', 'vault', 'deny']],
    )
    const done = await fixture.ask('batch_run', { operation: 'probe.script', select: 'not vault' })
    assert.equal(done.batch.state, 'completed')
  })

  test('is applied by its digest as it is, or not at all', async () => {
    const targets = fleet(3)
    const fixture = createFixture(targets)
    const input = { operation: 'probe.script', select: '*' }
    const { plan_digest } = (await fixture.ask('batch_plan', input)) as unknown as { plan_digest: string }
    for (const drift of [
      { input: { value: 'x' } },
      { batch_size: '1' },
      { max_fail: 1 },
      { timeout: 5 },
      { parallel: 1 },
    ]) {
      await assert.rejects(fixture.ask('batch_run', { ...input, ...drift, plan_digest }), { code: 'MHV_PLAN_CHANGED' })
    }
    targets.t0002 = { tier: 'prod', tags: [] }
    await assert.rejects(fixture.ask('batch_run', { ...input, plan_digest }), { code: 'MHV_PLAN_CHANGED' })
    targets.t0002 = { tier: 'dev', tags: [] }
    assert.equal(fixture.acts.length, 0)
    assert.equal((await fixture.ask('batch_run', { ...input, plan_digest })).batch.done, 3)
  })

  const refusals = [
    [{ select: 't9999' }, 'MHV_TARGET_UNKNOWN'],
    [{ select: 'tag:none' }, 'MHV_SELECTOR_EMPTY'],
    [{ select: 'tag:' }, 'MHV_SELECTOR_INVALID'],
    [{ operation: 'probe.nothing' }, 'MHV_OPERATION_UNKNOWN'],
    [{ operation: 'probe.look' }, 'MHV_INPUT_INVALID'],
    [{ input: { stranger: 1 } }, 'MHV_INPUT_INVALID'],
    [{ batch_size: '0' }, 'MHV_INPUT_INVALID'],
    [{ batch_size: '101%' }, 'MHV_INPUT_INVALID'],
  ] as const
  for (const [change, code] of refusals) {
    test(`${JSON.stringify(change)} is refused with ${code}`, async () => {
      const fixture = createFixture(fleet(2))
      const input = { operation: 'probe.script', select: '*', ...change }
      await assert.rejects(fixture.ask('batch_plan', input), { code })
      await assert.rejects(fixture.ask('batch_run', input), { code })
    })
  }
})

suite('RES-11: the failure limit', () => {
  test('is never exceeded by more than one batch, and a rerun touches only what failed', async () => {
    const shape = fc.record({
      failing: fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
      size: fc.integer({ min: 1, max: 12 }),
      parallel: fc.integer({ min: 1, max: 12 }),
      max_fail: fc.integer({ min: 0, max: 6 }),
    })
    await fc.assert(
      fc.asyncProperty(shape, async ({ failing, size, parallel, max_fail }) => {
        const all = names(failing.length)
        const bad = new Set(all.filter((_name, index) => failing[index]))
        const fixture = createFixture(fleet(all.length), (target) => (bad.has(target) ? fails() : { value: null }))
        const options = { batch_size: String(size), parallel, max_fail }
        const { batch } = await fixture.ask('batch_run', { operation: 'probe.script', select: '*', ...options })
        const acted = fixture.acts.map(({ target }) => target)
        const failed = acted.filter((target) => bad.has(target))
        assert.ok(failed.length <= max_fail + Math.min(size, parallel), `${failed.length} failed, ${max_fail} may`)
        assert.equal(new Set(acted).size, acted.length, 'no target acts twice')
        assert.deepEqual(acted.toSorted(), all.slice(0, acted.length), 'in the order of the batches')
        assert.ok(Math.max(...fixture.acts.map(({ active }) => active)) <= Math.min(size, parallel))
        const exceeded = failed.length > max_fail
        assert.equal(batch.state, exceeded ? 'failed' : 'completed')
        assert.deepEqual([batch.done, batch.failed, batch.total], [acted.length, failed.length, all.length])
        if (!exceeded) assert.equal(acted.length, all.length)
        if (failed.length === 0) return
        bad.clear()
        fixture.acts.length = 0
        const again = await fixture.ask('batch_rerun', { batch_id: batch.batch_id })
        assert.deepEqual(fixture.acts.map(({ target }) => target).toSorted(), failed.toSorted())
        assert.deepEqual([again.batch.state, again.batch.rerun_of], ['completed', batch.batch_id])
        const { by_state } = await fixture.store.deadLetterStats()
        assert.deepEqual([by_state.open, by_state.archived], [0, failed.length])
      }),
      { numRuns: 60 },
    )
  })

  test('is none for a read, and 0 for a write, when nothing is said', async () => {
    const fixture = createFixture(fleet(6), fails)
    const run = (operation: string) => fixture.ask('batch_run', { operation, select: '*', parallel: 2 })
    const [read, write] = [await run('probe.peek'), await run('probe.script')]
    assert.deepEqual([read.batch.state, read.batch.failed], ['completed', 6])
    assert.deepEqual(
      [write.batch.state, write.batch.failed, write.batch.error_code],
      ['failed', 2, 'MHV_BATCH_FAILURES'],
    )
    await assert.rejects(fixture.ask('batch_rerun', { batch_id: '01' }), { code: 'MHV_BATCH_UNKNOWN' })
  })

  test('counts a target for which there is no run, which a rerun takes up as well', async () => {
    const targets = fleet(3)
    const fixture = createFixture(targets, () => {
      delete targets.t0002
      return { value: null }
    })
    const run = { operation: 'probe.script', select: '*', parallel: 1 }
    const { batch, groups } = await fixture.ask('batch_run', run)
    assert.deepEqual([batch.state, batch.done, batch.refused], ['failed', 2, 1])
    assert.deepEqual(groups.find(({ status }) => status === 'refused')?.targets, ['t0002'])
    targets.t0002 = { tier: 'dev', tags: [] }
    const again = await fixture.ask('batch_rerun', { batch_id: batch.batch_id, rest: true })
    assert.deepEqual([again.batch.state, again.batch.done, again.batch.total], ['completed', 2, 2])
    assert.deepEqual(
      fixture.acts.map(({ target }) => target),
      ['t0001', 't0002', 't0003'],
    )
  })
})

suite('RES-11: a batch and its runs', () => {
  test('each target has a run of its own, with the batch as its parent, made only when it is its turn', async () => {
    const fixture = createFixture(fleet(300))
    let highest = 0
    const watch = setInterval(() => undefined, 1_000)
    const answer = fixture.control('batch_run', { operation: 'probe.script', select: '*', parallel: 7, reason: 'why' })
    let over = false
    const seen = answer.finally(() => {
      over = true
    })
    while (!over) {
      await fixture.clock.advance(50)
      highest = Math.max(highest, fixture.parts.live.all().length)
    }
    clearInterval(watch)
    const { batch } = (await seen) as unknown as Answer
    assert.equal(highest, 7)
    const runs = await childrenOf(fixture, batch.batch_id)
    assert.equal(runs.length, 300)
    assert.deepEqual(new Set(runs.map(({ reason, surface, principal }) => `${reason} ${surface} ${principal}`)).size, 1)
    assert.deepEqual([runs[0]?.reason, runs[0]?.surface, runs[0]?.principal], ['why', 'batch', ALICE.id])
  })

  test('results are grouped by what came out, the largest group first', async () => {
    const fixture = createFixture(fleet(5), (target) =>
      target === 't0003' ? fails() : { value: target < 't0003' ? 'old' : 'new' },
    )
    const { groups, batch } = await fixture.ask('batch_run', { operation: 'probe.script', select: '*', max_fail: 1 })
    assert.deepEqual(groups.map(({ count, status, targets }) => [count, status, targets.join(' ')]).toSorted(), [
      [1, 'failed', 't0003'],
      [2, 'completed', 't0001 t0002'],
      [2, 'completed', 't0004 t0005'],
    ])
    const shown = await fixture.ask('batch_get', { batch_id: batch.batch_id })
    assert.deepEqual(
      shown.events?.map(({ type }) => type),
      ['started', 'batch_started', 'finished'],
    )
  })

  test('the policy is asked for every run again; only what it acts with is asked for, not the call itself', async () => {
    const policy = `version: 1
name: p
rules:
  - { id: reads, decision: allow, effects: [read] }
  - { id: dev, decision: allow, tiers: [dev], operations: [probe.script] }
`
    const fixture = createFixture(fleet(2), undefined, { policy })
    const done = await fixture.ask('batch_run', { operation: 'probe.script', select: '*' })
    assert.equal(done.batch.state, 'completed')
    const stop = fixture.control('batch_stop', { batch_id: done.batch.batch_id }, BOB)
    await assert.rejects(fixture.run(stop), { code: 'MHV_POLICY_DENIED' })
    assert.equal((await fixture.ask('batch_stop', { batch_id: done.batch.batch_id })).batch.state, 'completed')
  })

  for (const cancel of [false, true]) {
    test(`stopped ${cancel ? 'with cancel, its runs end' : 'it makes no new runs, and those there are end well'}`, async () => {
      const fixture = createFixture(fleet(20))
      const started = await fixture.ask('batch_run', {
        operation: 'probe.script',
        select: '*',
        parallel: 4,
        seconds: 0,
      })
      assert.equal(started.ended, false)
      await fixture.clock.advance(10)
      const { batch_id } = started.batch
      const acting = fixture.acts.length
      const stopped = await fixture.ask('batch_stop', { batch_id, cancel })
      assert.deepEqual([stopped.batch.state, stopped.ended], ['stopped', true])
      assert.equal(fixture.acts.length, acting)
      const statuses = new Set((await childrenOf(fixture, batch_id)).map(({ status }) => status))
      assert.deepEqual([...statuses], [cancel ? 'cancelled' : 'completed'])
      const again = await fixture.ask('batch_rerun', { batch_id, rest: true })
      assert.equal(again.batch.total, cancel ? 20 : 20 - acting)
    })
  }

  test('the same key is the same batch, running or ended; with another request it is refused', async () => {
    const fixture = createFixture(fleet(6))
    const request = { operation: 'probe.script', select: '*', parallel: 2, idempotency_key: 'k' }
    const both = await fixture.run(
      Promise.all([1, 2].map(() => fixture.control('batch_run', { ...request, seconds: 0 }))),
    )
    const later = await fixture.ask('batch_run', request)
    const again = await fixture.ask('batch_run', request)
    const ids = [...both, later, again].map((answer) => (answer as unknown as Answer).batch.batch_id)
    assert.deepEqual([new Set(ids).size, again.batch.state, again.batch.done], [1, 'completed', 6])
    assert.deepEqual(fixture.acts.map(({ target }) => target).toSorted(), names(6))
    await assert.rejects(fixture.ask('batch_run', { ...request, parallel: 3 }), { code: 'MHV_IDEMPOTENCY_MISMATCH' })
    const other = await fixture.run(fixture.control('batch_run', request, BOB))
    assert.notEqual((other as unknown as Answer).batch.batch_id, ids[0])
  })

  test('without room for a run it waits, and no target is left out', async () => {
    const one = { max_concurrent: 1, queue_size: 0 }
    const fixture = createFixture(fleet(4), undefined, { workerLimits: one })
    const { batch } = await fixture.ask('batch_run', { operation: 'probe.script', select: '*', parallel: 4 })
    assert.deepEqual([batch.state, batch.done, batch.failed], ['completed', 4, 0])
  })
})
