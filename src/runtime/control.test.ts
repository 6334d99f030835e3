import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { ALICE, BOB, createRuntimeFixture, type FixtureOptions, type Script } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import type { WorkerResult } from '../core/result.ts'
import { createMemoryStore } from '../store/memory.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { callControl } from './call-control.ts'

const forever: Script = (context) => context.clock.sleep(1e9, context.signal)

/** A run of Alice's that acts until it is cancelled, on a target. */
async function running(options: FixtureOptions = {}, target = 'one') {
  const fixture = createRuntimeFixture({ script: forever, ...options })
  const handle = await fixture.run(fixture.call('probe.script', {}, { wait: 0, target }), 1)
  return { ...fixture, run_id: handle.run_id }
}

const policy = (...rules: string[]) => `version: 1\nname: p\nrules:\n${rules.map((rule) => `  - ${rule}\n`).join('')}`
const ALICE_ALL = '{ id: alice, decision: allow, principals: ["user:alice"] }'
const BOB_READS = '{ id: bob, decision: allow, principals: ["agent:bob"], effects: [read] }'

suite('control calls: who may', () => {
  test('whoever started a run may see it and cancel it, without a rule for that', async () => {
    const only = '{ id: a, decision: allow, principals: ["user:alice"], operations: ["probe.*"], tiers: [dev] }'
    const { control, run, run_id } = await running({ policy: policy(only) })
    assert.equal(((await control('run_get', { run_id })).run as WorkerResult).run_id, run_id)
    assert.deepEqual((await control('run_output', { run_id })).chunks, [])
    const { ended } = await run(control('run_cancel', { run_id }))
    assert.equal(ended, true)
    // What is about no run of hers still needs a rule.
    await assert.rejects(control('run_list', {}), { code: 'MHV_POLICY_DENIED' })
    await assert.rejects(control('worker_list', {}), { code: 'MHV_POLICY_DENIED' })
  })

  test("another's run may be cancelled only by who may write on its target, and the denial is in the audit trail", async () => {
    const fixture = await running({ policy: policy(ALICE_ALL, BOB_READS) })
    const { control, run_id, store, parts } = fixture
    await control('run_get', { run_id }, BOB)
    await assert.rejects(control('run_cancel', { run_id }, BOB), { code: 'MHV_POLICY_DENIED' })
    assert.equal(parts.live.get(run_id)?.record().status, 'running')
    const [entry] = await store.listAudit({ limit: 10 })
    assert.deepEqual(
      [entry?.principal, entry?.action, entry?.decision, entry?.target],
      [BOB.id, 'run_cancel', 'deny', 'one'],
    )

    const bobCancels = '{ id: b, decision: allow, principals: ["agent:bob"], operations: [run_cancel], targets: [one] }'
    const other = await running({ policy: policy(ALICE_ALL, BOB_READS, bobCancels) })
    const { run: ended } = await other.run(other.control('run_cancel', { run_id: other.run_id, reason: 'why' }, BOB))
    assert.equal((ended as WorkerResult).status, 'cancelled')
    assert.match((ended as WorkerResult).error ?? '', /cancelled by agent:bob/)
    const audit = await other.store.listAudit({ limit: 10 })
    assert.deepEqual(
      audit.map(({ decision, details }) => [decision, details]),
      [['allow', { reason: 'why' }]],
    )
  })

  test("a rule about a target counts for the runs on it too: their output is the target's", async () => {
    const vault = '{ id: vault, decision: deny, principals: ["agent:bob"], tags: [pci] }'
    const { control, run_id } = await running({ policy: policy(ALICE_ALL, BOB_READS, vault) }, 'vault')
    for (const name of ['run_get', 'run_wait', 'run_output', 'run_cancel']) {
      await assert.rejects(control(name, { run_id }, BOB), { code: 'MHV_POLICY_DENIED' }, name)
    }
    await assert.rejects(control('worker_health', { ping: 'vault' }, BOB), { code: 'MHV_POLICY_DENIED' })
    // Negative control: the same calls about another target are allowed.
    const open = await running({ policy: policy(ALICE_ALL, BOB_READS, vault) }, 'one')
    for (const name of ['run_get', 'run_output']) await open.control(name, { run_id: open.run_id }, BOB)
    assert.equal(
      ((await open.control('worker_health', { ping: 'one' }, BOB)).ping as { healthy: boolean }).healthy,
      true,
    )
  })

  test('who may not read is not told whether there is such a run', async () => {
    const { control, run_id } = await running({ policy: policy(ALICE_ALL) })
    const seen = async (id: string) => {
      const error = await control('run_get', { run_id: id }, BOB).catch((reason: Error & { code?: string }) => reason)
      return (error as { code?: string }).code
    }
    assert.equal(await seen(run_id), 'MHV_POLICY_DENIED')
    assert.equal(await seen('01K5E2W9QZ3V7M4T8N6R1XJYHB'), 'MHV_POLICY_DENIED')
    await assert.rejects(control('run_get', { run_id: '01K5E2W9QZ3V7M4T8N6R1XJYHB' }), { code: 'MHV_RUN_UNKNOWN' })
  })

  test('malformed calls are refused as those of operations are', async () => {
    const { control, parts } = createRuntimeFixture()
    await assert.rejects(control('run_gett', {}), {
      code: 'MHV_OPERATION_UNKNOWN',
      message: /did you mean "run_get"\?/,
    })
    await assert.rejects(control('run_get', { runid: 'x' }), {
      code: 'MHV_INPUT_INVALID',
      message: /did you mean "run_id"\?/,
    })
    await assert.rejects(control('run_get', {}), { code: 'MHV_INPUT_INVALID' })
    const reader = { ...parts, runtime: null }
    for (const [name, input] of [
      ['run_cancel', { run_id: 'x' }],
      ['worker_health', {}],
    ] as const) {
      await assert.rejects(callControl(reader, { name, input, principal: ALICE }), { code: 'MHV_INSTANCE_LOCKED' })
    }
  })
})

