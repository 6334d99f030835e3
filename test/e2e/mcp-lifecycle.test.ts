import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import type { WorkerResult } from '../../src/core/result.ts'
import { runHere, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'
import { type RawClient, rawClient } from '../helpers/mcp-raw.ts'

let folder: Awaited<ReturnType<typeof surfaceFolder>>
const clients: RawClient[] = []

async function start(...args: string[]): Promise<RawClient> {
  const client = await rawClient(folder.path, ...args)
  clients.push(client)
  return client
}

beforeEach(async () => {
  folder = await surfaceFolder()
})
afterEach(async () => {
  for (const client of clients.splice(0)) {
    client.child.kill('SIGKILL')
    await client.ended()
  }
  await folder.remove()
})

async function runsOf(): Promise<readonly WorkerResult[]> {
  const { stdout } = await runHere(['runs', 'list', '--json', '--folder', folder.path])
  return JSON.parse(stdout).runs
}

describe('a server on stdio', () => {
  test('ends when its input ends, with its runs ended and journaled', async () => {
    const client = await start()
    const { structured } = await client.call('probe_emit', { target: 'one', wait_ms: 60_000, wait: 0 })
    client.child.stdin.end()
    assert.equal(await client.ended(), 0, client.stderr())
    const [run] = await runsOf()
    assert.equal(run?.run_id, structured.run_id)
    assert.equal(run?.status, 'cancelled')
  })

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    test(`ends in the same way at ${signal}`, async () => {
      const client = await start()
      await client.call('probe_emit', { target: 'one', wait_ms: 60_000, wait: 0 })
      client.child.kill(signal)
      assert.equal(await client.ended(), 0, client.stderr())
      const [run] = await runsOf()
      assert.equal(run?.status, 'cancelled')
    })
  }

  test('ends when nobody reads its output', async () => {
    const client = await start()
    client.child.stdout.destroy()
    client.send({ id: 99, method: 'tools/list', params: {} })
    assert.equal(await client.ended(), 0, client.stderr())
  })

  test('ends after a message that is larger than any it would take', async () => {
    const client = await start()
    client.child.stdin.write(
      `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"x":"${'x'.repeat(11_000_000)}"}}\n`,
    )
    assert.equal(await client.ended(), 0, client.stderr())
    assert.match(client.stderr(), /mcp: /)
  })

  test('writes nothing but the protocol to its output', async () => {
    const client = await start('--set', 'log.level=debug')
    await client.call('local_execute', { target: 'here', command: 'echo out; echo err >&2' })
    await client.call('probe_fail', { target: 'one', code: 'a defect' })
    await client.call('probe_touch', { target: 'nowhere' })
    client.child.stdin.write('this is no JSON\n')
    await client.request('ping')
    client.child.stdin.end()
    await client.ended()
    assert.ok(client.lines.length >= 5)
    for (const line of client.lines) assert.equal((JSON.parse(line) as { jsonrpc: string }).jsonrpc, '2.0')
    assert.match(client.stderr(), /an operation threw what has no code/)
  })

  test('leaves the folder alone until a call needs it', async () => {
    const [first, second] = [await start(), await start()]
    await first.request('tools/list')
    await second.call('probe_touch', { target: 'one' })
    assert.deepEqual((await runsOf()).length, 1)
  })

  test('while another process holds the folder, says so for each call, and still answers what needs no lock', async () => {
    const [holder, other] = [await start(), await start()]
    await holder.call('probe_touch', { target: 'one' })
    const refused = await other.call('probe_touch', { target: 'one' })
    assert.equal(refused.isError, true)
    assert.match(refused.text, /^error MHV_INSTANCE_LOCKED: .*\nfix: /)
    assert.match((await other.call('run_list', {})).text, /probe\.touch on one/)
    assert.match((await other.call('worker_health', {})).text, /MHV_INSTANCE_LOCKED/)

    holder.child.stdin.end()
    await holder.ended()
    assert.equal((await other.call('probe_touch', { target: 'one' })).isError, undefined)
  })

  test('with settings that are wrong, says so for each call, until they are right', async () => {
    const settings = join(folder.path, 'settings', 'mahavishnu.yaml')
    await writeFile(settings, 'version: 1\nrunz: {}\n')
    const client = await start()
    assert.match((await client.call('probe_touch', { target: 'one' })).text, /^error MHV_CONFIG_UNKNOWN_KEY: .*runz/)
    await writeFile(settings, 'version: 1\n')
    assert.equal((await client.call('probe_touch', { target: 'one' })).isError, undefined)
  })

  test('leaves a second signal its meaning: it ends at once', async () => {
    const client = await start('--set', 'runs.abort_grace_seconds=30')
    await client.call('probe_emit', { target: 'one', wait_ms: 60_000, deaf: true, wait: 0 })
    // Two that come at once may be one to the process.
    const again = setInterval(() => client.child.kill('SIGTERM'), 300)
    assert.equal(await client.ended(), 209, client.stderr())
    clearInterval(again)
    assert.match(client.stderr(), /left without waiting/)
  })
})
