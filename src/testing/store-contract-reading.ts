import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { RUN_STATUSES } from '../core/run-status.ts'
import { JOURNAL_FORMAT, type NewAuditEntry, type RunQuery, type RunRecord, type Store } from '../store/store.ts'
import {
  create,
  refused,
  runIn,
  SAMPLE_START,
  sampleEvent,
  sampleId,
  sampleRun,
  type WithStore,
} from './store-samples.ts'

/** The part of the contract that is about lists: pages, events, output, the audit trail and the workers' state. */
export function describeReading(withStore: WithStore): void {
  describe('the list of runs', () => describeRuns(withStore))
  describe('the events of a run', () => describeEvents(withStore))
  describe('the output of a run', () => describeOutput(withStore))
  describe('the audit trail', () => describeAudit(withStore))
  describe("a worker's state", () => describeState(withStore))
  describe('the store itself', () => describeStore(withStore))
}

function ids(runs: readonly RunRecord[]): string[] {
  return runs.map((run) => run.run_id)
}

const PLACES = [
  { worker: 'ssh', operation: 'ssh.execute', target: 'web-1', principal: 'agent:ops' },
  { worker: 'ssh', operation: 'ssh.sftp_transfer', target: 'web-2', principal: 'user:1' },
  { worker: 'database', operation: 'database.migrate', target: 'web-1', principal: 'user:1' },
  { worker: 'database', operation: 'database.backup', target: null, principal: 'agent:ops' },
]
const BEGINS = ['pending', 'running', 'completed', 'failed', 'timeout', 'cancelled'] as const

/** 48 runs over all places and statuses, created in an order that is not that of their ids. */
async function fill(store: Store): Promise<RunRecord[]> {
  const runs: RunRecord[] = []
  for (let index = 0; index < 48; index += 1) {
    const n = (index * 29) % 48
    const { status, started_at, end } = runIn(n, BEGINS[n % 6] ?? 'pending')
    const { run } = await create(store, sampleRun(n, { status, started_at, end }, PLACES[(n * 7) % 4]))
    runs.push(run)
  }
  return runs.sort((a, b) => (a.run_id < b.run_id ? 1 : -1))
}

function describeRuns(withStore: WithStore): void {
  it(
    'has the newest first',
    withStore(async (store) => {
      assert.deepEqual(await store.listRuns({ limit: 10 }), [])
      const runs = await fill(store)
      assert.deepEqual(await store.listRuns({ limit: 1_000 }), runs)
    }),
  )
  it(
    'is filtered by each field and by all of them together',
    withStore(async (store) => {
      const runs = await fill(store)
      const queries: [Partial<RunQuery>, (run: RunRecord) => boolean][] = [
        [{ worker: 'ssh' }, (run) => run.worker === 'ssh'],
        [{ operation: 'database.migrate' }, (run) => run.operation === 'database.migrate'],
        [{ target: 'web-1' }, (run) => run.target === 'web-1'],
        [{ principal: 'user:1' }, (run) => run.principal === 'user:1'],
        [{ status: ['failed'] }, (run) => run.status === 'failed'],
        [{ status: ['completed'] }, (run) => run.status === 'completed'],
        [
          { status: ['pending', 'running', 'cancelled'] },
          (run) => ['pending', 'running', 'cancelled'].includes(run.status),
        ],
        [{ status: ['completed', 'failed'] }, (run) => ['completed', 'failed'].includes(run.status)],
        [{ status: [] }, () => false],
        [{ status: RUN_STATUSES }, () => true],
        [{ since: SAMPLE_START + 20 }, (run) => run.accepted_at >= SAMPLE_START + 20],
        [{ until: SAMPLE_START + 20 }, (run) => run.accepted_at < SAMPLE_START + 20],
        [{ since: SAMPLE_START + 5, until: SAMPLE_START + 6 }, (run) => run.accepted_at === SAMPLE_START + 5],
        [{ worker: 'nobody' }, () => false],
        [
          {
            worker: 'ssh',
            operation: 'ssh.execute',
            target: 'web-1',
            principal: 'agent:ops',
            status: ['running', 'failed'],
            since: SAMPLE_START + 3,
            until: SAMPLE_START + 40,
          },
          (run) =>
            run.operation === 'ssh.execute' &&
            ['running', 'failed'].includes(run.status) &&
            run.accepted_at >= SAMPLE_START + 3 &&
            run.accepted_at < SAMPLE_START + 40,
        ],
      ]
      for (const [query, matches] of queries) {
        const what = JSON.stringify(query)
        const expected = runs.filter(matches)
        assert.deepEqual(ids(await store.listRuns({ ...query, limit: 1_000 })), ids(expected), what)
        const before = sampleId(30)
        const page = expected.filter((run) => run.run_id < before).slice(0, 3)
        assert.deepEqual(ids(await store.listRuns({ ...query, limit: 3, before })), ids(page), `${what} before`)
      }
    }),
  )
  it(
    'comes in pages that together are the whole',
    withStore(async (store) => {
      const runs = await fill(store)
      const found: RunRecord[] = []
      for (let before: string | undefined; ; before = found.at(-1)?.run_id) {
        const page = await store.listRuns({ limit: 7, before })
        found.push(...page)
        if (page.length < 7) break
      }
      assert.deepEqual(found, runs)
    }),
  )
  it(
    'has at most 1,000 runs, and none for a limit of 0',
    withStore(async (store) => {
      await Promise.all(Array.from({ length: 1_001 }, (_, n) => store.createRun(sampleRun(n))))
      assert.equal((await store.listRuns({ limit: 5_000 })).length, 1_000)
      for (const limit of [0, -1, Number.NaN]) assert.equal((await store.listRuns({ limit })).length, 0)
    }),
  )
  it(
    'of those that have not ended has the oldest first',
    withStore(async (store) => {
      const runs = await fill(store)
      const open = runs.filter((run) => run.end === null).reverse()
      assert.equal(open.length, 16)
      assert.deepEqual(await store.unfinishedRuns(), open)
    }),
  )
}

