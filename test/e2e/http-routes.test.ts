import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Answer, eventsOf, startServer, type TestServer } from '../helpers/http-server.ts'
import { until } from '../helpers/processes.ts'

let server: TestServer

before(async () => {
  server = await startServer()
})
after(() => server.close())

function assertProblem(answer: Answer, status: number, code: string): void {
  assert.equal(answer.status, status, answer.text)
  assert.match(answer.headers['content-type'] ?? '', /^application\/problem\+json/)
  assert.equal(answer.json.code, code)
  assert.equal(answer.json.status, status)
  assert.equal(answer.json.type, `urn:mahavishnu:error:${code}`)
  for (const key of ['title', 'detail', 'remedy']) assert.notEqual(answer.json[key] ?? '', '', key)
}

describe('operations', () => {
  test('a finished run is 200 with its WorkerResult', async () => {
    const { status, json, headers } = await server.call('probe.touch', { target: 'one', input: { value: 'hello' } })
    assert.equal(status, 200)
    assert.deepEqual([json.status, json.data, json.metadata.surface], ['completed', { value: 'hello' }, 'http'])
    assert.equal(json.metadata.principal, 'token:default')
    assert.equal(headers['cache-control'], 'no-store')
  })

  test('a run that failed is 200 too: there is a run', async () => {
    const { status, json } = await server.call('probe.fail', { target: 'one', input: { code: 'MHV_SSH_AUTH_FAILED' } })
    assert.deepEqual([status, json.status, json.error_code], [200, 'failed', 'MHV_SSH_AUTH_FAILED'])
  })

  test('a run that goes on is 202 with its place, where it can be waited for', async () => {
    const first = await server.call('probe.emit', { target: 'one', input: { wait_ms: 300 }, wait: 0 })
    assert.equal(first.status, 202)
    assert.equal(first.headers.location, `/v1/runs/${first.json.run_id}`)
    const waited = await server.ask({ path: `${first.headers.location}/wait?seconds=20` })
    assert.deepEqual([waited.status, waited.json.ended, waited.json.run.status], [200, true, 'completed'])
    const shown = await server.ask({ path: String(first.headers.location) })
    assert.equal(shown.json.run.run_id, first.json.run_id)
    assert.ok(shown.json.events.length >= 3)
  })

  test('what is refused is a problem with the code of the table', async () => {
    assertProblem(await server.call('probe.touch', { target: 'nowhere' }), 404, 'MHV_TARGET_UNKNOWN')
    assertProblem(await server.call('probe.tuch', { target: 'one' }), 404, 'MHV_OPERATION_UNKNOWN')
    assertProblem(await server.call('probe.touch', { target: 'one', input: { valu: 1 } }), 400, 'MHV_INPUT_INVALID')
    assertProblem(await server.call('probe.touch', { target: 'one', extra: 1 }), 400, 'MHV_INPUT_INVALID')
    assertProblem(await server.call('probe.touch', { target: 'one', input: [] }), 400, 'MHV_INPUT_INVALID')
    assertProblem(await server.call('probe.touch', [1]), 400, 'MHV_HTTP_BODY')
    assertProblem(await server.call('probe.touch', '{"target":'), 400, 'MHV_HTTP_BODY')
    assertProblem(await server.call('probe.touch', '{"__proto__":{}}'), 400, 'MHV_HTTP_BODY')
    const text = { 'content-type': 'text/plain' }
    assertProblem(await server.call('probe.touch', '{"target":"one"}', text), 415, 'MHV_HTTP_MEDIA_TYPE')
    assertProblem(await server.ask({ path: '/v1/nothing' }), 404, 'MHV_HTTP_ROUTE')
    assertProblem(await server.ask({ path: '/v1/%zz' }), 404, 'MHV_HTTP_ROUTE')
    assertProblem(await server.ask({ method: 'DELETE', path: '/v1/runs' }), 404, 'MHV_HTTP_ROUTE')
  })

  test('the same key is the same run', async () => {
    const body = { target: 'one', input: { value: 'k' }, idempotency_key: 'key-1' }
    const [first, second] = [await server.call('probe.touch', body), await server.call('probe.touch', body)]
    assert.equal(first.json.run_id, second.json.run_id)
    const other = await server.call('probe.touch', { ...body, input: { value: 'other' } })
    assertProblem(other, 409, 'MHV_IDEMPOTENCY_MISMATCH')
  })

  test('progress comes as events to who wants them, and the result after it', async () => {
    const stream = await server.open({
      method: 'POST',
      path: '/v1/workers/probe/operations/emit',
      headers: { accept: 'application/json, text/event-stream' },
      body: { target: 'one', input: { pieces: ['a'], wait_ms: 50 } },
    })
    assert.match(stream.headers['content-type'] ?? '', /^text\/event-stream/)
    const events = await eventsOf(stream)
    assert.deepEqual(
      events.map(({ event }) => event),
      ['progress', 'result'],
    )
    assert.equal(events[1]?.data.status, 'completed')
  })
})

