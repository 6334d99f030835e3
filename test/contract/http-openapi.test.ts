import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { createRegistry } from '../../src/core/registry.ts'
import { openApiDocument } from '../../src/surfaces/http/openapi.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { type Described, describedOperations, requestsOf, undocumented } from '../helpers/http-openapi.ts'
import { type Ask, answerOf, startServer, type TestServer } from '../helpers/http-server.ts'

type Json = Readonly<Record<string, unknown>>

let server: TestServer
let document: Json
const runs: string[] = ['01K5E2W9QZ3V7M4T8N6R1XJYHB']

before(async () => {
  server = await startServer({
    settings: { rate_limit_burst: 1_000_000, rate_limit_per_second: 100_000, max_body_bytes: 20_000 },
    // Whatever is asked for, an answer comes soon.
    file: 'runs:\n  wait_seconds: 0.05\n  abort_grace_seconds: 1\nprobe:\n  admission: { max_concurrent: 4, queue_size: 4 }\n',
  })
  for (const input of [{ pieces: ['out'] }, { wait_ms: 60_000 }]) {
    const { json } = await server.call('probe.emit', { target: 'one', input, wait: 0 })
    runs.push(json.run_id)
  }
  document = (await server.ask({ path: '/openapi.json' })).json
})
after(() => server.close())

const few = fc.integer({ min: 0, max: 30 })
/** Names that mean something here, and times that a test can wait for. */
const known = {
  target: fc.constantFrom('one', 'two', 'nowhere'),
  ping: fc.constantFrom('one', 'nowhere'),
  on: fc.constantFrom('one', 'two'),
  worker: fc.constantFrom('probe', 'prob'),
  code: fc.constantFrom('MHV_SSH_AUTH_FAILED', 'MHV_SSH_CWD_FAILED'),
  idempotency_key: fc.constantFrom('k1', 'k2', 'k\n3'),
  timeout: fc.double({ min: 0.01, max: 0.3, noNaN: true }),
  wait: fc.double({ min: 0, max: 0.1, noNaN: true }),
  seconds: fc.double({ min: 0, max: 0.1, noNaN: true }),
  wait_ms: few,
  pause_ms: few,
}

/** Operations that are asked at the same time: most of an answer's time is waiting for a run. */
const AT_ONCE = 6

/** What a document, sent to the server as requests, finds: one line for each answer that it does not allow. */
async function disagreements(of: Json, valid: boolean, numRuns: number): Promise<readonly string[]> {
  const found: string[] = []
  const waiting = [...describedOperations(of)]
  async function work(): Promise<void> {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const problem = await disagreement(of, next, valid, numRuns)
      if (problem !== null) found.push(problem)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return found
}

/** An answer of one operation that the document does not allow; null when there was none. */
async function disagreement(of: Json, described: Described, valid: boolean, numRuns: number): Promise<string | null> {
  const run_id = fc.constantFrom(...runs)
  const requests = requestsOf(described, { known: { ...known, run_id }, valid })
  const property = fc.asyncProperty(requests, async (request) => {
    const why = undocumented(of, described, await answerTo(described, request))
    if (why !== null) throw new Error(why)
  })
  const { failed, counterexample, errorInstance } = await fc.check(property, { numRuns, endOnFailure: true })
  const { method, path } = described
  return failed ? `${method} ${path} ${JSON.stringify(counterexample)}: ${String(errorInstance)}` : null
}

async function answerTo({ operation }: Described, request: Ask) {
  // An event stream of a run that goes on has no end: what it begins with is enough.
  if (operation.operationId !== 'run_events') return server.ask(request)
  const answer = await server.open(request)
  if (answer.statusCode !== 200) return answerOf(answer)
  answer.on('error', () => undefined)
  answer.destroy()
  return { status: 200, headers: answer.headers, text: '', json: undefined }
}

describe('API-01: the OpenAPI document is true', () => {
  test('what it allows is answered as it says, and never with 500', async () => {
    assert.deepEqual(await disagreements(document, true, 40), [])
  })

  test('what it does not allow is refused as it says, and never with 500', async () => {
    assert.deepEqual(await disagreements(document, false, 60), [])
  })

  test('bodies that are no JSON, or too much of it', async () => {
    const path = '/v1/workers/probe/operations/touch'
    const described = describedOperations(document).find((each) => each.path === path)
    assert.ok(described)
    const deep = `${'{"input":'.repeat(2_000)}1${'}'.repeat(2_000)}`
    const bodies = [
      '',
      '{',
      'null',
      '[]',
      '"x"',
      deep,
      'x'.repeat(30_000),
      '{"__proto__":1}',
      Buffer.from([0xff, 0xfe]),
    ]
    for (const body of bodies) {
      for (const type of ['application/json', 'text/plain', 'application/xml', 'nonsense']) {
        const answer = await server.ask({ method: 'POST', path, body, headers: { 'content-type': type } })
        assert.equal(undocumented(document, described, answer), null, `${type} ${String(body).slice(0, 50)}`)
        assert.ok(answer.status >= 400)
      }
    }
  })

  test('negative control: a document that says less, or something else, is found out', async () => {
    const copy = structuredClone(document)
    delete (at(copy, '/v1/runs', 'get', 'responses') as Record<string, unknown>)['400']

    const answer = at(copy, '/v1/workers', 'get', 'responses', '200', 'content', 'application/json')
    Object.assign(answer as object, { schema: { type: 'object', properties: { workers: { type: 'string' } } } })

    const refusal = at(copy, '/v1/runs/{run_id}', 'get', 'responses', '404', 'content', 'application/problem+json')
    const { allOf } = (refusal as { schema: { allOf: { properties?: { code?: unknown } }[] } }).schema
    Object.assign(allOf[1]?.properties ?? {}, { code: { const: 'MHV_TARGET_UNKNOWN' } })

    const found = (await disagreements(copy, false, 60)).map((line) => line.split(' ').slice(0, 2).join(' '))
    assert.deepEqual(found.sort(), ['GET /v1/runs', 'GET /v1/runs/{run_id}', 'GET /v1/workers'])
  })
})

function at(document: Json, ...keys: readonly string[]): unknown {
  return keys.reduce<unknown>((node, key) => (node as Json)[key], document.paths)
}

describe('the document', () => {
  test('has every route, and nothing that is none', async () => {
    for (const { method, path } of describedOperations(document)) {
      const body = method === 'POST' ? { body: {} } : {}
      const answer = await server.open({ method, path: path.replace(/\{\w+\}/g, 'x'), ...body })
      answer.resume()
      assert.ok(![405, 501].includes(answer.statusCode ?? 0), `${method} ${path}`)
      const type = answer.headers['content-type'] ?? ''
      if (answer.statusCode === 404 && /problem/.test(type)) assert.ok(path.includes('{'), path)
    }
  })

  test('has an id of its own for every operation, and a summary', () => {
    const operations = describedOperations(openApiDocument(createRegistry([createProbeWorker()]), '1'))
    const ids = operations.map(({ operation }) => operation.operationId)
    assert.deepEqual(ids, [...new Set(ids)])
    for (const { operation } of operations) assert.ok((operation as { summary?: string }).summary)
  })

  test('the checked-in one is that of the shipped program', async () => {
    const { renderOpenApi } = await import('../../scripts/gen/openapi.ts')
    const file = join(import.meta.dirname, '../../docs/reference/openapi.json')
    assert.equal(readFileSync(file, 'utf8'), renderOpenApi())
  })
})
