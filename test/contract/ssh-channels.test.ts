import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { mhvError } from '../../src/core/errors.ts'
import type { SshConnection } from '../../src/workers/ssh/connection.ts'
import { openPlace } from '../../src/workers/ssh/open-channel.ts'
import { withSftp } from '../../src/workers/ssh/open-sftp.ts'
import type { PoolCall } from '../../src/workers/ssh/pool.ts'
import type { SshTarget } from '../../src/workers/ssh/settings.ts'
import type { SftpChannel } from '../../src/workers/ssh/sftp-channel.ts'
import { until } from '../helpers/processes.ts'
import { startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { memoryState } from '../helpers/ssh-detached.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { startTcpProxy } from '../helpers/tcp-proxy.ts'

/** SFTP sessions and terminals as channels of the pool, against OpenSSH's sshd. */

const skip = sshdMissing()
let sshd: Sshd
let worker: TestWorker

before(async () => {
  if (skip) return
  sshd = await startSshd({ maxSessions: 2 })
  worker = await startWorker({ settings: { max_connections_per_host: 1, pool_backpressure: 'wait' } })
})
after(async () => {
  if (skip) return
  await worker.close()
  await sshd.stop()
})

function callTo(target: SshTarget, signal: AbortSignal = AbortSignal.timeout(20_000)): PoolCall {
  return { target, settings: worker.settings, secrets: worker.secrets, signal }
}

const sizeOf = (sftp: SftpChannel, path: string) =>
  sftp.ask<{ size: number }>((done) => sftp.wrapper.stat(path, done)).then(({ size }) => size)

test('ten callers share the two sessions that the host allows, each with its own SFTP session', { skip }, async () => {
  const path = join(sshd.folder, 'ten-bytes')
  await writeFile(path, '0123456789')
  let most = 0
  let now = 0
  const sizes = await Promise.all(
    Array.from({ length: 10 }, () =>
      withSftp(worker.pool, callTo(targetOf(sshd)), async (sftp) => {
        most = Math.max(most, ++now)
        await delay(20)
        const size = await sizeOf(sftp, path)
        now -= 1
        return size
      }),
    ),
  )
  assert.deepEqual(sizes, Array(10).fill(10))
  assert.equal(most, 2)
  assert.ok(await until(() => worker.pool.stats().channels === 0), 'every session was given back')
  assert.equal(worker.pool.stats().connections, 1)
})

test('an error of the server comes with its code, and an aborted call ends its session', { skip }, async () => {
  await assert.rejects(
    withSftp(worker.pool, callTo(targetOf(sshd)), (sftp) => sizeOf(sftp, '/no/such/file')),
    { code: 2 },
  )
  const controller = new AbortController()
  const stopped = withSftp(worker.pool, callTo(targetOf(sshd), controller.signal), async (sftp) => {
    controller.abort(mhvError('MHV_RUN_CANCELLED', 'enough'))
    await sftp.closed
    return sizeOf(sftp, '/')
  })
  await assert.rejects(stopped, { code: 'MHV_RUN_CANCELLED' })
  assert.ok(await until(() => worker.pool.stats().channels === 0))
})

test('a request on a session whose connection breaks rejects instead of waiting for ever', { skip }, async () => {
  const proxy = await startTcpProxy({ port: sshd.port })
  const target = targetOf(sshd, { port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` })
  const lost = withSftp(worker.pool, callTo(target), async (sftp) => {
    const size = await sizeOf(sftp, '/')
    proxy.stall()
    const pending = sizeOf(sftp, '/')
    proxy.cut()
    await assert.rejects(pending, { code: 'MHV_SSH_CONNECTION_LOST' })
    assert.equal(sftp.wasCut(), true)
    await assert.rejects(sizeOf(sftp, '/'), { code: 'MHV_SSH_CONNECTION_LOST' })
    return size
  })
  assert.ok((await lost) > 0)
  await proxy.close()
})

test('a terminal is a channel like others: its command sees one, and the place comes back', { skip }, async () => {
  const channel = await openPlace(worker.pool, callTo(targetOf(sshd)), (lease) =>
    lease.pty({ term: 'xterm', rows: 30, cols: 100, command: 'stty size; tty' }),
  )
  assert.equal(worker.pool.stats().channels, 1)
  let text = ''
  channel.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  await new Promise((resolve) => channel.once('close', resolve))
  assert.match(text, /^30 100\r\n\/dev\/pts\/\d+\r\n$/)
  assert.equal(worker.pool.stats().channels, 0)
})

test('a host without SFTP or terminals says so, and the commands beside it go on', { skip }, async () => {
  const without = await startSshd({ config: ['PermitTTY no'], sftp: false })
  const call = callTo(targetOf(without))
  const beside = await openPlace(worker.pool, call, (lease) => lease.exec('cat'))
  let text = ''
  beside.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  const terminal = openPlace(worker.pool, call, (lease) =>
    lease.pty({ term: 'xterm', rows: 1, cols: 1, command: 'tty' }),
  )
  await assert.rejects(terminal, { code: 'MHV_SSH_PTY_REFUSED' })
  const sftp = withSftp(worker.pool, call, async () => undefined)
  await assert.rejects(sftp, { code: 'MHV_SSH_SFTP_UNSUPPORTED' })
  beside.end('still here')
  await new Promise((resolve) => beside.once('close', resolve))
  assert.equal(text, 'still here')
  // Its channel cannot be closed by itself: so the connection is, once nobody needs it.
  assert.ok(await until(() => without.connections().length === 0))
  await without.stop()
})

test('an idle connection that has gone dead is dropped before somebody gets it', { skip }, async () => {
  const proxy = await startTcpProxy({ port: sshd.port })
  const own = await startWorker({ settings: { connection_health_check: 0.3, keepalive_interval: 3_600 } })
  const target = targetOf(sshd, { port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` })
  const call = { ...callTo(target), settings: own.settings, secrets: own.secrets }
  const run = async () => {
    const channel = await openPlace(own.pool, call, (lease) => lease.exec('true'))
    channel.resume()
    await new Promise((resolve) => channel.once('close', resolve))
  }
  await run()
  await delay(700)
  assert.equal(own.pool.stats().connections, 1, 'one that answers is kept')
  proxy.stallOpen()
  await delay(400)
  const began = Date.now()
  await run()
  assert.ok(Date.now() - began < 8_000, 'not the time of a keepalive')
  assert.equal(own.pool.stats().connections, 1)
  await own.close()
  await proxy.close()
})

test('a smaller MaxSessions is learnt, and remembered over a restart', { skip }, async () => {
  const kept = memoryState()
  const learn = async () => {
    const own = await startWorker({ state: kept, settings: { max_connections_per_host: 2 } })
    let refused = 0
    /** Channels of a connection that are open or asked for; refusals alone depend on how busy the host is. */
    const asked = new Map<SshConnection, number>()
    let most = 0
    const count = (connection: SshConnection, by: number) => {
      asked.set(connection, (asked.get(connection) ?? 0) + by)
      most = Math.max(most, asked.get(connection) as number)
    }
    const call = { ...callTo(targetOf(sshd)), settings: own.settings, secrets: own.secrets }
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        const channel = await openPlace(own.pool, call, async (lease) => {
          count(lease.connection, 1)
          const opened = await lease.exec('sleep 1.5').catch((error) => {
            refused += 1
            count(lease.connection, -1)
            throw error
          })
          opened.once('close', () => count(lease.connection, -1))
          return opened
        })
        channel.resume()
        await new Promise((resolve) => channel.once('close', resolve))
      }),
    )
    const learnt = own.pool.status()[0]?.max_sessions
    await own.close()
    return { refused, learnt, most }
  }
  const first = await learn()
  assert.ok(first.refused > 0 && first.learnt !== null && (first.learnt as number) <= 3, JSON.stringify(first))
  assert.equal((await kept.list('')).length, 1)
  assert.equal(first.most, 4)
  const second = await learn()
  assert.ok(second.most <= (first.learnt as number), JSON.stringify([first, second]))
})