describe('a client that goes away', () => {
  async function callAndLeave(body: Record<string, unknown>, reason: string): Promise<string> {
    const controller = new AbortController()
    const path = '/v1/workers/probe/operations/emit'
    const sent = server
      .open({ method: 'POST', path, body: { target: 'two', reason, ...body }, signal: controller.signal })
      .catch(() => null)
    let run_id = ''
    await until(async () => {
      const { json } = await server.ask({ path: '/v1/runs?on=two&status=running' })
      run_id = json.runs.find((run: { metadata: { reason?: string } }) => run.metadata.reason === reason)?.run_id ?? ''
      return run_id !== ''
    })
    controller.abort()
    await sent
    return run_id
  }

  test('has its run cancelled', async () => {
    const run_id = await callAndLeave({ input: { wait_ms: 20_000 } }, 'leaves')
    const { json } = await server.ask({ path: `/v1/runs/${run_id}/wait?seconds=10` })
    assert.equal(json.run.status, 'cancelled')
  })

  test('finds its run again when it gave a key', async () => {
    const body = { input: { wait_ms: 1_000 }, idempotency_key: 'stays' }
    const run_id = await callAndLeave(body, 'comes back')
    // The run tells of it at once, and as whom the client came.
    await until(async () => (await leftOf(run_id)).length === 1)
    const [left] = await leftOf(run_id)
    assert.deepEqual([left?.data.principal, left?.data.surface], ['token:default', 'http'])
    const again = await server.call('probe.emit', { target: 'two', reason: 'comes back', ...body })
    assert.deepEqual([again.status, again.json.run_id, again.json.status], [200, run_id, 'completed'])
  })

  /** Requests that are being answered, with the one that asks. */
  async function requestsActive(): Promise<number> {
    const { text } = await server.ask({ path: '/metrics' })
    return Number(/^mahavishnu_http_requests_active\{via="tcp"\} (\d+)$/m.exec(text)?.[1])
  }

  async function leftOf(run_id: string) {
    const { json } = await server.ask({ path: `/v1/runs/${run_id}` })
    const events = json.events as { type: string; data: Record<string, unknown> }[]
    return events.filter(({ type }) => type === 'caller_left')
  }

  test('is not told of where it has its whole answer', async () => {
    const { json } = await server.call('probe.touch', {
      target: 'one',
      input: { value: 'v' },
      idempotency_key: 'whole',
    })
    const { json: handle } = await server.call('probe.emit', { target: 'two', input: { wait_ms: 500 }, wait: 0 })
    await server.ask({ path: `/v1/runs/${handle.run_id}/wait?seconds=10` })
    assert.deepEqual([await leftOf(json.run_id), await leftOf(handle.run_id)], [[], []])
  })

  test('does not take a run away from another that waits for it', async () => {
    const body = { target: 'two', input: { wait_ms: 2_000 }, idempotency_key: 'shared' }
    const before = await requestsActive()
    const other = server.call('probe.emit', body)
    const controller = new AbortController()
    const path = '/v1/workers/probe/operations/emit'
    const sent = server.open({ method: 'POST', path, body, signal: controller.signal }).catch(() => null)
    assert.ok(await until(async () => (await requestsActive()) === before + 2))
    controller.abort()
    await sent
    const { json } = await other
    assert.equal(json.status, 'completed')
    // It had been waiting for that run, too.
    assert.equal((await leftOf(json.run_id)).length, 1)
  })
})

