import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Client } from '@modelcontextprotocol/client'
import fc from 'fast-check'
import { anyResultSchema, type WorkerResult } from '../../src/core/result.ts'
import { localPrincipal } from '../../src/governance/principals.ts'
import { ANSWER_BYTES, fitted, jsonBytes } from '../../src/surfaces/mcp/answer-size.ts'
import { presentResult } from '../../src/surfaces/mcp/present.ts'
import { callOf, type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'

/** Texts from nothing to more than an answer holds, of every kind of character: also those that JSON escapes. */
const pieceOfText = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }),
  fc.constantFrom('\0', '"', '\\', '\n', '\x1b[31m', 'é', '€', '😀', '\u202e', 'plain '),
)
const longText = fc
  .tuple(pieceOfText, fc.constantFrom(1, 30, 3_000, 40_000))
  .map(([piece, times]) => piece.repeat(times).slice(0, 95_000).toWellFormed())

let fixture: HttpFixture
let client: Client
before(async () => {
  fixture = await httpFixture()
  client = await fixture.client('auto')
})
after(() => fixture.close())

function assertBounded(answer: unknown): void {
  const bytes = jsonBytes(answer)
  assert.ok(bytes <= ANSWER_BYTES, `an answer of ${bytes} bytes`)
}

async function call(name: string, args: Record<string, unknown>) {
  const { answer, data, text } = await callOf(client, name, args)
  assertBounded(answer)
  return { data, text }
}

/** All output of a run, by the cursor. */
async function allOutput(run_id: string, more: Record<string, unknown> = {}): Promise<string> {
  const parts: Buffer[] = []
  for (let cursor = 0, ended = false; !ended; ) {
    const { data } = await call('run_output', { run_id, cursor, encoding: 'base64', ...more })
    const page = data as { chunks: { text: string }[]; next_cursor: number; ended: boolean }
    parts.push(...page.chunks.map(({ text }) => Buffer.from(text, 'base64')))
    assert.ok(page.ended || page.next_cursor > cursor || page.chunks.length > 0, 'the cursor goes on')
    cursor = page.next_cursor
    ended = page.ended
  }
  return Buffer.concat(parts).toString('utf8')
}

/** The whole of an answer, by `read_more`. */
async function whole(name: string, args: Record<string, unknown>): Promise<unknown> {
  let json = ''
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const more = cursor === undefined ? {} : { cursor }
    const { data } = await call('read_more', { call: name, arguments: args, ...more })
    json += data.text
    cursor = data.next_cursor as string | null
  }
  return JSON.parse(json)
}

const control = (name: string, input: unknown) =>
  fixture.instance.control({ name, input, principal: { ...localPrincipal(), id: 'tester' } })

/** Adds events to a run, past what one answer holds, and says how many it has then. */
async function withEvents(run_id: string, many: number, data: Record<string, unknown>): Promise<number> {
  const at = Date.now()
  const events = Array.from({ length: many }, () => ({ type: 'progress', at, data }) as const)
  await fixture.store.appendEvents(run_id, events)
  return (await fixture.store.getEvents(run_id, 0, 100_000)).length
}

interface EventsPage {
  readonly events: readonly { readonly seq: number }[]
  readonly next_event: number | null
}

