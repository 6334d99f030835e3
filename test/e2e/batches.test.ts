import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { parse, stringify } from 'yaml'
import { createInstances, production } from '../../src/app.ts'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import { EXIT } from '../../src/core/error-table.ts'
import type { OpenInstance } from '../../src/runtime/instance.ts'
import { mcpRoute } from '../../src/surfaces/http/mcp-route.ts'
import { createHttpServer, type HttpServer } from '../../src/surfaces/http/server.ts'
import { runHere, surfaceApp } from '../helpers/mcp-cli-fixture.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

const TOKEN = 'a-token-for-tests-that-is-long-enough'
const COUNT = 25

/** What a surface can do with a batch, however it is asked there. Errors come as whatever tells their code. */
type Surface = (name: string, input: Record<string, unknown>) => Promise<Answer>
// biome-ignore lint/suspicious/noExplicitAny: answers of every shape
type Answer = any

describe('RES-11: batches over many targets of a real host, on every surface', { skip: sshdMissing() }, () => {
  const composition = { ...production(), env: {} }
  let sshd: Sshd
  let folder: string
  let world: string
  let instance: OpenInstance
  let server: HttpServer
  let url: string
  let client: Client

  before(async () => {
    sshd = await startSshd()
    folder = await sshInstance(sshd)
    world = await mkdtemp(join(tmpdir(), 'mhv-world-'))
    const file = join(folder, 'settings', 'inventory.yaml')
    const { box } = (parse(await readFile(file, 'utf8')) as { targets: Record<string, object> }).targets
    const names = Array.from({ length: COUNT }, (_, index) => `web-${index + 1}`)
    const targets = Object.fromEntries([...names.map((name) => [name, { ...box, tags: ['web'] }]), ['db-1', box]])
    await writeFile(file, stringify({ version: 1, targets }))
    instance = await createInstances(composition).open({ folder, doing: 'up', set: { 'log.level': 'error' } })
    const settings = httpSettingsSchema.parse({ port: 0 })
    const mount = mcpRoute(instance, '9.8.7', settings)
    server = await createHttpServer({
      instance,
      token: { name: 'agent', value: TOKEN },
      settings,
      version: '9.8.7',
      mount,
    })
    url = (await server.listen()).url
    client = new Client({ name: 'test', version: '1.0.0' })
    const requestInit = { headers: { authorization: `Bearer ${TOKEN}` } }
    await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', url), { requestInit }))
  })
  after(async () => {
    await client.close()
    server.drain()
    await instance.close()
    await server.close()
    await sshd.stop()
    await rm(folder, { recursive: true, force: true })
    await rm(world, { recursive: true, force: true })
  })

  function cli(...args: string[]) {
    return runHere([...args, '--folder', folder, '--json'], { app: surfaceApp(composition) })
  }

  async function http(method: string, path: string, body?: unknown): Promise<Answer> {
    const answer = await fetch(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return answer.json()
  }

  const surfaces: Record<string, Surface> = {
    async CLI(name, { operation, batch_id, ...rest }) {
      const verb = name === 'batch_get' ? 'show' : name.slice('batch_'.length)
      const options = Object.entries(rest).flatMap(([key, value]) => {
        const flag = `--${key.replaceAll('_', '-')}`
        if (value === true) return [flag]
        return [flag, typeof value === 'object' ? JSON.stringify(value) : String(value)]
      })
      const yes = ['batch_run', 'batch_rerun'].includes(name) ? ['--yes'] : []
      const { stdout } = await cli('batches', verb, String(operation ?? batch_id), ...options, ...yes)
      return JSON.parse(stdout)
    },
    async HTTP(name, { operation, batch_id, ...rest }) {
      const path = `/v1/batches/${operation ?? batch_id}`
      const verb = name.slice('batch_'.length)
      if (name !== 'batch_get' && name !== 'batch_plan') return http('POST', `${path}/${verb}`, rest)
      const query = Object.entries(rest).map(([key, value]): [string, string] => [
        key,
        typeof value === 'object' ? JSON.stringify(value) : String(value),
      ])
      return http('GET', `${path}${name === 'batch_get' ? '' : '/plan'}?${new URLSearchParams(query)}`)
    },
    async MCP(name, input) {
      const { structuredContent, content, isError } = await client.callTool({
        name: 'operation_call',
        arguments: { operation: name, input },
      })
      return isError ? { text: JSON.stringify(content), ...(structuredContent as object) } : structuredContent
    },
  }

  for (const [name, call] of Object.entries(surfaces)) {
    test(`${name}: a plan is applied by its digest, each target once, and what came out is one group`, async () => {
      const effects = join(world, `${name}-effects`)
      const input = { command: `echo done >> ${effects}; echo same` }
      const request = { operation: 'ssh.execute', select: 'tag:web and not name:web-2?', batch_size: '40%', input }
      const plan = await call('batch_plan', request)
      assert.deepEqual([plan.total, plan.allowed, plan.batches.length, plan.failure_limit], [19, 19, 3, 0])
      const drift = await call('batch_run', { ...request, batch_size: '50%', plan_digest: plan.plan_digest })
      assert.match(JSON.stringify(drift), /MHV_PLAN_CHANGED/)
      const done = await call('batch_run', { ...request, plan_digest: plan.plan_digest })
      assert.deepEqual([done.batch.state, done.batch.done, done.batch.failed], ['completed', 19, 0])
      assert.equal(await readFile(effects, 'utf8'), 'done\n'.repeat(19))
      const [group, ...others] = done.groups
      assert.deepEqual([others.length, group.count, group.exit_code, group.output.trim()], [0, 19, 0, 'same'])
      const shown = await call('batch_get', { batch_id: done.batch.batch_id })
      const types = shown.events.map(({ type }: { type: string }) => type)
      assert.deepEqual(types, ['started', 'batch_started', 'batch_started', 'batch_started', 'finished'])
    })

    test(`${name}: too many failures end it, and a rerun touches only what failed`, async () => {
      const ready = join(world, `${name}-ready`)
      const input = { command: `test -e ${ready} || exit 3; echo again >> ${ready}` }
      const options = { batch_size: '5', parallel: 5, max_fail: 2 }
      const failed = await call('batch_run', { operation: 'ssh.execute', select: 'web-*', input, ...options })
      const { batch } = failed
      assert.deepEqual([batch.state, batch.error_code, batch.total], ['failed', 'MHV_BATCH_FAILURES', COUNT])
      assert.ok(batch.failed > 2 && batch.failed <= 2 + 5, `${batch.failed} failed`)
      assert.deepEqual([failed.groups.length, failed.groups[0].exit_code], [1, 3])
      await writeFile(ready, '')
      const again = await call('batch_rerun', { batch_id: batch.batch_id })
      assert.deepEqual([again.batch.state, again.batch.total], ['completed', batch.failed])
      assert.equal(await readFile(ready, 'utf8'), 'again\n'.repeat(batch.failed))
      assert.deepEqual(again.groups[0].targets, failed.groups[0].targets)
      const nothing = await call('batch_rerun', { batch_id: again.batch.batch_id })
      assert.match(JSON.stringify(nothing), /MHV_BATCH_STATE/)
    })

    test(`${name}: it is stopped, and its runs are cancelled on the far side`, async () => {
      const run = { operation: 'ssh.execute', select: 'web-*', input: { command: 'sleep 40' }, parallel: 3, seconds: 0 }
      const { batch, ended } = await call('batch_run', run)
      assert.equal(ended, false)
      const stopped = await call('batch_stop', { batch_id: batch.batch_id, cancel: true })
      assert.deepEqual([stopped.batch.state, stopped.ended], ['stopped', true])
      assert.ok(stopped.batch.done <= 3)
    })

    test(`${name}: what cannot be read is refused with the place`, async () => {
      const input = { command: 'true' }
      const selector = await call('batch_plan', { operation: 'ssh.execute', select: 'tag:web and', input })
      assert.match(JSON.stringify(selector), /select, character 12/)
    })
  }

  test('the exit code tells whether all of it went well, and a run names its batch', async () => {
    const run = (command: string) =>
      cli('batches', 'run', 'ssh.execute', '--select', 'web-1,db-1', '--input', JSON.stringify({ command }))
    const good = await run('true')
    assert.equal(good.code, EXIT.ok)
    assert.equal((await run('false')).code, EXIT.permanent)
    const { batch_id } = JSON.parse(good.stdout).batch
    const { runs } = JSON.parse((await cli('runs', 'list', '--limit', '200')).stdout)
    const own = runs.filter(({ metadata }: Answer) => metadata.parent === batch_id)
    assert.deepEqual(own.map(({ target }: Answer) => target).toSorted(), ['db-1', 'web-1'])
  })
})
