import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { FINAL_STATUSES, isFinal, isTransition, RUN_STATUSES } from '../core/run-status.ts'
import { createFakeClock, type FakeClock } from '../testing/fake-clock.ts'
import { SAMPLE_START, sampleEnd, sampleEvent, sampleId, sampleRun } from '../testing/store-samples.ts'
import { createMemoryStore } from './memory.ts'
import { openSqliteStore } from './sqlite.ts'
import type { NewRun, RunChange, RunQuery, RunRecord, Store } from './store.ts'

/**
 * Random calls, compared between the journal and the store in memory, which is simple enough to be its model. Each
 * round has runs, principals and state of its own, so that one journal serves them all and a failing round can shrink.
 */

const RUNS = 10
const PLACES = [
  { worker: 'ssh', operation: 'ssh.execute', target: 'web-1' },
  { worker: 'ssh', operation: 'ssh.sftp_transfer', target: null },
  { worker: 'mqtt', operation: 'mqtt.publish', target: 'web-1' },
]
const CERTAINTIES = ['none', 'none', 'none', 'applied', 'unknown'] as const

/** A call: its text for a failure's report, whether it writes, and how it is made in a round. */
interface Call {
  readonly text: string
  readonly writes: boolean
  make(store: Store, round: number): Promise<unknown>
}

function call(name: string, writes: boolean, facts: object, make: Call['make']): Call {
  return { text: `${name} ${JSON.stringify(facts)}`, writes, make }
}

const run = fc.nat(RUNS - 1)
const text = fc.string({
  unit: fc.constantFrom('a', 'b', '/', '%', '_', '\u0000', 'é', '💾', '\ud800', '\uffff'),
  maxLength: 4,
})
const json = fc.jsonValue({ maxDepth: 2 })
const events = fc.array(json, { maxLength: 2 }).map((list) => list.map((value) => sampleEvent('progress', { value })))
/** `starting` is never kept, and seldom asked for here. */
const status = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom(...RUN_STATUSES.filter((one) => one !== 'starting')) },
  fc.constant('starting' as const),
)
const ends = fc.record({
  effect_certainty: fc.constantFrom(...CERTAINTIES),
  output: text,
  data: json,
  attempts: fc.nat(9),
})

function endFor(to: RunChange['to'], end: Partial<ReturnType<typeof sampleEnd>>) {
  return isFinal(to) ? sampleEnd(to, end) : undefined
}

const creating = fc
  .record({
    n: run,
    status,
    end: ends,
    events,
    place: fc.constantFrom(...PLACES),
    input: json,
    reason: fc.option(text),
    key: fc.option(
      fc.record({
        key: fc.constantFrom('k', 'k', 'l'),
        digest: fc.constantFrom('d', 'd', 'd', 'e'),
        left: fc.nat(9000),
      }),
    ),
  })
  .map((given) =>
    call('createRun', true, given, (store, round) => {
      const { n, key, place, input, reason } = given
      const principal = `p${round}`
      const facts = { ...place, input, reason, principal }
      const started_at = given.status === 'pending' ? null : SAMPLE_START + n
      const idempotency =
        key === null ? undefined : { key: key.key, digest: key.digest, expires_at: SAMPLE_START + key.left }
      const rest: Partial<NewRun> = {
        status: given.status,
        started_at,
        end: endFor(given.status, given.end),
        idempotency,
      }
      return store.createRun(sampleRun(round * RUNS + n, { ...rest, events: given.events }, facts))
    }),
  )

const changing = fc
  .record({
    n: run,
    from: fc.oneof(fc.constant(RUN_STATUSES), fc.uniqueArray(status, { minLength: 1 })),
    to: status,
    end: ends,
    events,
    at: fc.option(fc.nat()),
  })
  .map((given) =>
    call('changeRun', true, given, (store, round) => {
      const { from, to, at } = given
      const run_id = sampleId(round * RUNS + given.n)
      const started = at === null ? {} : { started_at: at }
      return store.changeRun({ run_id, from, to, end: endFor(to, given.end), events: given.events, ...started })
    }),
  )