describe('runs', () => {
  test('are listed page by page, each linked to the next', async () => {
    for (let index = 0; index < 5; index++)
      await server.call('probe.touch', { target: 'two', input: { value: `${index}` } })
    const seen: string[] = []
    let path = '/v1/runs?on=two&operation=probe.touch&limit=2'
    let pages = 0
    for (;;) {
      const { status, json, headers } = await server.ask({ path })
      assert.equal(status, 200)
      seen.push(...json.runs.map((run: { run_id: string }) => run.run_id))
      pages += 1
      if (json.next === null) break
      const link = /^<([^>]+)>; rel="next"$/.exec(String(headers.link))?.[1]
      assert.ok(link, String(headers.link))
      path = link
    }
    assert.equal(pages, 3)
    assert.equal(new Set(seen).size, 5)
    assert.deepEqual(seen, [...seen].sort().reverse())
  })

  test('are found by what they are', async () => {
    await server.call('probe.fail', { target: 'one', input: { code: 'MHV_SSH_AUTH_FAILED' } })
    const { json } = await server.ask({ path: '/v1/runs?status=failed&principal=token:default&worker=probe&limit=1' })
    assert.equal(json.runs[0].operation, 'probe.fail')
    const none = await server.ask({ path: '/v1/runs?until=2020-01-01T00:00:00Z' })
    assert.deepEqual(none.json, { runs: [], next: null })
    assertProblem(await server.ask({ path: '/v1/runs?limit=many' }), 400, 'MHV_INPUT_INVALID')
    assertProblem(await server.ask({ path: '/v1/runs?limit=1&limit=2' }), 400, 'MHV_INPUT_INVALID')
    assertProblem(await server.ask({ path: '/v1/runs?colour=red' }), 400, 'MHV_INPUT_INVALID')
    assertProblem(await server.ask({ path: '/v1/runs/01K5E2W9QZ3V7M4T8N6R1XJYHB' }), 404, 'MHV_RUN_UNKNOWN')
  })

  test('have their output by cursor', async () => {
    const { json: run } = await server.call('probe.emit', { target: 'one', input: { pieces: ['one ', 'two'] } })
    const { json } = await server.ask({ path: `/v1/runs/${run.run_id}/output` })
    assert.equal(json.chunks.map((chunk: { text: string }) => chunk.text).join(''), 'one two')
    const rest = await server.ask({ path: `/v1/runs/${run.run_id}/output?cursor=${json.next_cursor}` })
    assert.deepEqual([rest.json.chunks, rest.json.ended], [[], true])
  })

  test('are cancelled', async () => {
    const { json: run } = await server.call('probe.emit', { target: 'one', input: { wait_ms: 20_000 }, wait: 0 })
    const path = `/v1/runs/${run.run_id}/cancel`
    const { status, json } = await server.ask({ method: 'POST', path, body: { reason: 'enough' } })
    assert.deepEqual([status, json.ended, json.run.status], [200, true, 'cancelled'])
    const again = await server.ask({ method: 'POST', path })
    assert.deepEqual([again.status, again.json.run.status], [200, 'cancelled'])
  })
})

