import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type Script } from '../../../test/helpers/runtime-parts.ts'
import { mhvError } from '../../core/errors.ts'

const cut = (result: { status: string; error_code: unknown; effect_certainty: unknown }) => [
  result.status,
  result.error_code,
  result.effect_certainty,
]

suite('the end of the time', () => {
  const wait: Script = (context) => context.clock.sleep(1e9, context.signal)

  test('in the queue: nothing was done', async () => {
    const fixture = createRuntimeFixture({ limits: { max_concurrent: 1, queue_size: 5 }, script: wait })
    const first = fixture.call('probe.script')
    await fixture.clock.advance(10)
    const second = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(second), ['timeout', 'MHV_RUN_QUEUE_TIMEOUT', 'none'])
    assert.ok(second.metadata.queue_seconds >= 1)
    assert.equal(second.attempts, 0)
    await fixture.run(first)
  })

  test('while it acts: nobody knows what was done', async () => {
    const fixture = createRuntimeFixture({ script: wait })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_TIMEOUT', 'unknown'])
  })

  test('what the operation says of itself when it is ended stands, and the status says why it was', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(1e9, context.signal).catch(() => undefined)
      throw mhvError('MHV_SSH_COMMAND_TIMEOUT', 'its session was ended')
    }
    const fixture = createRuntimeFixture({ script })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_SSH_COMMAND_TIMEOUT', 'unknown'])
  })

  test('an error of its own without a code is no defect when it was told to end', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(1e9, context.signal).catch(() => undefined)
      throw new DOMException('This operation was aborted', 'AbortError')
    }
    const fixture = createRuntimeFixture({ script })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_TIMEOUT', 'unknown'])
    assert.ok(!fixture.log.some(({ level }) => level === 'error'))
  })

  test('who is done within the grace has succeeded', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(2_000)
      return { value: 'done' }
    }
    const fixture = createRuntimeFixture({ script })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['completed', null, 'applied'])
  })

  test('who is deaf is left after the grace; what it does later changes nothing and throws nothing', async () => {
    const later: string[] = []
    const script: Script = async (context) => {
      await context.clock.sleep(60_000)
      await context.output.write('stdout', Buffer.from('late'))
      await context.progress({ progress: 1 })
      later.push('acted')
      throw new Error('late')
    }
    const fixture = createRuntimeFixture({ script })
    const started = fixture.clock.monotonic()
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_TIMEOUT', 'unknown'])
    const took = fixture.clock.monotonic() - started
    assert.ok(took >= 6_000 && took < 6_200, `${took} ms`)
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
    await fixture.clock.advance(120_000)
    assert.deepEqual(later, ['acted'])
    const { chunks } = await fixture.control('run_output', { run_id: result.run_id })
    assert.deepEqual(chunks, [])
    assert.deepEqual((await fixture.control('run_get', { run_id: result.run_id })).run, result)
  })

  test('a worker that does not start holds no run beyond its deadline, and nothing was done', async () => {
    const connect = () => new Promise<never>(() => undefined)
    const fixture = createRuntimeFixture({ worker: (probe) => ({ ...probe, connect }) })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_QUEUE_TIMEOUT', 'none'])
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  })

  test('a worker that cannot start has done nothing, whatever it throws, and is started again by the next call', async () => {
    let broken = true
    const fixture = createRuntimeFixture({
      script: () => ({ value: 1 }),
      worker: (probe) => ({
        ...probe,
        async connect() {
          if (broken) throw new Error('cannot find module')
          return { stats: () => ({}), close: async () => undefined }
        },
      }),
    })
    assert.deepEqual(cut(await fixture.run(fixture.call('probe.script'))), ['failed', 'MHV_INTERNAL', 'none'])
    broken = false
    assert.equal((await fixture.run(fixture.call('probe.script'))).status, 'completed')
  })
})

suite('cancelling', () => {
  const wait: Script = (context) => context.clock.sleep(1e9, context.signal)

  test("the caller's signal cancels a run that acts, and one that waits", async () => {
    const fixture = createRuntimeFixture({ limits: { max_concurrent: 1, queue_size: 5 }, script: wait })
    const controllers = [new AbortController(), new AbortController()]
    const [acting, queued] = controllers.map(({ signal }) => fixture.call('probe.script', {}, {}, { signal }))
    await fixture.clock.advance(100)
    for (const controller of controllers.toReversed()) controller.abort()
    assert.ok(acting && queued)
    assert.deepEqual(cut(await fixture.run(queued)), ['cancelled', 'MHV_RUN_CANCELLED_QUEUED', 'none'])
    assert.deepEqual(cut(await fixture.run(acting)), ['cancelled', 'MHV_RUN_CANCELLED', 'unknown'])
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  })

  test('after the handle was given out the caller may go away, and the run goes on', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(1_000, context.signal)
      return { value: 1 }
    }
    const fixture = createRuntimeFixture({ script })
    const controller = new AbortController()
    const handle = await fixture.run(fixture.call('probe.script', {}, { wait: 0.1 }, { signal: controller.signal }), 10)
    assert.equal(handle.status, 'running')
    controller.abort()
    const { run } = await fixture.run(fixture.control('run_wait', { run_id: handle.run_id }))
    assert.equal((run as { status: string }).status, 'completed')
  })

  test('a connection that breaks because we ended it does not speak against the target', async () => {
    const script: Script = async (context, value) => {
      await context.clock.sleep(1e9, context.signal).catch(() => undefined)
      throw mhvError('MHV_SSH_CONNECTION_LOST', value)
    }
    const fixture = createRuntimeFixture({ script })
    for (let call = 0; call < 10; call++) {
      const controller = new AbortController()
      fixture.clock.after(100, () => controller.abort())
      await fixture.run(fixture.call('probe.script', {}, {}, { signal: controller.signal }))
    }
    assert.deepEqual(fixture.parts.breakers.list(), [])
    // Negative control: the same error of a run that nobody cancelled opens it.
    const lost = createRuntimeFixture({
      script: () => {
        throw mhvError('MHV_SSH_CONNECTION_LOST', 'lost')
      },
    })
    for (let call = 0; call < 5; call++) await lost.run(lost.call('probe.script'))
    assert.deepEqual(
      lost.parts.breakers.list().map(({ state }) => state),
      ['open'],
    )
  })
})
