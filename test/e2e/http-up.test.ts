import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { createInstances } from '../../src/app.ts'
import type { EnvelopeInput } from '../../src/core/envelope.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { findSocket } from '../../src/surfaces/http/socket.ts'
import { answerOf, openTcp } from '../helpers/http-server.ts'
import { startUp, type UpProcess } from '../helpers/http-up.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'
import { until } from '../helpers/processes.ts'

let folder: string
const processes: UpProcess[] = []

async function start(...args: string[]): Promise<UpProcess> {
  const up = await startUp(folder, ...args)
  processes.push(up)
  return up
}

beforeEach(async () => {
  folder = await probeFolder()
})
afterEach(async () => {
  for (const up of processes.splice(0)) {
    up.child.kill('SIGKILL')
    await up.ended()
  }
  await rm(folder, { recursive: true, force: true })
})

async function ask({ url }: UpProcess, path: string, body?: unknown) {
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  const headers = { authorization: `Bearer ${token}` }
  const method = body === undefined ? 'GET' : 'POST'
  return answerOf(await openTcp(Number(new URL(url).port), { method, path, headers, body }))
}

const use = () => createInstances(probeComposition()).use({ folder, doing: 'test' })

const touch = (instance: Instance) =>
  instance.invoke({
    operation: 'probe.touch',
    input: {},
    envelope: { target: 'one' } as EnvelopeInput,
    principal: instance.principal,
    surface: 'cli',
  })

describe('mahavishnu up', () => {
  test('listens on the loopback and on a socket that only this user can open', async () => {
    const up = await start()
    assert.match(up.url, /^http:\/\/127\.0\.0\.1:\d+$/)
    assert.equal(up.socket, join(folder, 'run', 'mahavishnu.sock'))
    assert.equal((await stat(up.socket)).mode & 0o777, 0o600)
    assert.equal((await stat(join(folder, 'run'))).mode & 0o777, 0o700)
    assert.equal((await stat(join(folder, 'http.token'))).mode & 0o777, 0o600)
    const port = Number(new URL(up.url).port)
    assert.match(listeners(port), /127\.0\.0\.1/)
    assert.doesNotMatch(listeners(port), /0\.0\.0\.0:|\*:|\[::\]/)
    const { status } = await ask(up, '/v1/workers/probe/operations/touch', { target: 'one' })
    assert.equal(status, 200)
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`at ${signal} ends what runs, tells who waits, leaves nothing behind, and exits with 0`, async () => {
      const up = await start('--set', 'runs.drain_timeout=0')
      const waiting = ask(up, '/v1/workers/probe/operations/emit', { target: 'one', input: { wait_ms: 60_000 } })
      const running = async () => (await ask(up, '/v1/runs?status=running')).json.runs.length === 1
      assert.ok(await until(running))
      up.child.kill(signal)
      assert.equal((await waiting).json.status, 'cancelled')
      assert.equal(await up.ended(), 0, up.stderr())
      assert.equal(existsSync(up.socket), false)
      const reader = await createInstances(probeComposition()).read({ folder, doing: 'test' })
      const { runs } = await reader.control({ name: 'run_list', input: {}, principal: reader.principal })
      await reader.close()
      assert.deepEqual(
        (runs as { status: string }[]).map(({ status }) => status),
        ['cancelled'],
      )
    })
  }

  test('a second signal ends it at once', async () => {
    const up = await start('--set', 'runs.abort_grace_seconds=60')
    await ask(up, '/v1/workers/probe/operations/emit', {
      target: 'one',
      input: { wait_ms: 60_000, deaf: true },
      wait: 0,
    })
    up.child.kill('SIGTERM')
    assert.ok(await until(() => up.stderr().includes('stopping')))
    const ready = await answerOf(await openTcp(Number(new URL(up.url).port), { path: '/readyz' }))
    assert.equal(ready.status, 503)
    const refused = await ask(up, '/v1/workers/probe/operations/touch', { target: 'one' })
    assert.deepEqual([refused.status, refused.json.code], [503, 'MHV_SHUTTING_DOWN'])
    up.child.kill('SIGTERM')
    assert.equal(await up.ended(), 209, up.stderr())
  })

  test('a second one on the folder is told who has it', async () => {
    const up = await start()
    await assert.rejects(startUp(folder), new RegExp(`MHV_INSTANCE_LOCKED: .* process ${up.child.pid} .*\\(up`))
  })

  test('a port that is taken is said, and nothing is left behind', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => other.once('listening', resolve))
    const address = other.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    try {
      const failed = startUp(folder, '--set', `http.port=${port}`)
      await assert.rejects(failed, /MHV_CONFIG_INVALID: .*EADDRINUSE[\s\S]*fix: Choose another port/)
    } finally {
      other.close()
    }
    assert.equal(existsSync(join(folder, 'run', 'mahavishnu.sock')), false)
    await start()
  })

  test('listening beyond the loopback takes the setting, and is warned of', async () => {
    const up = await start('--set', 'http.host=0.0.0.0')
    assert.match(up.stderr(), /warning: other machines can reach this address/)
    assert.equal((await ask(up, '/v1/runs')).status, 200)
  })
})

