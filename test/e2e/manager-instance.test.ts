import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createInstances, production } from '../../src/app.ts'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { createWorkerManager } from '../../src/runtime/manager.ts'
import type { TaskResult } from '../../src/runtime/manager-types.ts'
import { createHttpServer } from '../../src/surfaces/http/server.ts'
import { createUpstreamTools } from '../../src/surfaces/mcp/upstream.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { sshdMissing, startSshd } from '../helpers/sshd.ts'

const PROMPTS = { probe: { operation: 'probe.touch', field: 'value' } }

async function withInstance(folder: string, probe: boolean, use: (instance: Instance) => Promise<void>): Promise<void> {
  const composition = probe ? probeComposition() : { ...production(), env: {} }
  const instance = await createInstances(composition).open({ folder, doing: 'test' })
  try {
    await use(instance)
  } finally {
    await instance.close()
    await rm(folder, { recursive: true, force: true })
  }
}

describe('the manager over an instance', () => {
  test('MGR-01: each task is one journaled run, and each result is that of its run', async () => {
    await withInstance(await probeFolder(), true, async (instance) => {
      const manager = createWorkerManager({ instance, clock: systemClock, prompts: PROMPTS })
      await assert.rejects(manager.spawn_workers('probe'), /probe:one, probe:two/)
      const ids = [...(await manager.spawn_workers('probe:one', 3)), ...(await manager.spawn_workers('probe:two', 2))]
      const prompts = Array.from({ length: 60 }, (_, index) => `prompt ${index} ${'x'.repeat(index * 50)}`)
      const tasks = prompts.map((value, index) =>
        index % 7 === 3 ? { operation: 'probe.fail', input: { code: 'MHV_SSH_AUTH_FAILED' }, target: 'two' } : value,
      )
      // The breaker of a target that fails holds calls back: those are results too.
      const results = await manager.execute_batch(ids, tasks)
      assert.equal(results.length, prompts.length)
      for (const [index, result] of results.entries()) {
        assert.equal(result.worker_id, ids[index % ids.length])
        if (result.status !== 'completed') continue
        assert.equal(result.output, prompts[index])
        const { run } = (await instance.control({
          name: 'run_get',
          input: { run_id: result.run_id },
          principal: instance.principal,
        })) as { run: { output: string; status: string } }
        assert.deepEqual([run.output, run.status], [prompts[index], 'completed'])
      }
      assert.ok(results.every(({ status, metadata }) => status === 'completed' || metadata.error_code !== null))
      assert.equal(results.filter(({ status }) => status === 'completed').length >= 30, true)
      assert.equal(manager.collect_results(ids).results.length, 60)
      assert.deepEqual((await manager.close_all()).sort(), [...ids].sort())
    })
  })

  test('the settings manager.* bound it, and the profile upstream with it, also over the socket', async () => {
    const folder = await probeFolder()
    const settings = 'version: 1\nmanager: { max_spawned: 3, max_concurrent: 1 }\n'
    await writeFile(join(folder, 'settings', 'mahavishnu.yaml'), settings)
    await withInstance(folder, true, async (opened) => {
      const server = await createHttpServer({
        instance: opened,
        token: { name: 'default', value: 'not used over the socket' },
        settings: httpSettingsSchema.parse({ port: 0 }),
        version: '1',
      })
      await server.listen()
      const remote = await createInstances(probeComposition()).use({ folder, doing: 'cli' })
      for (const instance of [opened, remote]) {
        const tools = createUpstreamTools({ prompts: PROMPTS })
        const { principal } = instance
        const context = { principal, surface: 'mcp', signal: new AbortController().signal }
        const call = (name: string, input: Record<string, unknown>) =>
          tools.find((tool) => tool.name === name)?.call(instance, input, context)
        await call('worker_spawn', { worker_type: 'probe:one', count: 3 })
        await assert.rejects(async () => call('worker_spawn', { worker_type: 'probe:one' }), {
          code: 'MHV_MANAGER_FULL',
          message: /room for 3 \(manager\.max_spawned\)/,
        })
        const health = await call('worker_health', {})
        assert.deepEqual([health?.max_spawned, health?.max_concurrent], [3, 1])
      }
      await remote.close()
      await server.close()
    })
  })

  test('closing by force cancels the run itself', async () => {
    await withInstance(await probeFolder(), true, async (instance) => {
      const manager = createWorkerManager({ instance, clock: systemClock })
      const [id = ''] = await manager.spawn_workers('probe:one')
      const task = manager.execute_task(id, { operation: 'probe.emit', input: { pieces: ['a'], wait_ms: 20_000 } })
      await delay(100)
      await manager.close_worker(id, true)
      const { status, run_id } = await task
      assert.equal(status, 'cancelled')
      const page = await instance.control({ name: 'run_output', input: { run_id }, principal: instance.principal })
      assert.match(JSON.stringify(page.chunks), /"text":"a"/)
    })
  })
})