suite('control calls: cancelling', () => {
  test('a run in the queue is cancelled without having acted', async () => {
    const fixture = await running({ limits: { max_concurrent: 1, queue_size: 5 } })
    const handle = await fixture.run(fixture.call('probe.touch', {}, { wait: 0 }), 1)
    const { run } = await fixture.run(fixture.control('run_cancel', { run_id: handle.run_id }))
    const { status, error_code, effect_certainty } = run as WorkerResult
    assert.deepEqual([status, error_code, effect_certainty], ['cancelled', 'MHV_RUN_CANCELLED_QUEUED', 'none'])
    assert.deepEqual(fixture.ledger.calls, [])
    const { events } = await fixture.control('run_get', { run_id: handle.run_id })
    const log = events as { type: string; data: Record<string, unknown> }[]
    assert.deepEqual(
      log.map(({ type }) => type),
      ['accepted', 'queued', 'cancel_requested', 'left_queue', 'finished'],
    )
    assert.match(String(log[2]?.data.reason), /cancelled by user:alice/)
  })

  test('a run is stopped also when the journal has no room for saying so', async () => {
    const clock = createFakeClock(0)
    const store = {
      ...createMemoryStore(clock),
      appendAudit: async () => {
        throw mhvError('MHV_JOURNAL_FULL', 'no room')
      },
    }
    const fixture = await running({ clock, store })
    await assert.rejects(fixture.control('run_cancel', { run_id: fixture.run_id }), { code: 'MHV_JOURNAL_FULL' })
    await fixture.clock.advance(100)
    assert.equal((await fixture.store.getRun(fixture.run_id))?.status, 'cancelled')
  })

  test('what has ended stays as it is', async () => {
    const fixture = createRuntimeFixture()
    const done = await fixture.run(fixture.call('probe.touch'))
    const answer = await fixture.control('run_cancel', { run_id: done.run_id })
    assert.deepEqual(answer, { run: done, ended: true })
  })
})

