import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type FakeConnection, settled, fakePool as setUp } from '../../../test/helpers/ssh-fake-pool.ts'
import { mhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'
import { sshTarget } from './settings.ts'

test('the first call asks for the login shell, the following ones do not', async () => {
  const { worker, made, run } = await setUp()
  const first = await run('one')
  first.finish()
  ;(await run('two')).finish()
  assert.equal(made.length, 1)
  assert.equal(worker.pool.stats().connections, 1)
  const connection = made[0] as FakeConnection
  assert.equal(worker.pool.shellOf(connection)?.path, '/bin/bash')
  await worker.close()
})

test('connections grow with the need, up to the caps; then calls wait in order', async () => {
  const { worker, made, run, order, channels } = await setUp({
    max_channels_per_connection: 2,
    max_connections_per_host: 2,
  })
  const running = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => run(name))
  await settled()
  assert.deepEqual(order.sort(), ['a', 'b', 'c', 'd'])
  assert.equal(made.length, 2)
  assert.deepEqual(
    made.map((connection) => connection.open.length),
    [2, 2],
  )
  assert.equal(worker.pool.stats().waiting, 2)
  channels()[3]?.finish()
  await settled()
  assert.equal(order.at(-1), 'e')
  channels()[0]?.finish()
  await settled()
  assert.equal(order.at(-1), 'f')
  await Promise.all(running)
  await worker.close()
})

test('a call that was aborted while it waited is not served, and says that nothing was done', async () => {
  const { worker, run, order, channels } = await setUp({ max_channels_per_connection: 1, max_connections_per_host: 1 })
  await run('a')
  const [late, cancelled] = [new AbortController(), new AbortController()]
  const b = run('b', { signal: late.signal })
  const c = run('c', { signal: cancelled.signal })
  const d = run('d')
  late.abort(mhvError('MHV_RUN_TIMEOUT', 'late'))
  cancelled.abort(mhvError('MHV_RUN_CANCELLED', 'no more'))
  await assert.rejects(b, { code: 'MHV_SSH_POOL_EXHAUSTED' })
  await assert.rejects(c, { code: 'MHV_RUN_CANCELLED_QUEUED' })
  channels()[0]?.finish()
  await d
  assert.deepEqual(order, ['a', 'd'])
  const aborted = AbortSignal.abort(mhvError('MHV_RUN_CANCELLED', 'before'))
  await assert.rejects(run('e', { signal: aborted }), { code: 'MHV_RUN_CANCELLED_QUEUED' })
  await worker.close()
})

test('a call aborted between getting a place and sending gives the place back', async () => {
  const { worker, run, channels } = await setUp({ max_channels_per_connection: 1, max_connections_per_host: 1 })
  const a = await run('a')
  const controller = new AbortController()
  const b = run('b', { signal: controller.signal })
  await settled()
  a.finish()
  controller.abort(mhvError('MHV_RUN_TIMEOUT', 'late'))
  await assert.rejects(b, { code: 'MHV_RUN_QUEUE_TIMEOUT' })
  assert.deepEqual(
    channels().map((channel) => channel.line),
    [],
  )
  ;(await run('c')).finish()
  await worker.close()
})

test('with all connections taken by other targets there is nothing to wait for', async () => {
  const { worker, run } = await setUp({ max_connections: 1, pool_backpressure: 'reject_new' })
  await run('a')
  const other = sshTarget.parse({ host: 'other', user: 'u' })
  await assert.rejects(run('b', { target: other }), { code: 'MHV_SSH_POOL_EXHAUSTED', retryAfter: 5 })
  await worker.close()
})

test('same address and credentials share connections, other trust settings do not', async () => {
  const { worker, run, made } = await setUp()
  await run('a')
  await run('b', { target: sshTarget.parse({ host: 'h', user: 'u' }) })
  assert.equal(made.length, 1)
  await run('c', { settings: { ...worker.settings, host_key_policy: 'accept_new' } })
  await run('d', { target: sshTarget.parse({ host: 'h', user: 'u', host_key_alias: 'x' }) })
  assert.equal(made.length, 3)
  await worker.close()
})

test('those who wait go on over a new connection when theirs is lost', async () => {
  const { worker, run, made, order } = await setUp({ max_channels_per_connection: 1, max_connections_per_host: 1 })
  await run('a')
  const b = run('b')
  await settled()
  made[0]?.lose()
  await b
  assert.deepEqual(order, ['a', 'b'])
  assert.equal(made.length, 2)
  assert.equal(worker.pool.stats().connections, 1)
  await worker.close()
})

