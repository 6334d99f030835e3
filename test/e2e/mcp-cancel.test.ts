import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import type { WorkerResult } from '../../src/core/result.ts'
import { createLocalWorker } from '../fixtures/local-worker.ts'
import { callOf, cutOff, ERAS, eventually, type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'
import { PROGRAM, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'
import { clientEnvironment } from '../helpers/mcp-client-environment.ts'

let files = 0

/** A command that writes its process id to a file and then goes on for minutes. */
function longCommand(folder: string) {
  const file = join(folder, `pid-${++files}`)
  return { file, args: { target: 'here', command: `echo $$ > ${file}; exec sleep 300` } }
}

function pidOf(file: string): Promise<number> {
  return eventually(async () => {
    const text = await readFile(file, 'utf8').catch(() => '')
    return text.endsWith('\n') ? Number(text) : undefined
  })
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

interface Ended {
  readonly remoteWorkGone: boolean
  readonly status: string
  readonly certainty: string | null
  readonly text: string
  readonly told: readonly string[]
}

/** What is left of a run that was cancelled: on the far side, in its result, and in its events. */
async function whatIsLeft(client: Client, pid: number): Promise<Ended> {
  const { runs } = (await callOf(client, 'run_list', { on: 'here', limit: 1 })).data as { runs: WorkerResult[] }
  const run_id = runs[0]?.run_id
  const { data } = await callOf(client, 'run_wait', { run_id })
  const { status, effect_certainty: certainty } = data.run as WorkerResult
  const gone = await eventually(() => (isAlive(pid) ? undefined : true)).catch(() => false)
  const { data: shown, text } = await callOf(client, 'run_get', { run_id })
  const events = shown.events as { type: string; data: { reason?: string } }[]
  const told = events.flatMap(({ type, data: { reason } }) => (type === 'cancel_requested' ? [String(reason)] : []))
  return { remoteWorkGone: gone, status, certainty, text, told }
}

function assertEnded(ended: Ended, reason: RegExp): void {
  const { remoteWorkGone, status, certainty, text, told } = ended
  assert.equal(remoteWorkGone, true, 'the remote work goes on')
  assert.deepEqual([status, certainty], ['cancelled', 'unknown'])
  assert.match(text, /effect: unknown: it may have been applied/)
  assert.equal(told.length, 1)
  assert.match(told[0] ?? '', reason)
}

const GONE = /the caller cancelled or went away/

for (const [era, mode] of Object.entries(ERAS)) {
  describe(`MCP-03: over stdio, ${era}: what is cancelled ends on the far side and says what is known of its effect`, () => {
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

    for (const key of [{}, { idempotency_key: 'k1' }]) {
      test(`by the client, ${'idempotency_key' in key ? 'also with a key: a cancellation is one there' : 'without a key'}`, async () => {
        const { file, args } = longCommand(folder.path)
        const controller = new AbortController()
        const calling = callOf(client, 'local_execute', { ...args, ...key }, { signal: controller.signal })
        const pid = await pidOf(file)
        controller.abort()
        await assert.rejects(calling)
        assertEnded(await whatIsLeft(client, pid), GONE)
      })
    }

    test('by run_cancel', async () => {
      const { file, args } = longCommand(folder.path)
      const { run_id } = (await callOf(client, 'local_execute', { ...args, wait: 0 })).data
      const pid = await pidOf(file)
      const { text } = await callOf(client, 'run_cancel', { run_id })
      assert.match(text, /^cancelled: .*\nerror MHV_RUN_CANCELLED/)
      assertEnded(await whatIsLeft(client, pid), /cancelled by user:/)
    })
  })
}

describe('MCP-03: over HTTP, what is cancelled ends on the far side and says what is known of its effect', () => {
  let fixture: HttpFixture
  before(async () => {
    fixture = await httpFixture()
  })
  after(() => fixture.close())

  /** Begins a call, and breaks its stream once the command runs. */
  async function breakOff(client: Client, more: Record<string, unknown> = {}) {
    const { file, args } = longCommand(fixture.folder)
    const controller = new AbortController()
    const calling = callOf(client, 'local_execute', { ...args, ...more }, { signal: controller.signal })
    const pid = await pidOf(file)
    controller.abort()
    await assert.rejects(calling)
    return pid
  }

  for (const [era, mode] of Object.entries(ERAS)) {
    test(`${era}: by run_cancel`, async () => {
      const client = await fixture.client(mode)
      const { file, args } = longCommand(fixture.folder)
      const { run_id } = (await callOf(client, 'local_execute', { ...args, wait: 0 })).data
      const pid = await pidOf(file)
      await callOf(client, 'run_cancel', { run_id })
      assertEnded(await whatIsLeft(client, pid), /cancelled by tester/)
    })
  }

  test('2026-07-28: by the client, and by a stream that breaks', async () => {
    const client = await fixture.client(ERAS['2026-07-28'])
    assertEnded(await whatIsLeft(client, await breakOff(client)), GONE)
  })

  test('2026-07-28: a call with an idempotency key goes on when its stream breaks, and tells of it; run_cancel ends it', async () => {
    const client = await fixture.client(ERAS['2026-07-28'])
    await goesOnUntilCancelled(client, await breakOff(client, { idempotency_key: 'goes on' }), true)
  })

  test('2025-11-25: a stateless server is told of no cancellation: the run goes on, and run_cancel ends it', async () => {
    const client = await fixture.client(ERAS['2025-11-25'])
    // The client leaves its connection open, so there is nothing to tell.
    await goesOnUntilCancelled(client, await breakOff(client), false)
  })

  test('2025-11-25: a connection that breaks is no cancellation either; the run tells of it', async () => {
    const client = await fixture.client(ERAS['2025-11-25'])
    const { file, args } = longCommand(fixture.folder)
    const pid = pidOf(file)
    await cutOff(fixture.url, 'local_execute', args, pid)
    await goesOnUntilCancelled(client, await pid, true)
  })

  /** `leaves`: whether its connection is gone, which the run then tells, while it goes on. */
  async function goesOnUntilCancelled(client: Client, pid: number, leaves: boolean): Promise<void> {
    const { runs } = (await callOf(client, 'run_list', { on: 'here', status: 'running' })).data as {
      runs: WorkerResult[]
    }
    assert.equal(runs.length, 1)
    assert.equal(isAlive(pid), true)
    if (leaves) {
      const left = await eventually(async () => {
        const { events } = (await callOf(client, 'run_get', { run_id: runs[0]?.run_id })).data as {
          events: { type: string; data: Record<string, unknown> }[]
        }
        return events.find(({ type }) => type === 'caller_left')
      })
      assert.deepEqual([left.data.principal, left.data.surface], ['tester', 'mcp'])
      assert.match(String(left.data.reason), /the run goes on/)
    }
    await callOf(client, 'run_cancel', { run_id: runs[0]?.run_id })
    assertEnded(await whatIsLeft(client, pid), /cancelled by tester/)
  }
})

test('MCP-03: negative control: a worker that leaves its process running is found', async () => {
  // Composed here: the operation says that it has ended, but the command is not told.
  const local = createLocalWorker()
  const [execute, ...others] = local.operations
  assert.ok(execute)
  const careless = {
    ...execute,
    run: (context: Parameters<typeof execute.run>[0], input: Parameters<typeof execute.run>[1]) =>
      Promise.race([
        execute.run({ ...context, signal: new AbortController().signal }, input),
        new Promise<never>((_resolve, reject) => {
          context.signal.addEventListener('abort', () => reject(context.signal.reason as Error))
        }),
      ]),
  }
  const fixture = await httpFixture({ workers: [{ ...local, operations: [careless, ...others] }] })
  let pid: number | undefined
  try {
    const client = await fixture.client('auto')
    const { file, args } = longCommand(fixture.folder)
    const { run_id } = (await callOf(client, 'local_execute', { ...args, wait: 0 })).data
    pid = await pidOf(file)
    await callOf(client, 'run_cancel', { run_id })
    const left = await whatIsLeft(client, pid)
    assert.throws(() => assertEnded(left, /cancelled by tester/), /the remote work goes on/)
  } finally {
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
    await fixture.close()
  }
})