suite('control calls: waiting', () => {
  test('ends with the run, or with the time, and says which', async () => {
    const fixture = await running({
      script: async (context) => {
        await context.clock.sleep(3_000)
        return { value: 1 }
      },
    })
    const { run_id } = fixture
    const early = await fixture.run(fixture.control('run_wait', { run_id, seconds: 1 }))
    assert.deepEqual([early.ended, (early.run as WorkerResult).status], [false, 'running'])
    const end = await fixture.run(fixture.control('run_wait', { run_id }))
    assert.deepEqual([end.ended, (end.run as WorkerResult).status], [true, 'completed'])
    assert.ok(fixture.clock.monotonic() < 4_000)
  })

  test('a caller who goes away waits no longer, and the run goes on', async () => {
    const { parts, run_id, clock } = await running()
    const controller = new AbortController()
    const request = { name: 'run_wait', input: { run_id }, principal: ALICE, signal: controller.signal }
    const waiting = callControl({ ...parts, runtime: parts }, request)
    await clock.advance(100)
    controller.abort(new Error('gone'))
    await assert.rejects(waiting, { message: 'gone' })
    assert.equal(parts.live.get(run_id)?.record().status, 'running')
  })

  test('in a process that only reads, the journal is looked at until the run has ended', async () => {
    const fixture = await running({ script: async (context) => ({ value: await context.clock.sleep(3_000) }) })
    const reader = { ...fixture.parts, live: { ...fixture.parts.live, get: () => undefined }, runtime: null }
    const { run_id } = fixture
    const waiting = callControl(reader, { name: 'run_wait', input: { run_id }, principal: ALICE })
    assert.equal((await fixture.run(waiting)).ended, true)
  })
})

suite('control calls: output', () => {
  test('the cursor reads everything, in pieces of any size, with the gaps counted', async () => {
    const pieces = fc.array(fc.string({ unit: fc.constantFrom('a', 'é', '€', '𝄞'), maxLength: 40 }), { maxLength: 10 })
    await fc.assert(
      fc.asyncProperty(pieces, fc.integer({ min: 1, max: 100 }), fc.nat(300), async (written, max_bytes, head) => {
        const fixture = createRuntimeFixture({ runs: { output_head_bytes: head, output_tail_bytes: 64 } })
        const { run_id } = await fixture.run(fixture.call('probe.emit', { pieces: written }))
        let cursor = 0
        let [text, gaps, bytes] = ['', 0, 0]
        for (;;) {
          const page = await fixture.control('run_output', { run_id, cursor, max_bytes, encoding: 'base64' })
          for (const chunk of page.chunks as { text: string; gap_bytes: number }[]) {
            const piece = Buffer.from(chunk.text, 'base64')
            gaps += chunk.gap_bytes
            bytes += piece.length
            text += piece.toString()
          }
          if (page.ended) break
          assert.ok((page.next_cursor as number) > cursor)
          cursor = page.next_cursor as number
        }
        const whole = written.join('')
        assert.equal(bytes + gaps, Buffer.byteLength(whole))
        if (gaps === 0) assert.equal(text, whole)
        else assert.ok(bytes >= 64)
      }),
      { numRuns: 50 },
    )
  })

  test('it can be followed while the run goes on, and has ended only when it has', async () => {
    const fixture = createRuntimeFixture()
    const { run_id } = await fixture.run(
      fixture.call('probe.emit', { pieces: ['now'], wait_ms: 5_000 }, { wait: 0 }),
      1,
    )
    await fixture.clock.advance(600)
    const first = await fixture.control('run_output', { run_id })
    assert.deepEqual([first.chunks, first.ended], [[{ stream: 'stdout', text: 'now', gap_bytes: 0 }], false])
    await fixture.clock.advance(10_000)
    const rest = await fixture.control('run_output', { run_id, cursor: first.next_cursor })
    assert.deepEqual([rest.chunks, rest.ended], [[], true])
  })
})