function describeEvents(withStore: WithStore): void {
  it(
    'are numbered from 1 and read from any place',
    withStore(async (store) => {
      await create(store, sampleRun(1, { events: [sampleEvent('accepted'), sampleEvent('queued', { position: 3 })] }))
      await create(store, sampleRun(2))
      await store.appendEvents(sampleId(1), [
        sampleEvent('started'),
        sampleEvent('progress', { text: 'half \ud800 \u0000' }),
      ])
      await store.appendEvents(sampleId(1), [])
      const log = await store.getEvents(sampleId(1), 0, 100)
      assert.deepEqual(
        log.map(({ seq, type }) => `${seq} ${type}`),
        ['1 accepted', '2 queued', '3 started', '4 progress'],
      )
      assert.deepEqual(log[3], {
        run_id: sampleId(1),
        seq: 4,
        ...sampleEvent('progress', { text: 'half \ud800 \u0000' }),
      })
      assert.deepEqual(await store.getEvents(sampleId(1), 1, 2), log.slice(1, 3))
      assert.deepEqual(await store.getEvents(sampleId(1), 4, 2), [])
      assert.deepEqual(await store.getEvents(sampleId(1), 0, 2.9), log.slice(0, 2))
      assert.deepEqual(await store.getEvents(sampleId(1), 0, Number.POSITIVE_INFINITY), log)
      assert.deepEqual(await store.getEvents(sampleId(1), 0, -1), [])
      assert.deepEqual(await store.getEvents('nobody', 0, 2), [])
    }),
  )
  it(
    'of a run that is not there are refused',
    withStore(async (store) => {
      await refused(store.appendEvents('nobody', [sampleEvent('started')]), 'MHV_RUN_UNKNOWN')
      await refused(store.appendEvents('nobody', []), 'MHV_RUN_UNKNOWN')
    }),
  )
}

function describeOutput(withStore: WithStore): void {
  it(
    'comes back byte for byte, numbered over both streams, with its gaps',
    withStore(async (store) => {
      await create(store, sampleRun(1))
      const all = Uint8Array.from({ length: 256 }, (_, index) => index)
      const view = new Uint8Array(new ArrayBuffer(100_000), 500, 4).fill(7)
      await store.appendOutput(sampleId(1), [
        { stream: 'stdout', bytes: all, gap_bytes: 0 },
        { stream: 'stderr', bytes: new Uint8Array(0), gap_bytes: 12_345_678_901 },
      ])
      await store.appendOutput(sampleId(1), [{ stream: 'stdout', bytes: view, gap_bytes: 3 }])
      // The caller's own bytes are still there.
      assert.deepEqual([all.length, view.length, view.buffer.byteLength], [256, 4, 100_000])
      all.fill(0)
      const chunks = await store.getOutput(sampleId(1), 0, 1_000)
      assert.deepEqual(
        chunks.map(({ seq, stream, gap_bytes }) => [seq, stream, gap_bytes]),
        [
          [1, 'stdout', 0],
          [2, 'stderr', 12_345_678_901],
          [3, 'stdout', 3],
        ],
      )
      assert.deepEqual(
        chunks.map(({ bytes }) => [...bytes]),
        [Array.from({ length: 256 }, (_, index) => index), [], [7, 7, 7, 7]],
      )
    }),
  )
  it(
    'is read up to a number of bytes, but at least one chunk',
    withStore(async (store) => {
      await create(store, sampleRun(1))
      const chunks = [10, 20, 30].map(
        (size) => ({ stream: 'stdout', bytes: new Uint8Array(size), gap_bytes: 0 }) as const,
      )
      await store.appendOutput(sampleId(1), chunks)
      const read = async (after: number, maxBytes: number) =>
        (await store.getOutput(sampleId(1), after, maxBytes)).map(({ seq }) => seq)
      assert.deepEqual(await read(0, 1), [1])
      assert.deepEqual(await read(0, 29), [1])
      assert.deepEqual(await read(0, 30), [1, 2])
      assert.deepEqual(await read(0, 60), [1, 2, 3])
      assert.deepEqual(await read(1, 1), [2])
      assert.deepEqual(await read(3, 100), [])
      assert.deepEqual(await store.getOutput('nobody', 0, 100), [])
    }),
  )
  it(
    'of a run that is not there is refused',
    withStore(async (store) => {
      await refused(store.appendOutput('nobody', []), 'MHV_RUN_UNKNOWN')
    }),
  )
}