test('a first connection that fails fails all who wait for it, once', async () => {
  let attempts = 0
  const refused = mhvError('MHV_SSH_AUTH_FAILED', 'no')
  const { worker, run } = await setUp({}, { fail: () => (attempts++ === 0 ? refused : undefined) })
  const results = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => run(`${n}`)))
  assert.ok(results.every((result) => result.status === 'rejected' && result.reason === refused))
  assert.equal(attempts, 1)
  await run('later')
  assert.equal(attempts, 2)
  await worker.close()
})

test('a further connection that fails only costs time: those who wait keep waiting for the others', async () => {
  let attempts = 0
  const { worker, run, channels } = await setUp(
    { max_channels_per_connection: 1, max_connections_per_host: 2 },
    { fail: () => (++attempts === 2 ? mhvError('MHV_SSH_CONNECT_FAILED', 'dropped') : undefined) },
  )
  await run('a')
  const b = run('b')
  await settled()
  assert.equal(attempts, 2)
  channels()[0]?.finish()
  await b
  const c = run('c')
  await c
  assert.equal(attempts, 3, 'tried again after the pause')
  await worker.close()
})

test('a refused channel lowers the limit that is believed, and is tried again when another closes', async () => {
  const { worker, made, run, order, channels } = await setUp({ max_connections_per_host: 1 }, { maxSessions: 2 })
  const all = Array.from({ length: 6 }, (_, n) => run(`${n}`))
  await settled()
  assert.equal(order.length, 2)
  for (let n = 0; n < 6; n++) {
    await settled()
    channels()[0]?.finish()
  }
  await Promise.all(all)
  assert.equal(order.length, 6)
  assert.equal(made.length, 1)
  await worker.close()
})

test('a channel that is refused while no other is open is an error', async () => {
  const { worker, run, made } = await setUp({}, { maxSessions: 1 })
  await (await run('a')).finish()
  let refused = 0
  Object.assign(made[0] as object, {
    exec: async () => {
      refused += 1
      throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'never')
    },
  })
  await assert.rejects(run('b'), { code: 'MHV_SSH_CHANNEL_REFUSED' })
  assert.ok(refused > 10 && refused < 60, `asked ${refused} times for a second, then no more`)
  assert.equal(worker.pool.stats().channels, 0)
  await worker.close()
})

test('an idle connection is closed after its time, a busy one is not', async () => {
  const { worker, run, made } = await setUp({ connection_ttl: 0.1 })
  const channel = await run('a')
  await delay(250)
  assert.equal(made[0]?.alive(), true)
  channel.finish()
  await delay(250)
  assert.equal(made[0]?.alive(), false)
  assert.equal(worker.pool.stats().connections, 0)
  await worker.close()
})

test('two channels beyond the places of a connection are kept for ending what runs there', async () => {
  const { worker, run, made } = await setUp({ max_channels_per_connection: 2, max_connections_per_host: 1 })
  await Promise.all([run('a'), run('b')])
  const connection = made[0] as FakeConnection
  const [one, two, three] = [1, 2, 3].map(() => worker.pool.spare(connection))
  assert.ok(one && two)
  assert.equal(three, undefined)
  one()
  assert.ok(worker.pool.spare(connection))
  connection.lose()
  assert.equal(worker.pool.spare(connection), undefined)
  await worker.close()
})

test('extra connections are closed after use and at most four at once', async () => {
  const { worker, call } = await setUp()
  let now = 0
  let most = 0
  const connections: SshConnection[] = []
  await Promise.all(
    Array.from({ length: 10 }, () =>
      worker.pool.extra(call(), 5_000, async (connection) => {
        connections.push(connection)
        most = Math.max(most, ++now)
        await settled()
        now -= 1
      }),
    ),
  )
  assert.equal(most, 4)
  assert.ok(connections.length === 10 && connections.every((connection) => !connection.alive()))
  await worker.close()
})

test('a closed pool fails those who wait and takes nothing new', async () => {
  const { worker, run, made } = await setUp({ max_channels_per_connection: 1, max_connections_per_host: 1 })
  await run('a')
  const waiting = run('b')
  const rejected = assert.rejects(waiting, { code: 'MHV_SHUTTING_DOWN' })
  await worker.close()
  await rejected
  assert.equal(made[0]?.alive(), false)
  await assert.rejects(run('c'), { code: 'MHV_SHUTTING_DOWN' })
})