describe('events of a run', () => {
  test('come as they happen, to the end', async () => {
    const input = { pieces: ['a', 'b'], wait_ms: 700 }
    const { json: run } = await server.call('probe.emit', { target: 'one', input, wait: 0 })
    const events = await eventsOf(await server.open({ path: `/v1/runs/${run.run_id}/events` }))
    const kinds = events.map(({ event }) => event)
    assert.equal(kinds.at(-1), 'end')
    assert.equal(events.at(-1)?.data.status, 'completed')
    const text = events.filter(({ event }) => event === 'output').map(({ data }) => data.text)
    assert.equal(text.join(''), 'ab')
    const seqs = events.filter(({ event }) => event === 'event').map(({ data }) => data.seq)
    assert.deepEqual(
      seqs,
      seqs.map((_seq, index) => index + 1),
    )
  })

  test('go on from where a connection broke: nothing is missing, nothing comes twice', async () => {
    const input = { pieces: Array.from({ length: 30 }, (_, index) => `piece ${index}\n`), wait_ms: 300 }
    const { json: run } = await server.call('probe.emit', { target: 'one', input, wait: 0 })
    const path = `/v1/runs/${run.run_id}/events`
    const seen: { event: string; id: string; data: Record<string, unknown> }[] = []
    for (let connections = 0; connections < 60 && seen.at(-1)?.event !== 'end'; connections++) {
      const last = seen.findLast(({ id }) => id !== '')?.id
      const stream = await server.open({ path, headers: last === undefined ? {} : { 'last-event-id': last } })
      seen.push(...(await eventsOf(stream, 2)))
      stream.destroy()
    }
    assert.equal(seen.at(-1)?.event, 'end')
    const text = seen.filter(({ event }) => event === 'output').map(({ data }) => data.text)
    assert.equal(text.join(''), input.pieces.join(''))
    const seqs = seen.filter(({ event }) => event === 'event').map(({ data }) => data.seq)
    assert.deepEqual(seqs, [...new Set(seqs)])
    assert.equal(seen.filter(({ event }) => event === 'end').length, 1)
  })

  test('are refused before the stream begins', async () => {
    const path = '/v1/runs/01K5E2W9QZ3V7M4T8N6R1XJYHB/events'
    assertProblem(await server.ask({ path }), 404, 'MHV_RUN_UNKNOWN')
    assertProblem(await server.ask({ path, headers: { 'last-event-id': 'x' } }), 400, 'MHV_INPUT_INVALID')
  })
})

describe('the server itself', () => {
  test('workers and their health', async () => {
    const { json } = await server.ask({ path: '/v1/workers' })
    assert.deepEqual(json.workers[0].targets, ['one', 'two'])
    const health = await server.ask({ path: '/v1/workers/probe/health?ping=one' })
    assert.equal(health.json.ping.healthy, true)
    assertProblem(await server.ask({ path: '/v1/workers/prob/health' }), 404, 'MHV_WORKER_UNKNOWN')
  })

  test('probes say their state and nothing more, to anybody', async () => {
    const headers = { authorization: '', host: 'anything' }
    const [health, ready] = [
      await server.ask({ path: '/healthz', headers }),
      await server.ask({ path: '/readyz', headers }),
    ]
    assert.deepEqual([health.status, health.json], [200, { status: 'ok' }])
    assert.deepEqual([ready.status, ready.json], [200, { status: 'ready' }])
    assert.equal((await server.ask({ method: 'HEAD', path: '/healthz', headers })).status, 200)
  })

  test('metrics of runs, queue, journal, process and requests', async () => {
    const { text, headers, status } = await server.ask({ path: '/metrics' })
    assert.equal(status, 200)
    assert.match(headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/)
    for (const line of [
      /^mahavishnu_runs_total\{worker="probe",operation="probe\.touch",status="completed"\} [1-9]/m,
      /^mahavishnu_queue_depth\{worker="probe"\} 0$/m,
      /^mahavishnu_slots_taken\{worker="probe"\} 0$/m,
      /^mahavishnu_journal_write_seconds_count [1-9]/m,
      /^nodejs_eventloop_lag_seconds\{of="p99"\} /m,
      /^process_resident_memory_bytes [1-9]/m,
      /^process_cpu_seconds_total /m,
      /^mahavishnu_http_requests_total\{via="tcp",method="GET",route="\/v1\/runs",status="200"\} /m,
    ]) {
      assert.match(text, line)
    }
    // A name that comes twice, in two registries, is no valid exposition.
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
    assert.deepEqual(names, [...new Set(names)])
  })
})
