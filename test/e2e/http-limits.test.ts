import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { afterEach, describe, test } from 'node:test'
import { answerOf, openTcp, startServer, type TestServer } from '../helpers/http-server.ts'
import { until } from '../helpers/processes.ts'

const servers: TestServer[] = []

async function start(...args: Parameters<typeof startServer>): Promise<TestServer> {
  const server = await startServer(...args)
  servers.push(server)
  return server
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})

describe('limits', () => {
  test('more requests than the limit are refused, with the time to wait', async () => {
    const server = await start({ settings: { rate_limit_per_second: 1, rate_limit_burst: 3 } })
    const statuses: number[] = []
    for (let index = 0; index < 4; index++) statuses.push((await server.ask({ path: '/v1/workers' })).status)
    assert.deepEqual(statuses, [200, 200, 200, 429])
    const refused = await server.ask({ path: '/v1/workers' })
    assert.equal(refused.json.code, 'MHV_HTTP_RATE_LIMITED')
    assert.ok(refused.json.retry_after >= 1)
    assert.equal(refused.headers['retry-after'], String(refused.json.retry_after))
    assert.equal((await server.ask({ path: '/healthz' })).status, 200)
  })

  test('who guesses tokens is slowed down, and whoever has one is not', async () => {
    const server = await start({ settings: { rate_limit_per_second: 1, rate_limit_burst: 3 } })
    const guess = async () =>
      (await answerOf(await openTcp(server.port, { path: '/v1/x', headers: { authorization: 'Bearer guess' } }))).status
    assert.deepEqual([await guess(), await guess(), await guess(), await guess()], [401, 401, 401, 429])
    assert.equal((await server.ask({ path: '/v1/workers' })).status, 200)
  })

  test('a body that is too large is refused', async () => {
    const server = await start({ settings: { max_body_bytes: 2_000 } })
    const body = { target: 'one', input: { value: 'x'.repeat(3_000) } }
    const { status, json } = await server.call('probe.touch', body)
    assert.deepEqual([status, json.code], [413, 'MHV_HTTP_BODY_TOO_LARGE'])
    assert.equal((await server.call('probe.touch', { target: 'one', input: { value: 'x'.repeat(1_000) } })).status, 200)
  })

  test('event streams of a process are capped; a place is free again when one of them is closed', async () => {
    const server = await start({ settings: { max_event_streams: 2 } })
    const { json: run } = await server.call('probe.emit', { target: 'one', input: { wait_ms: 20_000 }, wait: 0 })
    const path = `/v1/runs/${run.run_id}/events`
    const streams = [await server.open({ path }), await server.open({ path })]
    assert.deepEqual(
      streams.map(({ statusCode }) => statusCode),
      [200, 200],
    )
    const { status, json, headers } = await server.ask({ path })
    assert.deepEqual([status, json.code, headers['retry-after']], [503, 'MHV_HTTP_FOLLOWERS_FULL', '5'])
    assert.match(headers['content-type'] ?? '', /^application\/problem\+json/)
    assert.match(json.remedy, /http\.max_event_streams/)
    // All else is answered as before.
    assert.equal((await server.ask({ path: `/v1/runs/${run.run_id}` })).status, 200)
    streams[0]?.on('error', () => undefined).destroy()
    assert.ok(await until(async () => (await server.open({ path })).statusCode === 200))
    streams[1]?.destroy()
  })

  test('no room in the queue is 429 with Retry-After', async () => {
    const server = await start({ file: 'probe:\n  admission: { max_concurrent: 1, queue_size: 0 }\n' })
    const busy = server.call('probe.emit', { target: 'one', input: { wait_ms: 20_000 }, wait: 0 })
    await busy
    const { status, json, headers } = await server.call('probe.touch', { target: 'one' })
    assert.deepEqual([status, json.code, headers['retry-after']], [429, 'MHV_ADMISSION_FULL', '1'])
  })

  test('what is no HTTP is ended without a word of what is here', async () => {
    const server = await start()
    const text = await new Promise<string>((resolve) => {
      let read = ''
      const socket = connect(server.port, '127.0.0.1', () => socket.end('GIMME /v1/runs\r\n\r\n'))
      socket.on('data', (piece) => {
        read += piece
      })
      socket.on('close', () => resolve(read))
      socket.on('error', () => resolve(read))
    })
    assert.doesNotMatch(text, /mahavishnu|run/i)
  })
})

describe('while it stops', () => {
  test('new work is refused with 503, who waits gets the end of the run, and the rest still answers', async () => {
    const server = await start({ file: 'runs:\n  abort_grace_seconds: 5\n' })
    const waiting = server.call('probe.emit', { target: 'one', input: { wait_ms: 60_000 } })
    const { json } = await server.call('probe.emit', { target: 'two', input: { wait_ms: 60_000 }, wait: 0 })
    server.server.drain()
    const ready = await server.ask({ path: '/readyz' })
    assert.deepEqual([ready.status, ready.json], [503, { status: 'not ready' }])
    assert.equal((await server.ask({ path: '/healthz' })).status, 200)
    const refused = await server.call('probe.touch', { target: 'one' })
    assert.deepEqual([refused.status, refused.json.code], [503, 'MHV_SHUTTING_DOWN'])
    assert.ok(Number(refused.headers['retry-after']) >= 1)
    assert.equal((await server.ask({ path: `/v1/runs/${json.run_id}` })).status, 200)
    await server.instance.close()
    assert.equal((await waiting).json.status, 'cancelled')
  })

  test('connections that are kept open do not hold it', async () => {
    const server = await start()
    const idle = connect(server.port, '127.0.0.1')
    idle.on('error', () => undefined)
    const { json } = await server.call('probe.emit', { target: 'one', input: { wait_ms: 60_000 }, wait: 0 })
    const events = await server.open({ path: `/v1/runs/${json.run_id}/events` })
    events.on('error', () => undefined).resume()
    const began = performance.now()
    await servers.pop()?.close()
    assert.ok(performance.now() - began < 5_000)
  })
})
