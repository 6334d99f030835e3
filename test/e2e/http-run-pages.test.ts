import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import type { Composition } from '../../src/app.ts'
import type { Store } from '../../src/store/store.ts'
import { startServer, type TestServer } from '../helpers/http-server.ts'
import { probeComposition } from '../helpers/probe-composition.ts'

const MANY = 2_300
const PROGRAM = join(import.meta.dirname, '../helpers/http-up.ts')

let server: TestServer
let run_id: string
/** All events of the run, as the journal has them. */
let all: number[]

before(async () => {
  let store: Store | undefined
  const parts = probeComposition()
  const openStore: Composition['openStore'] = async (options) => {
    store = await parts.openStore(options)
    return store
  }
  server = await startServer({ composition: { ...parts, openStore } })
  run_id = (await server.call('probe.touch', { target: 'one', input: { value: 'x' } })).json.run_id
  assert.ok(store)
  const at = Date.now()
  await store.appendEvents(
    run_id,
    Array.from({ length: MANY }, (_, step) => ({ type: 'progress', at, data: { step } }) as const),
  )
  all = (await store.getEvents(run_id, 0, 100_000)).map(({ seq }) => seq)
  assert.ok(all.length > MANY)
})
after(() => server.close())

interface Page {
  readonly events: readonly { readonly seq: number }[]
  readonly next_event: number | null
}

const seqs = ({ events }: Page) => events.map(({ seq }) => seq)

test('MCP-04, API: a run with thousands of events is read page by page over HTTP, by next_event or by its Link', async () => {
  const seen: number[] = []
  let path: string | undefined = `/v1/runs/${run_id}`
  let since: number | null = 0
  while (path !== undefined) {
    const { status, json, headers } = await server.ask({ path })
    assert.equal(status, 200)
    const page = json as Page
    assert.equal(seqs(page)[0], since + 1)
    seen.push(...seqs(page))
    since = page.next_event ?? since
    path = /^<(.+)>; rel="next"$/.exec(String(headers.link ?? ''))?.[1]
    if (path !== undefined) assert.equal(path, `/v1/runs/${run_id}?since_event=${page.next_event}`)
    else assert.equal(page.next_event, null)
  }
  assert.deepEqual(seen, all)
})

test('the ids of the event stream are the same numbers', async () => {
  const { json } = await server.ask({ path: `/v1/runs/${run_id}` })
  const next = (json as Page).next_event
  const headers = { 'last-event-id': `${next}.0` }
  const { text } = await server.ask({ path: `/v1/runs/${run_id}/events`, headers })
  const ids = [...text.matchAll(/^event: event\nid: (\d+)\.\d+$/gm)].map(([, seq]) => Number(seq))
  assert.deepEqual(ids, all.slice(next ?? 0))
})

test('the command line has it as --since-event', async () => {
  const args = ['runs', 'show', run_id, '--since-event', '2000', '--json', '--folder', server.folder]
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, ...args], { maxBuffer: 1 << 24 })
  const page = JSON.parse(stdout) as Page
  assert.deepEqual(seqs(page), all.slice(2_000))
  assert.equal(page.next_event, null)
})

test('a cursor that is no number is refused', async () => {
  for (const since of ['-1', 'x', '1.5']) {
    const { status, json } = await server.ask({ path: `/v1/runs/${run_id}?since_event=${since}` })
    assert.deepEqual([status, json.code], [400, 'MHV_INPUT_INVALID'])
  }
})