function describeAudit(withStore: WithStore): void {
  it(
    'is numbered by the store and read from any place',
    withStore(async (store) => {
      const entry = (n: number): NewAuditEntry => ({
        at: SAMPLE_START + n,
        principal: 'agent:ops',
        action: 'ssh.execute',
        target: n === 0 ? null : `web-${n}`,
        decision: n % 2 === 0 ? 'deny' : 'allow',
        rule: n === 1 ? 'agent-safe' : null,
        run_id: n === 1 ? sampleId(1) : null,
        details: { n, text: '\u0000 \udfff' },
      })
      await Promise.all([0, 1, 2, 3].map((n) => store.appendAudit(entry(n))))
      const expected = [0, 1, 2, 3].map((n) => ({ seq: n + 1, ...entry(n) }))
      assert.deepEqual(await store.listAudit({ limit: 10 }), expected)
      assert.deepEqual(await store.listAudit({ after: 1, limit: 2 }), expected.slice(1, 3))
      await refused(store.appendAudit({ ...entry(1), details: { big: 1n } }), 'MHV_INTERNAL')
      await store.appendAudit(entry(4))
      assert.equal((await store.listAudit({ after: 4, limit: 10 }))[0]?.seq, 5)
    }),
  )
}

function describeState(withStore: WithStore): void {
  it(
    'is kept, replaced and deleted by worker and key',
    withStore(async (store) => {
      assert.equal(await store.stateGet('ssh', 'key'), undefined)
      await store.stateSet('ssh', 'key', { a: [1, null, '\u0000 \ud800'] })
      await store.stateSet('mqtt', 'key', null)
      assert.deepEqual(await store.stateGet('ssh', 'key'), { a: [1, null, '\u0000 \ud800'] })
      assert.equal(await store.stateGet('mqtt', 'key'), null)
      await store.stateSet('ssh', 'key', false)
      assert.equal(await store.stateGet('ssh', 'key'), false)
      await store.stateDelete('ssh', 'key')
      await store.stateDelete('ssh', 'key')
      assert.equal(await store.stateGet('ssh', 'key'), undefined)
      assert.equal(await store.stateGet('mqtt', 'key'), null)
      await refused(store.stateSet('ssh', 'key', 1n), 'MHV_INTERNAL')
    }),
  )
  it(
    'is listed by prefix, in the order of the keys',
    withStore(async (store) => {
      const keys = ['a', 'a%', 'a/1', 'a/10', 'a/2', 'aa', 'b', 'a/\u0000', 'a/é', 'a/\uffff', 'a/💾', 'A', 'a/_']
      for (const [index, key] of keys.entries()) await store.stateSet('ssh', key, index)
      await store.stateSet('mqtt', 'a/9', 'other')
      const list = async (prefix: string) => (await store.stateList('ssh', prefix)).map(({ key }) => key)
      assert.deepEqual(await list('a/'), ['a/\u0000', 'a/1', 'a/10', 'a/2', 'a/_', 'a/é', 'a/\uffff', 'a/💾'])
      assert.deepEqual(await list('a%'), ['a%'])
      assert.deepEqual(await list('a/_'), ['a/_'])
      assert.deepEqual(await list('c'), [])
      assert.equal((await list('')).length, keys.length)
      assert.deepEqual(await store.stateList('mqtt', ''), [{ key: 'a/9', value: 'other' }])
    }),
  )
}

function describeStore(withStore: WithStore): void {
  it(
    'can be checked, which leaves nothing behind',
    withStore(async (store) => {
      await store.check()
      await Promise.all([store.check(), store.check()])
      assert.deepEqual(await store.stateList('', ''), [])
      assert.equal((await store.facts()).runs, 0)
    }),
  )
  it(
    'knows its facts',
    withStore(async (store) => {
      await create(store, sampleRun(1))
      const { format, runs } = await store.facts()
      assert.deepEqual([format, runs], [JOURNAL_FORMAT, 1])
    }),
  )
}