describe('who uses the folder', () => {
  test('gets the running instance, and when it is gone an own one', async () => {
    const up = await start()
    const remote = await use()
    assert.equal((await touch(remote)).metadata.surface, 'cli')
    await remote.close()
    // Closing is only disconnecting.
    assert.equal((await ask(up, '/v1/runs')).json.runs.length, 1)
    up.child.kill('SIGTERM')
    await up.ended()
    const own = await use()
    assert.equal((await touch(own)).status, 'completed')
    await own.close()
  })

  test('is not misled by a socket that a killed process left', async () => {
    const up = await start()
    up.child.kill('SIGKILL')
    await up.ended()
    assert.equal(existsSync(up.socket), true)
    const own = await use()
    assert.equal((await touch(own)).status, 'completed')
    await own.close()
    const again = await start()
    assert.equal(again.socket, up.socket)
    const remote = await use()
    assert.equal((await touch(remote)).status, 'completed')
    await remote.close()
  })

  test('is told when the instance dies under a call: what it did is unknown', async () => {
    const up = await start()
    const remote = await use()
    const envelope = { target: 'one' } as EnvelopeInput
    const request = { operation: 'probe.emit', input: { wait_ms: 60_000 }, envelope, surface: 'cli' }
    const call = remote.invoke({ ...request, principal: remote.principal })
    const rejected = assert.rejects(call, { code: 'MHV_RUN_INTERRUPTED' })
    assert.ok(await until(async () => (await ask(up, '/v1/runs?status=running')).json.runs.length === 1))
    up.child.kill('SIGKILL')
    await rejected
    // Which of its sockets the system closes first is nobody's promise.
    await up.ended()
    await assert.rejects(touch(remote), { code: 'MHV_SHUTTING_DOWN' })
    await remote.close()
  })

  test('settings of a command line cannot be given to a running instance', async () => {
    await start()
    const used = createInstances(probeComposition()).use({ folder, doing: 'test', set: { 'log.level': 'debug' } })
    await assert.rejects(used, (error: { code: string; remedy: string }) => {
      assert.equal(error.code, 'MHV_INSTANCE_LOCKED')
      return /--set/.test(error.remedy)
    })
  })

  test('a folder with a long path has its socket elsewhere, for this user alone', async () => {
    const long = join(folder, 'x'.repeat(120))
    await mkdir(long)
    await rename(join(folder, 'settings'), join(long, 'settings'))
    const up = await startUp(long)
    processes.push(up)
    assert.ok(Buffer.byteLength(up.socket) <= 107)
    assert.equal(await findSocket(long), up.socket)
    assert.equal((await stat(join(up.socket, '..'))).mode & 0o777, 0o700)
    const remote = await createInstances(probeComposition()).use({ folder: long, doing: 'test' })
    assert.equal((await touch(remote)).status, 'completed')
    await remote.close()
    up.child.kill('SIGTERM')
    assert.equal(await up.ended(), 0)
    assert.equal(existsSync(join(up.socket, '..')), false)
    assert.equal(await findSocket(long), null)
  })

  test('what is no socket is no instance', async () => {
    await mkdir(join(folder, 'run'))
    await writeFile(join(folder, 'run', 'mahavishnu.sock'), 'not a socket')
    const own = await use()
    assert.equal((await touch(own)).status, 'completed')
    await own.close()
  })
})

/** Lines of the table of listening sockets with this port. */
function listeners(port: number): string {
  try {
    return (
      execFileSync('ss', ['-ltnH', `sport = :${port}`], { encoding: 'utf8' })
        .split('users')[0]
        ?.split(/\s+/)[3] ?? ''
    )
  } catch {
    // Without `ss`: what the kernel lists, 0100007F being 127.0.0.1.
    const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
    const lines = execFileSync('cat', ['/proc/net/tcp'], { encoding: 'utf8' }).split('\n')
    return lines
      .flatMap((line) => line.trim().split(/\s+/)[1] ?? [])
      .filter((local) => local.endsWith(wanted))
      .map((local) => local.replace('0100007F', '127.0.0.1').replace('00000000', '0.0.0.0'))
      .join('\n')
  }
}
