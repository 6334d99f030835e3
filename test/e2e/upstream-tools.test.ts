import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { callOf } from '../fixtures/mcp-http-fixture.ts'
import { clientEnvironment } from '../helpers/mcp-client-environment.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** The program as it is shipped, from its sources. */
const PROGRAM = join(import.meta.dirname, '../../src/bin.ts')
const skip = sshdMissing() ?? false

interface Connected {
  readonly client: Client
  close(): Promise<unknown>
}

const newClient = () => new Client({ name: 'test', version: '1.0.0' })

async function overStdio(folder: string): Promise<Connected> {
  const client = newClient()
  const args = [PROGRAM, 'mcp', '--profile', 'upstream', '--folder', folder]
  const env = clientEnvironment()
  await client.connect(new StdioClientTransport({ command: process.execPath, args, env, stderr: 'inherit' }))
  return { client, close: () => client.close() }
}

async function overHttp(folder: string): Promise<Connected> {
  const set = ['--set', 'http.port=0', '--set', 'http.mcp_profile=upstream']
  const child = spawn(process.execPath, [PROGRAM, 'up', '--folder', folder, ...set], { stdio: 'pipe' })
  const ended = once(child, 'exit')
  const url = await new Promise<string>((resolve, reject) => {
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
      const found = /^listening on (http:\S+)/m.exec(said)?.[1]
      if (found !== undefined && said.includes('the token is in')) resolve(found)
    })
    void ended.then(() => reject(new Error(`it ended: ${said}`)))
  })
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  const client = newClient()
  const requestInit = { headers: { authorization: `Bearer ${token}` } }
  await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', url), { requestInit }))
  return {
    client,
    async close() {
      await client.close()
      child.kill('SIGTERM')
      await ended
    },
  }
}

interface TaskResult {
  readonly worker_id: string
  readonly status: string
  readonly output: string | null
  readonly error: string | null
  readonly exit_code: number | null
  readonly metadata: Record<string, unknown>
  readonly run_id: string | null
}