suite('control calls: lists and health', () => {
  test('runs are listed newest first, page by page, by what they were', async () => {
    const fixture = createRuntimeFixture()
    const ids: string[] = []
    for (const target of ['one', 'two', 'one', 'two', 'one']) {
      ids.unshift((await fixture.run(fixture.call('probe.touch', {}, { target }))).run_id)
      await fixture.clock.advance(1_000)
    }
    const list = async (input: object) => {
      const { runs, next } = await fixture.control('run_list', { ...input })
      return { ids: (runs as WorkerResult[]).map(({ run_id }) => run_id), next }
    }
    assert.deepEqual((await list({})).ids, ids)
    assert.deepEqual((await list({ on: 'two' })).ids, [ids[1], ids[3]])
    assert.deepEqual((await list({ principal: 'agent:bob' })).ids, [])
    const page = await list({ limit: 2 })
    assert.deepEqual(page, { ids: ids.slice(0, 2), next: ids[1] })
    assert.deepEqual((await list({ limit: 2, before: page.next })).ids, ids.slice(2, 4))
    assert.deepEqual((await list({ since: '2026-01-01T00:00:02Z', until: '2026-01-01T00:00:04Z' })).ids.length, 2)
  })

  test('health counts slots, queue, ends and refusals, and names open breakers', async () => {
    const fixture = createRuntimeFixture({
      limits: { max_concurrent: 1, queue_size: 1 },
      script: (context, value) => {
        if (value === 'wait') return context.clock.sleep(1e9, context.signal)
        throw mhvError('MHV_SSH_CONNECT_FAILED', 'no')
      },
    })
    for (let failed = 0; failed < 5; failed++) await fixture.run(fixture.call('probe.script', {}, { target: 'two' }))
    for (let call = 0; call < 2; call++)
      await fixture.run(fixture.call('probe.script', { value: 'wait' }, { wait: 0 }), 1)
    await assert.rejects(fixture.call('probe.script'), { code: 'MHV_ADMISSION_FULL', retryAfter: 1 })
    const { workers, ping } = await fixture.control('worker_health', { worker: 'probe', ping: 'one' })
    const [probe] = workers as Record<string, unknown>[]
    assert.deepEqual(
      { ...probe, worker_id: '' },
      {
        name: 'probe',
        worker_id: '',
        started: true,
        running: 1,
        queued: 1,
        runs: 5,
        refused: 1,
        by_status: { failed: 5 },
        breakers: [{ target: 'two', state: 'open', forced: null }],
        connection: { calls: 0 },
        failed_start: null,
      },
    )
    assert.deepEqual(ping, { target: 'one', worker: 'probe', healthy: true, message: 'one is there' })
    await assert.rejects(fixture.control('worker_health', { worker: 'prob' }), { code: 'MHV_WORKER_UNKNOWN' })
    await assert.rejects(fixture.control('worker_health', { ping: 'nowhere' }), { code: 'MHV_TARGET_UNKNOWN' })
  })

  test('a look that hangs or fails is an answer, and stats that throw are told', async () => {
    const build = (ping: () => Promise<never>) =>
      createRuntimeFixture({
        worker: (probe) => ({
          ...probe,
          ping,
          connect: async () => ({
            stats: () => {
              throw new Error('no stats')
            },
            close: async () => undefined,
          }),
        }),
      })
    const hangs = build(() => new Promise<never>(() => undefined))
    const health = await hangs.run(hangs.control('worker_health', { ping: 'one' }))
    assert.equal((health.ping as { healthy: boolean }).healthy, false)
    assert.deepEqual((health.workers as { connection: object }[])[0]?.connection, { error: 'no stats' })
    const fails = build(async () => {
      throw mhvError('MHV_SSH_HOST_KEY_CHANGED', 'changed')
    })
    const { ping } = await fails.run(fails.control('worker_health', { ping: 'one' }))
    assert.deepEqual(ping, { target: 'one', worker: 'probe', healthy: false, message: 'changed' })
  })

  test('workers are listed with their operations and targets', async () => {
    const { workers } = await createRuntimeFixture().control('worker_list', {})
    const [probe] = workers as { name: string; operations: { id: string }[]; targets: string[] }[]
    assert.equal(probe?.name, 'probe')
    assert.ok(probe?.operations.some(({ id }) => id === 'probe.touch'))
    assert.deepEqual(probe?.targets, ['one', 'two', 'vault'])
  })
})