test('the tools of the profile upstream: the whole life of workers', async () => {
  await withInstance(await probeFolder(), true, async (instance) => {
    const tools = createUpstreamTools({ prompts: PROMPTS, answerSeconds: 0.3 })
    const callAs = async (id: string, name: string, input: Record<string, unknown> = {}) => {
      const tool = tools.find((each) => each.name === name)
      assert.ok(tool)
      const principal = { id, kind: 'agent' as const }
      return tool.call(instance, input, { principal, surface: 'mcp', signal: new AbortController().signal })
    }
    const call = (name: string, input?: Record<string, unknown>) => callAs('agent:a', name, input)
    const { worker_ids } = (await call('worker_spawn', { worker_type: 'probe:one', count: 2 })) as {
      worker_ids: string[]
    }
    const [first = '', second = ''] = worker_ids
    const done = await call('worker_execute', { worker_id: first, prompt: 'hello', timeout: 30 })
    assert.deepEqual([done.status, done.output, done.exit_code, done.worker_id], ['completed', 'hello', 0, first])
    const batch = (await call('worker_execute_batch', { worker_ids, prompts: ['1', '2', '3'] })) as {
      result: TaskResult[]
    }
    assert.deepEqual(
      batch.result.map(({ output }) => output),
      ['1', '2', '3'],
    )
    const collected = await call('worker_collect_results', { since_offset: 1 })
    assert.deepEqual((collected.results as TaskResult[]).map(({ output }) => output).sort(), ['1', '2', '3'])
    assert.equal(collected.next_offset, 4)
    assert.deepEqual(await call('worker_monitor', { interval: 0 }), { [first]: 'completed', [second]: 'completed' })
    const { result } = (await call('worker_list')) as { result: { worker_id: string; target: string }[] }
    assert.deepEqual(
      result.map(({ worker_id, target }) => [worker_id, target]),
      [
        [first, 'one'],
        [second, 'one'],
      ],
    )
    assert.equal((await call('worker_health')).status, 'healthy')
    // Another client has none of this.
    assert.deepEqual(await callAs('agent:b', 'worker_list'), { result: [] })
    assert.deepEqual((await callAs('agent:b', 'worker_collect_results')).results, [])
    await assert.rejects(callAs('agent:b', 'worker_execute', { worker_id: first, prompt: 'x' }), /no spawned worker/)
    assert.deepEqual(await call('worker_close', { worker_id: first }), { success: true, worker_id: first })
    assert.equal((await call('worker_close', { worker_id: first })).success, false)
    assert.equal((await call('worker_close_all')).closed_count, 1)
  })
})

describe('with a real host', { skip: sshdMissing() }, () => {
  test('prompts are commands; a late answer is collected', async () => {
    const sshd = await startSshd()
    try {
      await withInstance(await sshInstance(sshd), false, async (instance) => {
        const tools = createUpstreamTools({ answerSeconds: 2 })
        const call = async (name: string, input: Record<string, unknown> = {}) => {
          const signal = new AbortController().signal
          const made = { principal: instance.principal, surface: 'mcp', signal }
          return tools.find((each) => each.name === name)?.call(instance, input, made) as Promise<
            Record<string, unknown>
          >
        }
        const { worker_ids } = (await call('worker_spawn', { worker_type: 'ssh', count: 3 })) as {
          worker_ids: string[]
        }
        const prompts = [
          'echo out; echo err >&2; exit 3',
          'seq 1 20000',
          'kill -KILL $$',
          'printf "%s" "$0"; cat',
          'sleep 3; echo late',
        ]
        const answer = (await call('worker_execute_batch', { worker_ids, prompts })) as { result: TaskResult[] }
        const [one, two, three, four, five] = answer.result
        assert.deepEqual([one?.output, one?.exit_code, one?.status], ['out\n', 3, 'completed'])
        assert.match(JSON.stringify(one?.metadata), /"stderr":"err\\n"/)
        assert.ok(
          two?.output === `${Array.from({ length: 20_000 }, (_, index) => index + 1).join('\n')}\n`,
          'not whole',
        )
        assert.match(JSON.stringify(three?.metadata), /"signal":"KILL"/)
        assert.equal(four?.exit_code, 0)
        assert.equal(five?.status, 'running')
        const since_offset = Number(five?.metadata.since_offset)
        await call('worker_monitor', { worker_ids: [worker_ids[1]], interval: 10 })
        const { results } = (await call('worker_collect_results', { since_offset })) as { results: TaskResult[] }
        assert.equal(results.length, 5)
        assert.equal(results.at(-1)?.output, 'late\n')
        await call('worker_close_all')
      })
    } finally {
      await sshd.stop()
    }
  })
})