const chunks = fc.array(
  fc.record({
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    bytes: fc.uint8Array({ maxLength: 20 }),
    gap_bytes: fc.nat(),
  }),
  { maxLength: 3 },
)

const writing = fc.oneof(
  { weight: 6, arbitrary: creating },
  { weight: 6, arbitrary: changing },
  fc
    .record({ n: run, events })
    .map((given) =>
      call('appendEvents', true, given, (store, round) =>
        store.appendEvents(sampleId(round * RUNS + given.n), given.events),
      ),
    ),
  fc
    .record({ n: run, chunks })
    .map((given) =>
      call('appendOutput', true, given, (store, round) =>
        store.appendOutput(sampleId(round * RUNS + given.n), given.chunks),
      ),
    ),
  fc.record({ text, decision: fc.constantFrom('allow' as const, 'deny' as const), details: json }).map((given) =>
    call('appendAudit', true, given, (store, round) => {
      const entry = { at: round, principal: given.text, action: given.text, target: null, rule: null, run_id: null }
      return store.appendAudit({ ...entry, decision: given.decision, details: { value: given.details } })
    }),
  ),
  fc
    .record({ key: text, value: json })
    .map((given) =>
      call('stateSet', true, given, (store, round) => store.stateSet(`w${round}`, given.key, given.value)),
    ),
  fc
    .record({ key: text })
    .map((given) => call('stateDelete', true, given, (store, round) => store.stateDelete(`w${round}`, given.key))),
  fc
    .record({ left: fc.nat(9000) })
    .map((given) => call('expireKeys', true, given, (store) => store.expireKeys(SAMPLE_START + given.left))),
)

interface Wanted extends Pick<RunQuery, 'worker' | 'operation' | 'target' | 'status' | 'limit'> {
  readonly mine?: boolean
  readonly since?: number
  readonly until?: number
  readonly before?: number
}

const queries: fc.Arbitrary<Wanted> = fc.record(
  {
    worker: fc.constantFrom('ssh', 'mqtt'),
    operation: fc.constantFrom('ssh.execute', 'mqtt.publish'),
    target: fc.constantFrom('web-1', 'web-2'),
    status: fc.subarray([...RUN_STATUSES]),
    mine: fc.boolean(),
    since: fc.nat(1000),
    until: fc.nat(1000),
    limit: fc.nat(12),
    before: fc.nat(RUNS),
  },
  { requiredKeys: ['limit'] },
)

function toQuery({ mine, since, until, before, ...query }: Wanted, round: number): RunQuery {
  return {
    ...query,
    ...(mine === true ? { principal: `p${round}` } : {}),
    ...(since === undefined ? {} : { since: SAMPLE_START + since }),
    ...(until === undefined ? {} : { until: SAMPLE_START + until }),
    ...(before === undefined ? {} : { before: sampleId(round * RUNS + before) }),
  }
}

const reading = fc.oneof(
  fc
    .record({ n: run })
    .map((given) => call('getRun', false, given, (store, round) => store.getRun(sampleId(round * RUNS + given.n)))),
  queries.map((given) => call('listRuns', false, given, (store, round) => store.listRuns(toQuery(given, round)))),
  fc.constant(call('unfinishedRuns', false, {}, (store) => store.unfinishedRuns())),
  fc
    .record({ n: run, after: fc.nat(4), limit: fc.nat(4) })
    .map((given) =>
      call('getEvents', false, given, (store, round) =>
        store.getEvents(sampleId(round * RUNS + given.n), given.after, given.limit),
      ),
    ),
  fc.record({ n: run, after: fc.nat(3), max: fc.nat(40) }).map((given) =>
    call('getOutput', false, given, async (store, round) => {
      const found = await store.getOutput(sampleId(round * RUNS + given.n), given.after, given.max)
      return found.map((chunk) => ({ ...chunk, bytes: [...chunk.bytes] }))
    }),
  ),
  fc
    .record({ after: fc.nat(100), limit: fc.nat(10) })
    .map((given) => call('listAudit', false, given, (store) => store.listAudit(given))),
  fc
    .record({ prefix: text })
    .map((given) => call('stateList', false, given, (store, round) => store.stateList(`w${round}`, given.prefix))),
  fc
    .record({ key: text })
    .map((given) => call('stateGet', false, given, (store, round) => store.stateGet(`w${round}`, given.key))),
)

