import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type Script } from '../../test/helpers/runtime-parts.ts'
import type { AnyWorker } from '../core/worker.ts'
import { createMemoryStore } from '../store/memory.ts'
import type { Store } from '../store/store.ts'
import { createFakeClock } from '../testing/fake-clock.ts'

const forever: Script = (context) => context.clock.sleep(1e9, context.signal)

suite('closing', () => {
  test('ends what acts and what waits, journals it, and takes nothing new', async () => {
    const fixture = createRuntimeFixture({ limits: { max_concurrent: 1, queue_size: 5 }, script: forever })
    const calls = [fixture.call('probe.script'), fixture.call('probe.script'), fixture.call('probe.peek')]
    await fixture.clock.advance(100)
    const closing = fixture.close(10_000)
    await assert.rejects(fixture.call('probe.touch'), { code: 'MHV_SHUTTING_DOWN' })
    const results = await fixture.run(Promise.all(calls))
    await fixture.run(closing)
    assert.deepEqual(
      results.map(({ status, error_code, effect_certainty }) => [status, error_code, effect_certainty]),
      [
        ['cancelled', 'MHV_RUN_CANCELLED', 'unknown'],
        ['cancelled', 'MHV_RUN_CANCELLED_QUEUED', 'none'],
        ['cancelled', 'MHV_RUN_CANCELLED_QUEUED', 'none'],
      ],
    )
    assert.deepEqual(await fixture.store.unfinishedRuns(), [])
    assert.ok(fixture.clock.monotonic() < 1_000)
  })

  test('while a run is being journaled waits for it, and it never acts', async () => {
    const clock = createFakeClock(0)
    const memory = createMemoryStore(clock)
    const store: Store = {
      ...memory,
      async createRun(run) {
        await clock.sleep(1_000)
        return memory.createRun(run)
      },
    }
    const fixture = createRuntimeFixture({ clock, store })
    const call = fixture.call('probe.touch')
    await clock.advance(100)
    const closing = fixture.close(10_000)
    const result = await fixture.run(call)
    await fixture.run(closing)
    assert.deepEqual([result.status, result.effect_certainty], ['cancelled', 'none'])
    assert.deepEqual(fixture.ledger.calls, [])
    assert.deepEqual(await memory.unfinishedRuns(), [])
  })

  test('between the look at the disk and the run, nothing slips through', async () => {
    let looking: (() => void) | undefined
    const checkDisk = () =>
      new Promise<void>((resolve) => {
        looking = resolve
      })
    const fixture = createRuntimeFixture({ checkDisk })
    const call = fixture.call('probe.touch')
    await fixture.clock.advance(10)
    await fixture.run(fixture.close(1_000))
    looking?.()
    await assert.rejects(call, { code: 'MHV_SHUTTING_DOWN' })
    assert.deepEqual(fixture.ledger.calls, [])
  })

  test('does not wait longer than it was told to', async () => {
    const fixture = createRuntimeFixture({
      script: (context) => context.clock.sleep(1e9),
      runs: { abort_grace_seconds: 600 },
    })
    void fixture.call('probe.script').catch(() => undefined)
    await fixture.clock.advance(100)
    const started = fixture.clock.monotonic()
    await fixture.run(fixture.close(5_000))
    const took = fixture.clock.monotonic() - started
    assert.ok(took >= 5_000 && took < 5_200, `${took} ms`)
    assert.deepEqual(fixture.parts.live.all(), [])
  })
})

