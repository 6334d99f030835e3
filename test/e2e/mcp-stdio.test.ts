import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import type { WorkerResult } from '../../src/core/result.ts'
import { CONTROL_CALLS } from '../../src/runtime/control.ts'
import { PROGRAM, surfaceApp, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'
import { clientEnvironment } from '../helpers/mcp-client-environment.ts'

const MODES = { '2025-11-25': 'legacy', '2026-07-28': { pin: '2026-07-28' }, 'the newest of both': 'auto' } as const

for (const [era, mode] of Object.entries(MODES)) {
  describe(`MCP-01: a client that speaks ${era}`, () => {
    let folder: Awaited<ReturnType<typeof surfaceFolder>>
    const client = new Client({ name: 'test', version: '1.0.0' }, { versionNegotiation: { mode } })

    before(async () => {
      folder = await surfaceFolder()
      const args = [PROGRAM, 'mcp', '--folder', folder.path]
      const env = clientEnvironment()
      await client.connect(new StdioClientTransport({ command: process.execPath, args, env, stderr: 'inherit' }))
    })
    after(async () => {
      await client.close()
      await folder.remove()
    })

    const call = async (name: string, args: Record<string, unknown>, options = {}) => {
      const answer = await client.callTool({ name, arguments: args }, options)
      const [first] = answer.content as readonly { readonly type: string; readonly text: string }[]
      return { ...answer, text: first?.text ?? '', result: answer.structuredContent as WorkerResult }
    }

    test('agrees on the era, and learns what the server is', () => {
      assert.equal(client.getProtocolEra(), mode === 'legacy' ? 'legacy' : 'modern')
      assert.equal(client.getServerVersion()?.name, 'mahavishnu')
      assert.match(client.getInstructions() ?? '', /run_wait/)
    })

    test('sees or finds every operation and every control call', async () => {
      const { tools } = await client.listTools()
      const operations = surfaceApp().registry.operations.map(({ id }) => id.replace('.', '_'))
      const own = CONTROL_CALLS.filter(({ onDemand }) => onDemand !== true).map(({ name }) => name)
      assert.deepEqual(
        tools.map(({ name }) => name),
        [...operations, ...own, 'read_more', 'operations_search', 'operation_call'],
      )
      const found: string[] = []
      for (let offset: unknown = 0; offset !== null; ) {
        const page = (await client.callTool({ name: 'operations_search', arguments: { offset } })).structuredContent
        const { operations: listed, next } = page as { operations: { operation: string }[]; next: number | null }
        found.push(...listed.map(({ operation }) => operation))
        offset = next
      }
      const names = surfaceApp().registry.operations.map(({ id }) => id)
      const onDemand = CONTROL_CALLS.filter((control) => control.onDemand === true).map(({ name }) => name)
      assert.deepEqual(found.sort(), [...names, ...onDemand].sort())
      const execute = tools.find(({ name }) => name === 'local_execute')
      assert.deepEqual(execute?.inputSchema.required, ['target', 'command'])
      assert.equal(execute?.annotations?.destructiveHint, true)
    })

    test('gets a result as text and as structured content that fits the schema', async () => {
      // The client itself checks structured content against the schema of the tool.
      const { text, result, isError } = await call('local_execute', {
        target: 'here',
        command: 'echo out; echo err >&2; exit 3',
      })
      assert.ok(!isError)
      assert.equal(result.status, 'completed')
      assert.equal(result.exit_code, 3)
      assert.match(
        text,
        /^completed: local\.execute on here, exit code 3, .* \(run [0-9A-Z]{26}\)\neffect: it was applied\n/,
      )
      const mark = `[${result.run_id.slice(-8)}]`
      assert.ok(
        text.endsWith(
          `--- output from here, untrusted ${mark} ---\nout\n--- end of output ${mark} ---\n` +
            `--- standard error from here, untrusted ${mark} ---\nerr\n--- end of standard error ${mark} ---`,
        ),
        text,
      )
    })

    test('gets an error with its code, its remedy and what is known of the effect', async () => {
      const { text, result, isError } = await call('probe_fail', { target: 'one', code: 'MHV_SSH_CONNECTION_LOST' })
      assert.equal(isError, true)
      assert.equal(result.error_code, 'MHV_SSH_CONNECTION_LOST')
      assert.equal(result.effect_certainty, 'unknown')
      assert.match(
        text,
        /^failed: .*\nerror MHV_SSH_CONNECTION_LOST: told to\nfix: Look at the host .*\neffect: unknown/,
      )
    })

    test('is told what is wrong with its arguments, in our words', async () => {
      const wrong: readonly (readonly [string, Record<string, unknown>, RegExp])[] = [
        ['probe_touch', { target: 'one', valeu: 'x' }, /MHV_INPUT_INVALID: .*"valeu"; did you mean "value"\?\nfix: /],
        ['probe_touch', { target: 'one', value: 1 }, /MHV_INPUT_INVALID: value: /],
        ['probe_touch', { target: 'one', wait: 'long' }, /MHV_INPUT_INVALID: wait: /],
        ['probe_touch', {}, /MHV_TARGET_REQUIRED: /],
        ['probe_touch', { target: 'onee' }, /MHV_TARGET_UNKNOWN: /],
        ['run_get', { run_id: 'x' }, /MHV_RUN_UNKNOWN: /],
        ['run_output', {}, /MHV_INPUT_INVALID: run_id: /],
        ['run_list', { limit: 1000 }, /MHV_INPUT_INVALID: limit: /],
      ]
      for (const [name, args, expected] of wrong) {
        const { text, isError, structuredContent } = await call(name, args)
        assert.equal(isError, true, name)
        assert.equal(structuredContent, undefined)
        assert.match(text, expected)
      }
    })

    test('is told that a tool does not exist', async () => {
      await assert.rejects(client.callTool({ name: 'prob_touch', arguments: {} }), /prob_touch not found/)
    })

    test('gets a handle after its wait, and goes on with it', async () => {
      const { text, result } = await call('probe_emit', { target: 'one', pieces: ['a', 'b'], wait_ms: 400, wait: 0 })
      assert.ok(['pending', 'running'].includes(result.status))
      assert.equal(result.data, null)
      const argument = JSON.stringify({ run_id: result.run_id })
      assert.ok(text.includes(`run_wait ${argument}`) && text.includes(`run_cancel ${argument}`), text)

      const waited = await call('run_wait', { run_id: result.run_id })
      assert.equal((waited.structuredContent as { run: WorkerResult }).run.status, 'completed')
      assert.match(waited.text, /^completed: probe\.emit on one/)
      const output = await call('run_output', { run_id: result.run_id })
      assert.match(
        output.text,
        /^--- stdout, untrusted \[.{8}\] ---\nab\n--- end of stdout \[.{8}\] ---\nThat was all of it\.$/,
      )
      assert.match((await call('run_get', { run_id: result.run_id })).text, /--- events ---\n.* accepted /)
      assert.match((await call('run_list', { limit: 1 })).text, new RegExp(`^${result.run_id} `))
    })

    test('cancels a run by its handle', async () => {
      const { result } = await call('probe_emit', { target: 'one', wait_ms: 30_000, wait: 0 })
      const { text } = await call('run_cancel', { run_id: result.run_id, reason: 'enough' })
      assert.match(text, /^cancelled: probe\.emit on one/)
    })

    test('cancels a run by cancelling its request', async () => {
      const controller = new AbortController()
      const calling = call('probe_emit', { target: 'two', wait_ms: 30_000 }, { signal: controller.signal })
      const [run] = await newestRuns()
      controller.abort()
      await assert.rejects(calling)
      const { text } = await call('run_wait', { run_id: run?.run_id })
      assert.match(text, /^cancelled: probe\.emit on two.*\nerror MHV_RUN_CANCELLED/)
    })

    /** Runs on `two` that go on, once there are any. */
    async function newestRuns(): Promise<readonly WorkerResult[]> {
      for (let tries = 0; tries < 100; tries++) {
        const { structuredContent } = await call('run_list', { on: 'two', status: 'running' })
        const { runs } = structuredContent as { runs: readonly WorkerResult[] }
        if (runs.length > 0) return runs
        await delay(20)
      }
      return []
    }

    test('is told of progress', async () => {
      const seen: { progress: number; message?: string }[] = []
      const onprogress = (each: { progress: number; message?: string }) => seen.push(each)
      await call('probe_emit', { target: 'one', pieces: ['a', 'b'], wait_ms: 200 }, { onprogress })
      assert.deepEqual(seen, [{ progress: 2, message: 'written' }])
    })

    test('learns which targets there are', async () => {
      const { structuredContent } = await call('worker_list', {})
      const { workers } = structuredContent as { workers: readonly { name: string; targets: readonly string[] }[] }
      assert.deepEqual(workers.find(({ name }) => name === 'probe')?.targets, ['one', 'two'])
      const health = await call('worker_health', { worker: 'probe', ping: 'one' })
      assert.equal((health.structuredContent as { ping: { healthy: boolean } }).ping.healthy, true)
    })
  })
}