/** What a caller gets: a value, or an error. */
type Outcome = { readonly value: unknown } | { readonly code: string; readonly message: string }

async function outcome(work: Promise<unknown>): Promise<Outcome> {
  return work.then(
    (value) => ({ value }),
    (error) => ({ code: error.code, message: error.message }),
  )
}

/** Calls one after the other; or all writes at once, and then what was left by them. */
async function play(store: Store, calls: readonly Call[], round: number, atOnce: boolean): Promise<Outcome[]> {
  const now = atOnce ? calls.filter((made) => made.writes) : []
  const outcomes = await Promise.all(now.map((made) => outcome(made.make(store, round))))
  for (const made of calls) if (!now.includes(made)) outcomes.push(await outcome(made.make(store, round)))
  return outcomes
}

/** Of `createRun`: what became of the run. */
function kindOf(one: Outcome): unknown {
  const value = 'value' in one ? one.value : undefined
  return typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined
}

function scenario(calls: readonly Call[]): string {
  return calls.map((made) => made.text).join('\n')
}

test('the journal answers every sequence of calls as the store in memory does', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-model-'))
  const clock: FakeClock = createFakeClock(SAMPLE_START)
  const model = createMemoryStore(clock)
  const journal = await openSqliteStore({ path: join(folder, 'journal.db'), clock })
  let round = 0
  const kinds = new Set<unknown>()
  const calls = fc.array(fc.oneof({ weight: 2, arbitrary: writing }, reading), {
    minLength: 5,
    maxLength: 50,
    size: 'max',
  })
  try {
    await fc.assert(
      fc.asyncProperty(calls, fc.boolean(), fc.nat(40), async (made, atOnce, pause) => {
        round += 1
        await clock.advance(pause)
        const expected = await play(model, made, round, atOnce)
        for (const one of expected) kinds.add(kindOf(one))
        assert.deepEqual(await play(journal, made, round, atOnce), expected, scenario(made))
      }),
      { numRuns: 150 },
    )
  } finally {
    await journal.close()
  }
  // Or the calls would not meet often enough to say anything.
  for (const kind of ['created', 'attached', 'reopened', 'mismatch']) assert.ok(kinds.has(kind), kind)
  await rm(folder, { recursive: true })
})

function mayFollow(before: RunRecord | null, after: RunRecord | null): boolean {
  if (after === null) return before === null
  if (before === null) return isTransition(null, after.status)
  const same = before.status === after.status
  // A read that is repeated under its key goes through `running` to its second end within one call.
  const through = isTransition(before.status, 'running') && isTransition('running', after.status)
  const moved = isTransition(before.status, after.status) || (isFinal(before.status) && through)
  const mayMove = before.end === null || (before.end.effect_certainty === 'none' && before.end.status !== 'completed')
  return same || (moved && mayMove)
}

test('no sequence of calls leaves the state machine', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(creating, changing), { maxLength: 60, size: 'max' }), async (made) => {
      const store = createMemoryStore(createFakeClock(SAMPLE_START))
      const known = new Map<string, RunRecord | null>()
      for (const one of made) {
        await outcome(one.make(store, 0))
        for (let n = 0; n < RUNS; n += 1) {
          const after = await store.getRun(sampleId(n))
          const before = known.get(sampleId(n)) ?? null
          assert.ok(mayFollow(before, after), `${before?.status} to ${after?.status}\n${scenario(made)}`)
          assert.equal(
            after !== null && after.end !== null,
            (FINAL_STATUSES as readonly unknown[]).includes(after?.status),
          )
          known.set(sampleId(n), after)
        }
      }
    }),
    { numRuns: 300 },
  )
})
