import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type FakeConnection, fakePool, settled } from '../../../../test/helpers/ssh-fake-pool.ts'
import { mhvError } from '../../../core/errors.ts'
import { sshTarget } from '../settings.ts'

const to = (host: string, user = 'u') => ({ target: sshTarget.parse({ host, user }) })
const late = () => AbortSignal.abort(mhvError('MHV_RUN_TIMEOUT', 'late'))

test('reject_new refuses at once what nobody could serve, with its place in the queue and when to come back', async () => {
  const settings = {
    max_channels_per_connection: 2,
    max_connections_per_host: 2,
    pool_backpressure: 'reject_new',
  } as const
  const { worker, run, order } = await fakePool(settings)
  const results = await Promise.allSettled([...'abcdef'].map((name) => Promise.race([run(name), delay(2_000)])))
  assert.deepEqual(order.sort(), ['a', 'b', 'c', 'd'], 'all who could be served still to come were let in')
  for (const result of results.slice(4)) {
    assert.equal(result.status, 'rejected')
    const { code, retryAfter, details } = result.reason
    assert.deepEqual([code, retryAfter], ['MHV_SSH_POOL_EXHAUSTED', 5])
    assert.deepEqual(details, { host: 'h:22', position: 5, waiting: 4, connections: details.connections })
  }
  assert.equal(worker.pool.stats().exhausted_total, 2)
  await worker.close()
})

test('who waits to the deadline is told the place it had; the queue has an end', async () => {
  const settings = { max_channels_per_connection: 1, max_connections_per_host: 1, pool_queue_size: 2 }
  const { worker, run } = await fakePool(settings)
  await run('a')
  const controller = new AbortController()
  const b = run('b')
  const c = run('c', { signal: controller.signal })
  await assert.rejects(run('d'), {
    code: 'MHV_SSH_POOL_EXHAUSTED',
    details: { host: 'h:22', position: 3, waiting: 2, connections: 1 },
  })
  controller.abort(mhvError('MHV_RUN_TIMEOUT', 'late'))
  await assert.rejects(c, {
    code: 'MHV_SSH_POOL_EXHAUSTED',
    details: { host: 'h:22', position: 2, waiting: 1, connections: 1 },
  })
  await assert.rejects(run('e', { signal: late() }), { code: 'MHV_SSH_POOL_EXHAUSTED' })
  const closing = assert.rejects(b, { code: 'MHV_SHUTTING_DOWN' })
  await worker.close()
  await closing
})

test('the cap of a host holds for all its users and names together', async () => {
  const { worker, made, run } = await fakePool({ max_connections_per_host: 2, max_channels_per_connection: 1 })
  await run('a', to('h'))
  await run('b', to('h', 'other'))
  const third = run('c', to('h-alias', 'third'))
  await delay(100)
  assert.equal(made.length, 2)
  assert.equal(worker.pool.status()[0]?.host, 'h:22')
  made[0]?.open[0]?.finish()
  await third
  assert.equal(made[0]?.alive(), false, 'the idle one of another user made room')
  assert.equal(made.filter((connection) => connection.alive()).length, 2)
  await worker.close()
})

test('at the global cap the connection that was idle for longest makes room', async () => {
  const { worker, made, run } = await fakePool({ max_connections: 3 })
  const channels = []
  for (const host of ['x', 'y', 'z']) channels.push(await run(host, to(host)))
  for (const place of [1, 0, 2]) {
    channels[place]?.finish()
    await delay(5)
  }
  await run('new', to('w'))
  assert.deepEqual(
    made.filter((connection) => connection.alive()).map((connection) => connection.to),
    ['x', 'z', 'w'],
  )
  await worker.close()
})

test('a target without a connection gets one of a target that has many, when that one has served those on it', async () => {
  const { worker, made, run, order, channels } = await fakePool({ max_connections: 3, max_channels_per_connection: 1 })
  const greedy = Array.from({ length: 12 }, (_, n) => run(`x${n}`, to('x')))
  await settled()
  const poor = run('poor', to('y'))
  await settled()
  assert.equal(made.length, 3)
  let finished = 0
  while (!order.includes('poor')) {
    assert.ok(finished < 6, 'before the queue of the other is done')
    channels()[0]?.finish()
    finished += 1
    await settled()
  }
  await poor
  while (order.length < 13) {
    for (const channel of channels()) channel.finish()
    await settled()
  }
  await Promise.all(greedy)
  await worker.close()
})

