import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { createFakeClock } from '../testing/fake-clock.ts'
import { keyedRun, SAMPLE_START, sampleEnd, sampleId } from '../testing/store-samples.ts'
import { DEAD_LETTER_STATES, type NewDeadLetter, OVERFLOW_RULES } from './dead-letter.ts'
import { createMemoryStore } from './memory.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/** Random calls about dead letters and the outbox, compared between the journal and its model, the store in memory. */

type Call = (store: Store) => Promise<unknown>

const RUNS = 6
const n = fc.nat(RUNS - 1)
const times = fc.option(fc.nat(50).map((ms) => SAMPLE_START + ms))
const states = fc.subarray([...DEAD_LETTER_STATES], { minLength: 1 })
const letterId = n.map((run) => sampleId(1_000 + run))

const letters: fc.Arbitrary<NewDeadLetter> = fc.record({
  id: letterId,
  policy: fc.constantFrom('never', 'linear'),
  max_replays: fc.nat(3),
  next_at: times,
  limits: fc.record({
    max_count: fc.nat(4),
    // Between none and all of them, at about 540 bytes each.
    max_bytes: fc.constantFrom(0, 700, 1_700, 10_000),
    overflow: fc.constantFrom(...OVERFLOW_RULES),
  }),
})

const creating = fc
  .record({ n, letter: fc.option(letters, { freq: 1 }), certainty: fc.constantFrom('none', 'unknown') })
  .map(({ n: run, letter, certainty }): Call => {
    const end = sampleEnd('failed', { effect_certainty: certainty })
    // Under its own key, so that each run has one letter, of an id that no other has. Without a letter it begins.
    const failed = {
      status: 'failed',
      end,
      dead_letter: { ...letter, id: sampleId(1_000 + run) } as NewDeadLetter,
    } as const
    return (store) => store.createRun(keyedRun(run, `k${run}`, letter === null ? {} : failed))
  })
const failing = fc.record({ n, letter: letters, error: fc.string({ unit: 'grapheme' }) }).map((given): Call => {
  const end = sampleEnd('failed', { error: given.error })
  const dead_letter = { ...given.letter, id: sampleId(1_000 + given.n) }
  const run_id = sampleId(given.n)
  return (store) =>
    store.changeRun({ run_id, from: ['pending', 'running'], to: 'failed', end, events: [], dead_letter })
})
const moving = fc
  .record({ id: letterId, from: states, to: fc.constantFrom(...DEAD_LETTER_STATES), at: fc.nat(9) })
  .chain((change) =>
    fc
      .record(
        { replays: fc.nat(3), next_at: times, expect_replays: fc.nat(2), error: fc.constant('late') },
        { requiredKeys: [] },
      )
      .map(
        (more): Call =>
          (store) =>
            store.changeDeadLetter({ ...change, ...more }),
      ),
  )
const removing = fc
  .record({ ids: fc.array(letterId), state: states, before: fc.constant(SAMPLE_START + 900) }, { requiredKeys: [] })
  .chain((selection) =>
    fc.nat(3).map(
      (limit): Call =>
        (store) =>
          store.deleteDeadLetters(selection, limit),
    ),
  )

const queueing = fc
  .record({ n, destination: fc.constantFrom('a', 'b'), key: fc.option(fc.constantFrom('x', 'y')) })
  .map(({ n: id, destination, key }): Call => {
    const entry = { id: sampleId(id), destination, kind: 'k', payload: { id }, at: SAMPLE_START + id, dedupe_key: key }
    return (store) => store.enqueueOutbox(entry)
  })
const delivering = fc.record({ n, failed: fc.option(fc.nat(9)) }).map(({ n: id, failed }): Call => {
  const failure = { attempts: 1, next_at: SAMPLE_START + (failed ?? 0), error: 'no' }
  return (store) => (failed === null ? store.outboxDone(sampleId(id)) : store.outboxFailed(sampleId(id), failure))
})

const reading = fc.oneof(
  letterId.map(
    (id): Call =>
      (store) =>
        store.getDeadLetter(id),
  ),
  n.map(
    (run): Call =>
      (store) =>
        store.getRun(sampleId(run)),
  ),
  states.map(
    (state): Call =>
      (store) =>
        store.listDeadLetters({ state, limit: 3, before: sampleId(1_004) }),
  ),
  fc.nat(60).map(
    (ms): Call =>
      (store) =>
        store.dueDeadLetters(SAMPLE_START + ms, 3),
  ),
  fc.nat(9).map(
    (ms): Call =>
      (store) =>
        store.dueOutbox(SAMPLE_START + ms, 2),
  ),
  fc.constant<Call>((store) => store.expireKeys(SAMPLE_START + 90_000)),
  n.map((key): Call => {
    const scope = { principal: 'agent:ops', operation: 'ssh.execute', target: 'web-1', key: `k${key}` }
    return (store) => store.getKeyedRun(scope, SAMPLE_START + 90_000)
  }),
)

async function play(store: Store, calls: readonly Call[]): Promise<unknown[]> {
  const answers: unknown[] = []
  for (const call of calls) answers.push(await call(store).catch((error) => error.code))
  const left = await store.listDeadLetters({ limit: 100 })
  return [...answers, left, await store.deadLetterStats(), await store.outboxStats()]
}

test('the journal keeps dead letters and the outbox as the store in memory does', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-model-letters-'))
  const calls = fc.array(fc.oneof(creating, failing, failing, moving, removing, queueing, delivering, reading), {
    minLength: 50,
    maxLength: 200,
    size: 'max',
  })
  let taken = 0
  let lost = 0
  let round = 0
  await fc.assert(
    fc.asyncProperty(calls, async (made) => {
      round += 1
      const clock = createFakeClock(SAMPLE_START)
      const model = createMemoryStore(clock)
      const journal = await openSqliteStore(
        { path: join(folder, `${round}.db`), clock },
        { pragmas: { synchronous: 0 } },
      )
      try {
        const expected = await play(model, made)
        const { count, dropped, rejected } = await model.deadLetterStats()
        taken += count
        lost += dropped + rejected
        assert.deepEqual(await play(journal, made), expected)
      } finally {
        await journal.close()
      }
    }),
    { numRuns: 8, endOnFailure: true },
  )
  // Or it would say nothing.
  assert.ok(taken > 0 && lost > 0, `${taken} taken, ${lost} lost`)
  await rm(folder, { recursive: true })
})