suite('workers of an instance', () => {
  /** The probe, with its start and its end in the hands of a test. */
  function withWorker(worker: Partial<AnyWorker>) {
    return createRuntimeFixture({ script: () => ({ value: 1 }), worker: (probe) => ({ ...probe, ...worker }) })
  }

  test('are started once, on first use, however many calls there are', async () => {
    let starts = 0
    const connect = async () => {
      starts += 1
      return { stats: () => ({}), close: async () => undefined }
    }
    const fixture = withWorker({ connect })
    assert.equal(fixture.parts.instances.started('probe'), undefined)
    await fixture.run(Promise.all(Array.from({ length: 10 }, () => fixture.call('probe.script'))))
    assert.equal(starts, 1)
    assert.ok(fixture.parts.instances.started('probe'))
  })

  test('are closed once each, at the same time; one that hangs or throws holds nobody up', async () => {
    const closed: string[] = []
    for (const close of [
      async () => void closed.push('well'),
      async () => {
        throw new Error('broken')
      },
      () => new Promise<void>(() => undefined),
    ]) {
      const fixture = withWorker({ connect: async () => ({ stats: () => ({}), close }) })
      await fixture.run(fixture.call('probe.script'))
      const { instances } = fixture.parts
      await fixture.run(Promise.all([instances.close(), instances.close()]))
      assert.equal(instances.started('probe'), undefined)
      await assert.rejects(instances.get(fixture.parts.registry.worker('probe')), { code: 'MHV_SHUTTING_DOWN' })
    }
    assert.deepEqual(closed, ['well'])
  })

  test('one that is still starting is closed when it has started', async () => {
    const gate = Promise.withResolvers<void>()
    let closed = 0
    const connect = async () => {
      await gate.promise
      return {
        stats: () => ({}),
        close: async () => {
          closed += 1
        },
      }
    }
    const fixture = withWorker({ connect })
    const starting = fixture.parts.instances.get(fixture.parts.registry.worker('probe'))
    await fixture.run(fixture.parts.instances.close())
    assert.equal(closed, 0)
    gate.resolve()
    await assert.rejects(starting, { code: 'MHV_SHUTTING_DOWN' })
    assert.equal(closed, 1)
  })

  test('a port is what the worker that provides it makes of its connection', async () => {
    const fixture = withWorker({ provides: { DumpStream: () => ({ dump: async () => ({ bytes: 7 }) }) } })
    const port = await fixture.parts.instances.need('DumpStream')
    assert.deepEqual(await port.dump('one', async () => undefined, AbortSignal.timeout(1_000)), { bytes: 7 })
    await assert.rejects(fixture.parts.instances.need('RemoteExec'), { code: 'MHV_PORT_MISSING' })
  })

  test('the state of a worker is its own, in the journal', async () => {
    const fixture = createRuntimeFixture({
      async script(context) {
        await context.state.set('a/1', { n: 1 })
        await context.state.set('a/2', [2])
        await context.state.delete('a/2')
        return { value: [await context.state.get('a/1'), await context.state.list('a/')] }
      },
    })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(result.data, { value: [{ n: 1 }, [{ key: 'a/1', value: { n: 1 } }]] })
    assert.deepEqual(await fixture.store.stateGet('probe', 'a/1'), { n: 1 })
  })
})

suite('a process that waits for a run', () => {
  /** Runs a call of an operation that waits for something that keeps no process alive. */
  async function waits(change: string): Promise<{ code: number | null; out: string }> {
    const program = `
      import { createRuntimeFixture } from ${JSON.stringify(join(import.meta.dirname, '../../test/helpers/runtime-parts.ts'))}
      import { systemClock } from ${JSON.stringify(join(import.meta.dirname, '../core/clock.ts'))}
      const fixture = createRuntimeFixture({
        clock: systemClock,
        script: () => new Promise(() => undefined),
        runs: { abort_grace_seconds: 0.1 },
        ${change}
      })
      const result = await fixture.call('probe.script', {}, { timeout: 0.3 })
      process.stdout.write(result.status)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let out = ''
    child.stdout.on('data', (bytes: Buffer) => {
      out += bytes.toString()
    })
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
    return { code, out }
  }

  test('does not end before the run has: its deadline comes, also where nothing else keeps it alive', async () => {
    assert.match((await waits('')).out, /^timeout/)
    // Negative control: without the live runs keeping it alive, it ends in the middle (code 13: unsettled await).
    const without = await waits('change: (parts) => ({ ...parts, live: { ...parts.live, add: () => undefined } }),')
    assert.deepEqual([without.code, without.out.includes('timeout')], [13, false])
  })
})
