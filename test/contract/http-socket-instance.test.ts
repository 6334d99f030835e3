/** One contract for both: the instance that is opened here, and the one that runs elsewhere and is used over its socket. */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { afterEach, describe, test } from 'node:test'
import { createInstances } from '../../src/app.ts'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import type { EnvelopeInput } from '../../src/core/envelope.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import type { FollowItem } from '../../src/runtime/follow.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import type { InvokeRequest } from '../../src/runtime/runtime.ts'
import { createHttpServer } from '../../src/surfaces/http/server.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'
import { until } from '../helpers/processes.ts'

const closing: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function embedded(): Promise<Instance> {
  const folder = await probeFolder()
  const instance = await createInstances(probeComposition()).use({ folder, doing: 'test' })
  closing.push(() => rm(folder, { recursive: true, force: true }), instance.close)
  return instance
}

async function overSocket(): Promise<Instance> {
  const folder = await probeFolder()
  const instances = createInstances(probeComposition())
  const running = await instances.open({ folder, doing: 'up' })
  const server = await createHttpServer({
    instance: running,
    token: { name: 'default', value: 'not used over the socket' },
    settings: { ...httpSettingsSchema.parse({}), port: 0 },
    version: '1',
  })
  await server.listen()
  closing.push(() => rm(folder, { recursive: true, force: true }), server.close, running.close)
  // Another process would compose the same; that it gets no instance of its own shows in the lock, which is taken.
  const remote = await instances.use({ folder, doing: 'cli' })
  closing.push(remote.close)
  return remote
}

function call(instance: Instance, operation: string, input: unknown, rest: Partial<InvokeRequest> = {}) {
  const { envelope, ...others } = rest
  return instance.invoke({
    operation,
    input,
    envelope: { target: 'one', ...envelope } as EnvelopeInput,
    principal: instance.principal,
    surface: 'cli',
    ...others,
  })
}

const ask = (instance: Instance, name: string, input: unknown) =>
  instance.control({ name, input, principal: instance.principal })

async function followAll(instance: Instance, run_id: string, from: Partial<Parameters<Instance['follow']>[0]> = {}) {
  const items: FollowItem[] = []
  const signal = new AbortController().signal
  const request = { run_id, afterEvent: 0, afterOutput: 0, signal, principal: instance.principal, ...from }
  for await (const item of instance.follow(request)) items.push(item)
  return items
}