test('with one connection in all, targets take turns', async () => {
  const { worker, run, order, channels } = await fakePool({ max_connections: 1, max_channels_per_connection: 1 })
  const all = ['x', 'y', 'x', 'y'].map((host) => run(host, to(host)))
  for (let tries = 0; order.length < 4 && tries < 300; tries++) {
    await delay(20)
    for (const channel of channels()) channel.finish()
  }
  assert.deepEqual([...order].sort(), ['x', 'x', 'y', 'y'])
  await Promise.all(all)
  await worker.close()
})

test('a connection past its lifetime takes nothing new and closes when its last channel ends', async () => {
  const { worker, made, run } = await fakePool({ max_lifetime: 0.1 })
  const old = await run('old')
  await delay(150)
  const young = await run('young')
  assert.deepEqual(
    made.map((connection) => connection.alive()),
    [true, true],
  )
  old.finish()
  await settled()
  assert.deepEqual(
    made.map((connection) => connection.alive()),
    [false, true],
  )
  young.finish()
  await worker.close()
})

test('a channel that is asked for in the moment in which its connection closes goes to another', async () => {
  const { worker, made, run } = await fakePool({ connection_ttl: 0.1 })
  ;(await run('a')).finish()
  const first = made[0] as FakeConnection
  const b = run('b')
  first.lose()
  await b
  assert.equal(made.length, 2)
  await worker.close()
})

test('calls that come while idle connections expire all succeed', async () => {
  const { worker, run, made } = await fakePool({ connection_ttl: 0.01 })
  for (let n = 0; n < 60; n++) {
    ;(await run(`${n}`)).finish()
    await delay(9 + (n % 3))
  }
  assert.ok(made.length > 2, `${made.length} connections`)
  await worker.close()
})

test('an idle connection that does not answer is dropped before somebody gets it', async () => {
  const { worker, made, run } = await fakePool({ connection_health_check: 0.1 })
  ;(await run('a')).finish()
  await delay(150)
  assert.equal(made[0]?.alive(), true)
  ;(made[0] as FakeConnection).answers = false
  await delay(150)
  assert.equal(made[0]?.alive(), false)
  ;(await run('b')).finish()
  assert.equal(made.length, 2)
  await worker.close()
})

test('drain lets nothing new on, waits, and says what it closed', async () => {
  const { worker, made, run } = await fakePool({ max_channels_per_connection: 1 })
  const [busy] = [await run('a', to('x')), await run('b', to('x'))]
  ;(await run('c', to('y'))).finish()
  const signal = new AbortController().signal
  made[1]?.open[0]?.finish()
  const first = await worker.pool.drain({ host: 'x:22', waitMs: 30, force: false, signal })
  assert.deepEqual(first, { closed: 1, cut: 0, left: 1, running: 1 })
  assert.equal(made[2]?.alive(), true, 'the other host is left alone')
  await run('d', to('x'))
  assert.equal(made.length, 4)
  busy?.finish()
  await settled()
  assert.equal(made[0]?.alive(), false, 'closed as soon as it could be')
  const all = await worker.pool.drain({ host: undefined, waitMs: 30, force: true, signal })
  assert.deepEqual(all, { closed: 1, cut: 1, left: 0, running: 0 })
  assert.equal(worker.pool.stats().connections, 0)
  await worker.close()
})

test('drain: a connection that was being made takes nothing either', async () => {
  const { worker, made, run } = await fakePool()
  const waiting = run('a', to('x'))
  await new Promise(setImmediate)
  assert.equal(worker.pool.stats().connecting, 1)
  const signal = new AbortController().signal
  await worker.pool.drain({ host: 'x:22', waitMs: 0, force: false, signal })
  ;(await waiting).finish()
  await settled()
  assert.equal(made.length, 2, 'with the credentials of now')
  assert.deepEqual(
    made.map((connection) => connection.alive()),
    [false, true],
  )
  await worker.close()
})

test('of a thousand who wait and give up together, each is told its place, and the next one is served', async () => {
  const { worker, run, channels } = await fakePool({
    max_channels_per_connection: 1,
    max_connections_per_host: 1,
    pool_queue_size: 5_000,
  })
  await run('a')
  const controller = new AbortController()
  const gone = Array.from({ length: 1_000 }, (_, n) => run(`${n}`, { signal: controller.signal }))
  const last = run('last')
  const began = performance.now()
  controller.abort(mhvError('MHV_RUN_TIMEOUT', 'late'))
  const results = await Promise.allSettled(gone)
  assert.ok(performance.now() - began < 1_000)
  assert.ok(results.every((result) => result.status === 'rejected' && result.reason.details.position === 1))
  channels()[0]?.finish()
  await last
  await worker.close()
})
