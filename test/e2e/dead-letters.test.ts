import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
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

/** What a surface can do with a dead letter, however it is asked there. Errors come as their code. */
interface Surface {
  execute(input: Record<string, unknown>, timeout?: number): Promise<void>
  call(name: string, input: Record<string, unknown>): Promise<Answer>
}
// biome-ignore lint/suspicious/noExplicitAny: answers of every shape
type Answer = any

describe('RES-07: dead letters of a real host, on every surface', { skip: sshdMissing() }, () => {
  const composition = { ...production(), env: {} }
  let sshd: Sshd
  let folder: string
  let world: string
  let instance: OpenInstance
  let server: HttpServer
  let url: string
  let client: Client

  async function open(): Promise<void> {
    const set = { 'log.level': 'error' }
    instance = await createInstances(composition).open({ folder, doing: 'up', set })
    const settings = httpSettingsSchema.parse({ port: 0 })
    server = await createHttpServer({
      instance,
      token: { name: 'agent', value: TOKEN },
      settings,
      version: '9.8.7',
      mount: mcpRoute(instance, '9.8.7', settings),
    })
    url = (await server.listen()).url
    client = new Client({ name: 'test', version: '1.0.0' })
    const requestInit = { headers: { authorization: `Bearer ${TOKEN}` } }
    await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', url), { requestInit }))
  }

  async function close(): Promise<void> {
    await client.close()
    server.drain()
    await instance.close()
    await server.close()
  }

  before(async () => {
    sshd = await startSshd()
    folder = await sshInstance(sshd)
    world = await mkdtemp(join(tmpdir(), 'mhv-world-'))
    await open()
  })
  after(async () => {
    await close()
    await sshd.stop()
    await rm(folder, { recursive: true, force: true })
    await rm(world, { recursive: true, force: true })
  })

  async function cli(...args: string[]) {
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
    CLI: {
      async execute({ command, cwd }, timeout = 30) {
        const where = cwd === undefined ? [] : ['--cwd', String(cwd)]
        const words = ['ssh', 'execute', 'box', ...where, '--timeout', String(timeout), '--folder', folder, '--json']
        await runHere([...words, '--', String(command)], { app: surfaceApp(composition) })
      },
      async call(name, { letter_id, ...rest }) {
        const options = Object.entries(rest).flatMap(([key, value]) => {
          const flag = `--${key.replaceAll('_', '-')}`
          return value === true ? [flag] : [flag, String(value)]
        })
        const word = [
          ...(letter_id === undefined ? [] : [String(letter_id)]),
          ...(name === 'dlq_purge' ? ['--yes'] : []),
        ]
        const { stdout } = await cli('dlq', name.slice('dlq_'.length), ...word, ...options)
        return JSON.parse(stdout)
      },
    },
    HTTP: {
      async execute(input, timeout = 30) {
        await http('POST', '/v1/workers/ssh/operations/execute', { target: 'box', input, timeout })
      },
      async call(name, { letter_id, ...rest }) {
        if (name === 'dlq_show') return http('GET', `/v1/dlq/${letter_id}`)
        if (name === 'dlq_list') return http('GET', `/v1/dlq?${new URLSearchParams(rest as Record<string, string>)}`)
        if (name === 'dlq_stats') return http('GET', '/v1/dlq/stats')
        const one = letter_id === undefined ? '' : `/${letter_id}`
        return http('POST', `/v1/dlq${one}/${name.slice('dlq_'.length)}`, rest)
      },
    },
    MCP: {
      async execute(input, timeout = 30) {
        await client.callTool({ name: 'ssh_execute', arguments: { target: 'box', timeout, ...input } })
      },
      async call(name, input) {
        const { structuredContent, content, isError } = await client.callTool({ name, arguments: input })
        return isError ? { text: JSON.stringify(content), ...(structuredContent as object) } : structuredContent
      },
    },
  }

  for (const [name, surface] of Object.entries(surfaces)) {
    test(`${name}: a run that failed is listed, mended, replayed once, and linked`, async () => {
      const place = join(world, name)
      await surface.execute({ command: 'echo done >> effects', cwd: place })
      const { letters } = await surface.call('dlq_list', { state: 'open' })
      assert.equal(letters.length, 1)
      const [letter] = letters
      assert.deepEqual([letter.error_code, letter.effect_certainty], ['MHV_SSH_CWD_FAILED', 'none'])
      const { letter_id } = letter
      const shown = await surface.call('dlq_show', { letter_id })
      assert.deepEqual([shown.input.cwd, shown.run.run_id], [place, letter.run_id])
      await mkdir(place)
      const replay = await surface.call('dlq_replay', { letter_id, reason: 'the folder is there' })
      assert.deepEqual([replay.letter.state, replay.run.status], ['replayed', 'completed'])
      assert.equal(replay.run.metadata.replay_of, letter.run_id)
      assert.match(JSON.stringify(await surface.call('dlq_replay', { letter_id })), /MHV_DLQ_STATE/)
      assert.equal(await readFile(join(place, 'effects'), 'utf8'), 'done\n')
    })

    test(`${name}: what may have acted needs an acknowledgement; archive, stats and purge`, async () => {
      const place = join(world, `${name}-unknown`)
      await mkdir(place)
      await surface.execute({ command: 'echo done >> effects; sleep 20', cwd: place }, 1)
      const [letter] = (await surface.call('dlq_list', { state: 'open' })).letters
      assert.equal(letter.effect_certainty, 'unknown')
      const { letter_id } = letter
      assert.match(JSON.stringify(await surface.call('dlq_replay', { letter_id })), /MHV_DLQ_ACKNOWLEDGE/)
      assert.equal(await readFile(join(place, 'effects'), 'utf8'), 'done\n')
      const again = await surface.call('dlq_replay', { letter_id, acknowledge_unknown: true })
      assert.deepEqual([again.letter.state, again.letter.replays, again.run.status], ['open', 1, 'timeout'])
      assert.equal(await readFile(join(place, 'effects'), 'utf8'), 'done\ndone\n')
      assert.equal((await surface.call('dlq_archive', { letter_id })).letter.state, 'archived')
      assert.equal((await surface.call('dlq_stats', {})).by_state.archived, 1)
      assert.equal((await surface.call('dlq_purge', { state: 'archived' })).removed, 1)
    })
  }

  test('letters survive a restart, and the exit code of a replay is that of its command', async () => {
    const place = join(world, 'later')
    await surfaces.HTTP?.execute({ command: 'echo done >> effects; exit 7', cwd: place })
    await close()
    await open()
    const { letters } = JSON.parse((await cli('dlq', 'list', '--state', 'open')).stdout)
    assert.equal(letters.length, 1)
    await mkdir(place)
    const { code } = await cli('dlq', 'replay', letters[0].letter_id)
    assert.equal(code, 7)
    assert.equal(await readFile(join(place, 'effects'), 'utf8'), 'done\n')
    assert.equal((await cli('dlq', 'show', 'nothing')).code, EXIT.input)
  })
})
