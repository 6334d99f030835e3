import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { ERROR_CATEGORIES, ERROR_CODES, ERROR_TABLE, type ErrorCode } from '../../src/core/error-table.ts'
import { mhvError } from '../../src/core/errors.ts'
import type { OperationSpec } from '../../src/core/operation.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import {
  type AnyWorker,
  RECOVERY_STRATEGIES,
  type RecoveryAction,
  type RecoveryStrategy,
  type RecoveryTable,
} from '../../src/core/worker.ts'
import { recoveryFor } from '../../src/resilience/recovery.ts'
import { createRetryPolicy, type RetryPolicy } from '../../src/resilience/retry.ts'
import { createRuntimeFixture } from '../helpers/runtime-parts.ts'

/**
 * RES-03 for everything that the path can be made of. The far side is a list of effects: a step tells where an attempt
 * fails and whether its effect happened by then. A driver is honest: what it reports after it may have acted never says
 * that nothing was done.
 */

/** How one attempt goes: with a code, before it acts or when it may have; or it succeeds. */
type Step =
  | { readonly at: 'start' | 'before'; readonly code: ErrorCode }
  | { readonly at: 'during'; readonly code: ErrorCode; readonly acted: boolean }
  | { readonly at: 'done' }

/** Codes of the journal's own writes: from an operation, which has begun by then, they say nothing of its effect. */
const OF_THE_JOURNAL = /^MHV_(JOURNAL_|DISK_LOW|INSTANCE_FENCED)/
const before = ERROR_CODES.filter((code) => ERROR_TABLE[code].phase === 'before-effect' && !OF_THE_JOURNAL.test(code))
const during = ERROR_CODES.filter((code) => !before.includes(code))

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ at: fc.constant('start' as const), code: fc.constantFrom(...ERROR_CODES) }) },
  { weight: 6, arbitrary: fc.record({ at: fc.constant('before' as const), code: fc.constantFrom(...before) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      at: fc.constant('during' as const),
      code: fc.constantFrom(...during),
      acted: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ at: 'done' }) },
)

const action: fc.Arbitrary<RecoveryAction> = fc.oneof(
  fc.record({
    strategy: fc.constantFrom<RecoveryStrategy>('retry', 'retry', 'fallback'),
    max_attempts: fc.integer({ min: 1, max: 6 }),
  }),
  fc.record({ strategy: fc.constantFrom(...RECOVERY_STRATEGIES), max_attempts: fc.constant(1) }),
)

const recovery: fc.Arbitrary<RecoveryTable> = fc.record({
  codes: fc.dictionary(fc.constantFrom(...ERROR_CODES), action, { maxKeys: 30 }),
  categories: fc.record(Object.fromEntries(ERROR_CATEGORIES.map((category) => [category, action])), {
    requiredKeys: [],
  }),
})

const scenario = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 6 }),
  recovery,
  operation: fc.constantFrom('probe.script', 'probe.repeat', 'probe.wipe'),
  compensates: fc.boolean(),
  keyed: fc.boolean(),
})
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never

interface Seen {
  readonly result: WorkerResult
  /** Attempts that began to act, each with what it did by then. */
  readonly acts: readonly { readonly mayHaveActed: boolean; readonly acted: boolean }[]
  /** Times that the compensation ran. */
  readonly compensations: number
}

async function go(given: Scenario, retry: RetryPolicy = createRetryPolicy()): Promise<Seen> {
  const acts: { mayHaveActed: boolean; acted: boolean }[] = []
  let attempt = 0
  let compensations = 0
  const compensate = async () => {
    compensations += 1
  }
  const next = (): Step => given.steps[attempt] ?? { at: 'done' }
  const worker = (probe: AnyWorker): AnyWorker => ({
    ...probe,
    breaker: { ...probe.breaker, failure_threshold: 1_000 },
    recovery: given.recovery,
    async connect(context) {
      const now = next()
      if (now.at !== 'start') return probe.connect(context)
      attempt += 1
      throw mhvError(now.code, 'the worker did not start')
    },
    operations: probe.operations.map((spec: OperationSpec) => ({
      ...spec,
      ...(given.compensates ? { compensate } : {}),
    })) as OperationSpec[],
  })
  const fixture = createRuntimeFixture({
    worker,
    change: (parts) => ({ ...parts, retry }),
    script() {
      // The worker is up.
      while (next().at === 'start') attempt += 1
      const now = next()
      attempt += 1
      const mayHaveActed = now.at === 'during' || now.at === 'done'
      acts.push({ mayHaveActed, acted: now.at === 'done' || (now.at === 'during' && now.acted) })
      if (now.at === 'done') return { value: 1 }
      throw mhvError(now.code, now.at)
    },
  })
  const envelope = given.keyed ? { idempotency_key: 'k' } : {}
  const result = await fixture.run(fixture.call(given.operation, {}, envelope))
  await fixture.close(0)
  return { result, acts, compensations }
}

/** What RES-03 promises, and that the result is honest about it. */
function assertSafe({ operation }: Scenario, { result, acts, compensations }: Seen): void {
  const idempotent = operation === 'probe.repeat'
  const first = acts.findIndex(({ mayHaveActed }) => mayHaveActed)
  if (!idempotent && first >= 0) {
    assert.equal(acts.length, first + 1, 'attempted again after it may have acted')
    assert.ok(acts.filter(({ acted }) => acted).length <= 1, 'two effects')
  }
  assert.ok(compensations <= 1)
  if (result.status === 'completed') return
  if (first < 0) assert.equal(result.effect_certainty, 'none', 'nothing acted')
  else if (compensations === 0) assert.notEqual(result.effect_certainty, 'none', 'it may have acted')
}

suite('retry is safe', () => {
  test('RES-03: whatever fails, wherever, with whatever recovery table, nothing is attempted again after it may have acted', async () => {
    const seen = { retried: 0, stopped: 0, idempotent: 0 }
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const outcome = await go(given)
        assertSafe(given, outcome)
        const { acts, result } = outcome
        if (result.attempts > 1) seen.retried += 1
        if (acts.at(-1)?.mayHaveActed && result.status !== 'completed') seen.stopped += 1
        if (acts.filter(({ mayHaveActed }) => mayHaveActed).length > 1) seen.idempotent += 1
      }),
      { numRuns: 1_000 },
    )
    for (const [what, times] of Object.entries(seen)) assert.ok(times > 10, `${what}: ${times}`)
  })

  test('RES-03: negative control: a retry that only asks the recovery table is found out', async () => {
    const policy = createRetryPolicy()
    const careless: RetryPolicy = {
      ...policy,
      denialOf: ({ error, attempt, recovery: table }) => {
        const found = recoveryFor(table, error)
        return found?.strategy === 'retry' && attempt < found.max_attempts ? null : 'not_listed'
      },
    }
    const property = fc.asyncProperty(scenario, async (given) => assertSafe(given, await go(given, careless)))
    const { failed, errorInstance } = await fc.check(property, { numRuns: 2_000, endOnFailure: true })
    assert.ok(failed)
    assert.match(String(errorInstance), /attempted again after it may have acted/)
  })
})