describe('MGR-01: the tools of the profile upstream, by the official client against a real sshd', { skip }, () => {
  let sshd: Sshd
  before(async () => {
    sshd = await startSshd()
  })
  after(() => sshd?.stop())

  for (const [transport, open] of Object.entries({ stdio: overStdio, HTTP: overHttp })) {
    describe(`over ${transport}`, () => {
      let folder: string
      let connected: Connected
      let client: Client
      before(async () => {
        folder = await sshInstance(sshd)
        connected = await open(folder)
        client = connected.client
      })
      after(async () => {
        await connected?.close()
        await rm(folder, { recursive: true, force: true })
      })

      const ask = async <T>(name: string, args: Record<string, unknown> = {}): Promise<T> => {
        const { answer, data, text } = await callOf(client, name, args)
        assert.notEqual(answer.isError, true, `${name}: ${text}`)
        return data as T
      }
      const spawnWorkers = async (count: number) =>
        (await ask<{ worker_ids: string[] }>('worker_spawn', { worker_type: 'ssh:box', count })).worker_ids
      const listed = async (args = {}) =>
        (await ask<{ result: { worker_id: string; target: string; status: string }[] }>('worker_list', args)).result

      test('all nine are there, under the names of the original', async () => {
        const names = (await client.listTools()).tools.map(({ name }) => name)
        const nine = 'spawn execute execute_batch list monitor collect_results close close_all health'.split(' ')
        assert.deepEqual(
          nine.filter((each) => !names.includes(`worker_${each}`)),
          [],
        )
      })

      test('spawned workers run commands, one result for each, whose runs are in the journal', async () => {
        const [one = '', two = ''] = await spawnWorkers(2)
        assert.deepEqual(
          (await listed()).map(({ worker_id, target, status }) => [worker_id, target, status]),
          [one, two].map((id) => [id, 'box', 'pending']),
        )
        const done = await ask<TaskResult>('worker_execute', {
          worker_id: one,
          prompt: 'echo out; echo no >&2; exit 3',
        })
        assert.deepEqual([done.status, done.output, done.exit_code], ['completed', 'out\n', 3])
        const { run } = await ask<{ run: { operation: string; target: string; exit_code: number } }>('run_get', {
          run_id: done.run_id,
        })
        assert.deepEqual([run.operation, run.target, run.exit_code], ['ssh.execute', 'box', 3])

        const prompts = ['echo 0', 'echo 1', 'sleep 0.2; echo 2', 'echo 3', 'echo 4']
        const batch = await ask<{ result: TaskResult[] }>('worker_execute_batch', { worker_ids: [one, two], prompts })
        assert.deepEqual(
          batch.result.map(({ output, worker_id }) => [output, worker_id]),
          prompts.map((_, index) => [`${index}\n`, index % 2 === 0 ? one : two]),
        )
        assert.deepEqual(await ask('worker_monitor', { worker_ids: [one, 'nobody'], interval: 0 }), {
          [one]: 'completed',
          nobody: null,
        })

        const first = await ask<{ results: TaskResult[]; next_offset: number; gap: boolean }>('worker_collect_results')
        assert.deepEqual([first.results.length, first.gap], [prompts.length + 1, false])
        const later = await ask<typeof first>('worker_collect_results', { since_offset: first.next_offset })
        assert.deepEqual(later.results, [])
        await ask('worker_close_all')
      })

      test('a task that runs out of time is a result that says so, and the worker goes on', async () => {
        const [worker_id = ''] = await spawnWorkers(1)
        const late = await ask<TaskResult>('worker_execute', { worker_id, prompt: 'sleep 60', timeout: 0.5 })
        assert.deepEqual([late.status, late.metadata.error_code], ['timeout', 'MHV_SSH_COMMAND_TIMEOUT'])
        assert.equal((await ask<TaskResult>('worker_execute', { worker_id, prompt: 'echo on' })).output, 'on\n')
        await ask('worker_close', { worker_id })
      })

      test('closing by force cancels what runs; monitoring tells of the change', async () => {
        const [worker_id = ''] = await spawnWorkers(1)
        const task = ask<TaskResult>('worker_execute', { worker_id, prompt: 'sleep 60' })
        for (let looks = 0; (await listed({ worker_id }))[0]?.status !== 'running'; looks++) {
          assert.ok(looks < 100, 'the task begins')
          await ask('worker_monitor', { worker_ids: [worker_id], interval: 1 })
        }
        const closed = await ask<{ success: boolean }>('worker_close', { worker_id, force: true })
        assert.equal(closed.success, true)
        assert.equal((await task).status, 'cancelled')
        assert.deepEqual(await listed({ worker_id }), [])
        const again = await ask<{ success: boolean; error: string }>('worker_close', { worker_id })
        assert.equal(again.success, false)
        assert.match(again.error, /no spawned worker/)
      })

      test('health has the limits and the workers; all are closed at once', async () => {
        await spawnWorkers(3)
        const health = await ask<Record<string, unknown>>('worker_health')
        assert.deepEqual(
          [health.status, health.workers_active, health.max_concurrent, health.max_spawned, health.open_breakers],
          ['healthy', 3, 10, 50, []],
        )
        const { closed_count, still_closing } = await ask<{ closed_count: number; still_closing: string[] }>(
          'worker_close_all',
        )
        assert.deepEqual([closed_count, still_closing, await listed()], [3, [], []])
      })

      test('what cannot be done is told with its code', async () => {
        const unknown = await callOf(client, 'worker_execute', { worker_id: 'nobody', prompt: 'true' })
        assert.equal(unknown.answer.isError, true)
        assert.match(unknown.text, /^error MHV_MANAGER_WORKER_UNKNOWN: /)
        const target = await callOf(client, 'worker_spawn', { worker_type: 'ssh:bok' })
        assert.match(target.text, /^error MHV_TARGET_UNKNOWN: .*did you mean "box"/)
      })

      test('prompts name only tools that there are, in the shape that they have here', async () => {
        const { tools } = await client.listTools()
        const given = { check_host: { target: 'box' }, run_command_safely: { target: 'box', command: 'uptime' } }
        for (const [name, args] of Object.entries(given)) {
          const { messages } = await client.getPrompt({ name, arguments: args })
          const [message] = messages
          assert.ok(message?.content.type === 'text')
          const { text } = message.content
          const named = [...text.matchAll(/\b((?:worker|run|operation|read)_[a-z_]+)(?: (\{.*?\}))?/g)]
          assert.ok(named.length >= 2, text)
          for (const [, tool = '', json = '{}'] of named) {
            const found = tools.find((each) => each.name === tool)
            assert.ok(found, `${name} names ${tool}`)
            const fields = Object.keys(found.inputSchema.properties ?? {})
            for (const key of Object.keys(JSON.parse(json))) assert.ok(fields.includes(key), `${tool} has no ${key}`)
          }
        }
      })
    })
  }
})