describe('MCP-04: no answer exceeds its size bound, and none loses data that a cursor cannot fetch', () => {
  test('whatever a target writes', async () => {
    const shape = fc.tuple(fc.array(longText, { maxLength: 3 }), fc.constantFrom({}, { max_bytes: 1_000 }))
    await fc.assert(
      fc.asyncProperty(shape, async ([pieces, more]) => {
        const { data } = await call('probe_emit', { target: 'one', pieces })
        const run_id = String(data.run_id)
        // A thousand bytes at a time is slow for what is large.
        const few = pieces.join('').length < 20_000 ? more : {}
        assert.equal(await allOutput(run_id, few), pieces.join(''))
        await call('run_output', { run_id })
        await call('run_get', { run_id })
        assert.deepEqual(
          await whole('run_get', { run_id }),
          JSON.parse(JSON.stringify(await control('run_get', { run_id }))),
        )
      }),
      { numRuns: 25 },
    )
  })

  test('whatever an operation answers or fails with', async () => {
    await fc.assert(
      fc.asyncProperty(longText, async (value) => {
        const touched = await call('probe_touch', { target: 'one', value })
        const run_id = String(touched.data.run_id)
        const { run } = (await whole('run_get', { run_id })) as { run: WorkerResult }
        assert.deepEqual(run.data, { value })
        const failed = await call('probe_fail', { target: 'two', code: 'MHV_INPUT_INVALID', message: value })
        const asked = { run_id: failed.data.run_id }
        assert.deepEqual(await whole('run_get', asked), JSON.parse(JSON.stringify(await control('run_get', asked))))
      }),
      { numRuns: 12 },
    )
  })

  test('in a list of runs, which goes on where it was cut', async () => {
    for (let index = 0; index < 12; index++) {
      await call('probe_fail', { target: 'two', code: 'MHV_INPUT_INVALID', message: 'é"\\'.repeat(4_000) })
    }
    const seen: string[] = []
    for (let before: string | null | undefined; before !== null; ) {
      const { data } = await call('run_list', { limit: 200, ...(before === undefined ? {} : { before }) })
      const page = data as { runs: { run_id: string }[]; next: string | null }
      seen.push(...page.runs.map(({ run_id }) => run_id))
      before = page.next
    }
    const all: string[] = []
    for (let before: string | null | undefined; before !== null; ) {
      const page = (await control('run_list', { limit: 200, ...(before === undefined ? {} : { before }) })) as {
        runs: { run_id: string }[]
        next: string | null
      }
      all.push(...page.runs.map(({ run_id }) => run_id))
      before = page.next
    }
    assert.deepEqual(seen, all)
  })

  for (const [what, many, data] of [
    ['thousands of small ones', 2_500, { step: 1 }],
    ['many large ones', 300, { text: 'é"\\\n'.repeat(900) }],
    ['none but its own', 0, {}],
  ] as const) {
    test(`in the events of a run, ${what}: next_event goes on where the answer ends`, async () => {
      const { data: touched } = await call('probe_touch', { target: 'one', value: 'x' })
      const run_id = String(touched.run_id)
      const has = await withEvents(run_id, many, data)
      const seen: number[] = []
      for (let since_event: number | null = 0; since_event !== null; ) {
        const { data, text } = await call('run_get', { run_id, since_event })
        const page = data as unknown as EventsPage
        seen.push(...page.events.map(({ seq }) => seq))
        if (page.next_event !== null) assert.ok(text.includes(`"since_event":${page.next_event}`), text.slice(-300))
        since_event = page.next_event
      }
      assert.deepEqual(
        seen,
        Array.from({ length: has }, (_, index) => index + 1),
      )
      // What one answer had to shorten stands whole in the JSON that it names.
      const page = (await whole('run_get', { run_id, since_event: has - 1 })) as EventsPage & {
        events: { data: object }[]
      }
      if (many > 0) assert.deepEqual(page.events[0]?.data, data)
    })
  }

  test('of any shape of data, in the shape of a result, with its way to the whole', () => {
    const data = fc.object({ values: [longText, fc.integer(), fc.constant(null)], maxDepth: 3, maxKeys: 12 })
    fc.assert(
      fc.property(data, longText, longText, (value, output, error) => {
        const result = resultWith({ data: value, output, error })
        const answer = presentResult(result)
        assertBounded(answer)
        const { structuredContent } = answer as { structuredContent: WorkerResult }
        assert.ok(anyResultSchema.safeParse(structuredContent).success)
        if (jsonBytes(structuredContent) < jsonBytes(result)) {
          assert.ok(answer._meta?.['mahavishnu/whole'])
          assert.deepEqual(structuredContent.metadata.whole, answer._meta['mahavishnu/whole'])
        }
      }),
      { numRuns: 60 },
    )
  })

  test('what is cut keeps its beginning and its end, and no character is parted', () => {
    fc.assert(
      fc.property(longText, fc.integer({ min: 100, max: 20_000 }), (text, bytes) => {
        const short = fitted(text, bytes)
        assert.ok(jsonBytes(short) <= bytes + 2)
        assert.ok(short.isWellFormed())
      }),
    )
  })

  test('negative control: an answer that nobody bounds is found', () => {
    const result = resultWith({ data: { text: 'x'.repeat(90_000) }, output: 'x'.repeat(90_000), error: null })
    const unbounded = { content: [{ type: 'text', text: String(result.output) }], structuredContent: result }
    assert.throws(() => assertBounded(unbounded), /an answer of/)
  })

  test('negative control: output that is lost between two pages is found', async () => {
    const pieces = ['é'.repeat(90_000)]
    const { data } = await call('probe_emit', { target: 'one', pieces })
    // A reader that drops what its cursor says about the inside of a piece.
    const first = await call('run_output', { run_id: data.run_id })
    const next = Number(first.data.next_cursor) % 2 ** 32
    const texts = (page: Record<string, unknown>) =>
      (page.chunks as { text: string }[]).map(({ text }) => text).join('')
    const second = await call('run_output', { run_id: data.run_id, cursor: next + 1 })
    assert.notEqual(texts(first.data) + texts(second.data), pieces.join(''))
    assert.equal(await allOutput(String(data.run_id)), pieces.join(''))
  })
})

function resultWith(fields: Pick<WorkerResult, 'data' | 'output' | 'error'>): WorkerResult {
  return {
    run_id: '01K5E2W9QZ3V7M4T8N6R1XJYHB',
    worker: 'probe',
    operation: 'probe.touch',
    target: 'one',
    worker_id: 'probe-1',
    status: fields.error === null ? 'completed' : 'failed',
    effect_certainty: 'applied',
    error_code: fields.error === null ? null : 'MHV_INTERNAL',
    exit_code: null,
    attempts: 1,
    duration_seconds: 1,
    timestamp: '2026-01-01T00:00:00.000Z',
    metadata: { format: 1, principal: 'p', surface: 'mcp', effect: 'write', tier: 'dev', queue_seconds: 0 },
    ...fields,
  }
}