for (const [kind, make] of [
  ['opened here', embedded],
  ['used over its socket', overSocket],
] as const) {
  describe(`an instance ${kind}`, () => {
    test('invokes, as this user and through the surface that is named', async () => {
      const instance = await make()
      const run = await call(instance, 'probe.touch', { value: 'v' })
      assert.deepEqual([run.status, run.data], ['completed', { value: 'v' }])
      assert.deepEqual([run.metadata.principal, run.metadata.surface], [instance.principal.id, 'cli'])
      assert.equal((await call(instance, 'probe.touch', {}, { surface: 'mcp' })).metadata.surface, 'mcp')
    })

    test('rejects with the error as it was thrown', async () => {
      const instance = await make()
      const refused = call(instance, 'probe.touch', { valu: 1 })
      await assert.rejects(refused, { name: 'MhvError', code: 'MHV_INPUT_INVALID', message: /"valu"; did you mean/ })
      await assert.rejects(call(instance, 'probe.tuch', {}), { code: 'MHV_OPERATION_UNKNOWN' })
      const target = call(instance, 'probe.touch', {}, { envelope: { target: 'nowhere' } })
      await assert.rejects(target, (error: { code: string; remedy: string }) => {
        assert.equal(error.code, 'MHV_TARGET_UNKNOWN')
        return error.remedy !== ''
      })
    })

    test('a failed run is a result with all that is known of it', async () => {
      const instance = await make()
      const run = await call(instance, 'probe.fail', { code: 'MHV_SSH_AUTH_FAILED' })
      assert.deepEqual([run.status, run.error_code, run.effect_certainty], ['failed', 'MHV_SSH_AUTH_FAILED', 'none'])
    })

    test('tells of progress', async () => {
      const instance = await make()
      const told: unknown[] = []
      const onProgress = (progress: unknown) => told.push(progress)
      const run = await call(instance, 'probe.emit', { pieces: ['a', 'b'], wait_ms: 100 }, { onProgress })
      assert.equal(run.status, 'completed')
      assert.deepEqual(told, [{ progress: 2, message: 'written' }])
    })

    test('a run that is refused, or fails, after it told of progress, is told as it is', async () => {
      const instance = await make()
      const onProgress = () => undefined
      const run = await call(instance, 'probe.emit', { wait_ms: 20_000 }, { onProgress, envelope: { timeout: 0.2 } })
      assert.equal(run.status, 'timeout')
    })

    for (const onProgress of [undefined, () => undefined]) {
      test(`an abort cancels the run and answers with its end${onProgress ? ', with progress' : ''}`, async () => {
        const instance = await make()
        const controller = new AbortController()
        const answer = call(instance, 'probe.emit', { wait_ms: 20_000 }, { signal: controller.signal, onProgress })
        const running = async () => (await ask(instance, 'run_list', { status: 'running' })).runs as WorkerResult[]
        assert.ok(await until(async () => (await running()).length === 1))
        controller.abort()
        assert.equal((await answer).status, 'cancelled')
      })
    }

    test('an abort cancels a run with a key too: somebody said so', async () => {
      const instance = await make()
      const controller = new AbortController()
      const envelope = { idempotency_key: 'k' }
      const answer = call(instance, 'probe.emit', { wait_ms: 20_000 }, { signal: controller.signal, envelope })
      const running = async () => (await ask(instance, 'run_list', { status: 'running' })).runs as WorkerResult[]
      assert.ok(await until(async () => (await running()).length === 1))
      controller.abort()
      assert.equal((await answer).status, 'cancelled')
    })

    test('an abort cancels a large call that has not arrived yet', async () => {
      const instance = await make()
      const controller = new AbortController()
      const input = { pieces: ['x'.repeat(900_000)], wait_ms: 3_000 }
      const answer = call(instance, 'probe.emit', input, { signal: controller.signal })
      controller.abort()
      const ended = await answer.then(
        ({ status }) => status,
        ({ code }) => code,
      )
      assert.ok(['cancelled', 'MHV_RUN_CANCELLED_QUEUED'].includes(ended), ended)
    })

    test('a caller who goes away from a run that goes on is told in it', async () => {
      const instance = await make()
      const left = new AbortController()
      const answer = call(instance, 'probe.emit', { wait_ms: 1_000 }, { left: left.signal })
      const running = async () => (await ask(instance, 'run_list', { status: 'running' })).runs as WorkerResult[]
      assert.ok(await until(async () => (await running()).length === 1))
      left.abort()
      const { run_id, status } = await answer
      const { events } = await ask(instance, 'run_get', { run_id })
      const told = (events as { type: string; data: unknown }[]).filter(({ type }) => type === 'caller_left')
      const data = { principal: instance.principal.id, surface: 'cli', reason: 'the caller went away; the run goes on' }
      assert.deepEqual([status, told.map((each) => each.data)], ['completed', [data]])
    })

    test('a signal that was aborted before begins nothing', async () => {
      const instance = await make()
      const refused = call(instance, 'probe.touch', {}, { signal: AbortSignal.abort() })
      await assert.rejects(refused, { code: 'MHV_RUN_CANCELLED_QUEUED' })
      assert.deepEqual((await ask(instance, 'run_list', {})).runs, [])
    })

    test('gives a handle, waits, reads output and cancels', async () => {
      const instance = await make()
      const handle = await call(instance, 'probe.emit', { pieces: ['out'], wait_ms: 20_000 }, { envelope: { wait: 0 } })
      assert.ok(['pending', 'running'].includes(handle.status))
      const { run_id } = handle
      assert.equal((await ask(instance, 'run_wait', { run_id, seconds: 0.1 })).ended, false)
      assert.ok(
        await until(async () => ((await ask(instance, 'run_output', { run_id })).chunks as unknown[]).length === 1),
      )
      const { run } = await ask(instance, 'run_cancel', { run_id })
      assert.equal((run as WorkerResult).status, 'cancelled')
      await assert.rejects(ask(instance, 'run_get', { run_id: 'none' }), { code: 'MHV_RUN_UNKNOWN' })
      await assert.rejects(ask(instance, 'run_gett', {}), { code: 'MHV_OPERATION_UNKNOWN' })
    })

    test('follows a run from any point to its end, with the times as they are', async () => {
      const instance = await make()
      const input = { pieces: ['a', 'b', 'ü\n\n\u2028'], wait_ms: 300 }
      const { run_id } = await call(instance, 'probe.emit', input, { envelope: { wait: 0 } })
      const items = await followAll(instance, run_id)
      const events = items.filter((item) => item.kind === 'event')
      const { events: journaled } = await ask(instance, 'run_get', { run_id })
      assert.deepEqual(
        events.map(({ event }) => ({ ...event, at: new Date(event.at).toISOString(), run_id: undefined })),
        (journaled as object[]).map((event) => ({ ...event, run_id: undefined })),
      )
      assert.ok(events.every(({ event }) => event.run_id === run_id))
      const text = items.flatMap((item) => (item.kind === 'output' ? item.text : []))
      assert.equal(text.join(''), input.pieces.join(''))
      const last = items.at(-1)
      assert.ok(last?.kind === 'end' && last.run.status === 'completed')
      const rest = await followAll(instance, run_id, { afterEvent: 2, afterOutput: 1 })
      assert.ok(rest.every((item) => item.kind !== 'event' || item.seq > 2))
      assert.ok(rest.every((item) => item.kind !== 'output' || item.cursor > 1))
    })

    test('following ends quietly when it is aborted, and the run goes on', async () => {
      const instance = await make()
      const { run_id } = await call(instance, 'probe.emit', { wait_ms: 1_500 }, { envelope: { wait: 0 } })
      const items = await followAll(instance, run_id, { signal: AbortSignal.timeout(500) })
      assert.ok(items.every(({ kind }) => kind !== 'end'))
      const { run } = await ask(instance, 'run_wait', { run_id })
      assert.equal((run as WorkerResult).status, 'completed')
      await assert.rejects(followAll(instance, 'none'), { code: 'MHV_RUN_UNKNOWN' })
    })

    test('knows targets, readiness and metrics', async () => {
      const instance = await make()
      assert.deepEqual(instance.targetNames(), ['one', 'two'])
      assert.deepEqual(instance.targetNames('probe'), ['one', 'two'])
      assert.deepEqual(instance.targetNames('other'), [])
      assert.deepEqual(await instance.readiness(), { ready: true, reasons: [] })
      assert.match(await instance.metrics(), /^mahavishnu_runs_total|# TYPE mahavishnu_runs_total counter/m)
    })

    test('reads and writes side by side', async () => {
      const instance = await make()
      const runs = await Promise.all(
        Array.from({ length: 50 }, (_, index) => call(instance, 'probe.touch', { value: `${index}` })),
      )
      assert.deepEqual(
        runs.map(({ data }) => data),
        runs.map((_run, index) => ({ value: `${index}` })),
      )
    })
  })
}
