import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { ERROR_CATEGORIES, ERROR_CODES, ERROR_TABLE } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import { certaintyOf } from '../core/result.ts'
import type { RecoveryTable } from '../core/worker.ts'
import { DEFAULT_BACKOFF, fullJitter } from './backoff.ts'
import { recoveryFor } from './recovery.ts'
import { createRetryPolicy, denialOf, isTimeout, type RetryQuestion, retryWait } from './retry.ts'
import { createRetryBudget, createRetryBudgets } from './retry-budget.ts'

const retry = { strategy: 'retry', max_attempts: 3 } as const

/** A worker that wants everything tried again: what stays out then stays out for safety. */
const eager: RecoveryTable = {
  codes: {},
  categories: Object.fromEntries(ERROR_CATEGORIES.map((category) => [category, retry])),
}

/** What may be tried again, by what the code says of the effect and by idempotence: the rule, written down as data. */
const SAFE = {
  'before-effect': { once: true, idempotent: true },
  unknown: { once: false, idempotent: true },
  'after-effect': { once: false, idempotent: false },
} as const

/** By the error alone, as after an attempt that was made. */
const why = (question: Omit<RetryQuestion, 'certainty'>) =>
  denialOf({ ...question, certainty: certaintyOf(question.error.code) })
const mayRetry = (question: Omit<RetryQuestion, 'certainty'>) => why(question) === null

suite('retry', () => {
  test('every code of the table, with and without idempotence', () => {
    const check = (may: typeof mayRetry) => {
      for (const code of ERROR_CODES) {
        const error = mhvError(code, 'x')
        const { once, idempotent } = SAFE[ERROR_TABLE[code].phase]
        assert.equal(may({ error, attempt: 1, idempotent: false, recovery: eager }), once, code)
        assert.equal(may({ error, attempt: 1, idempotent: true, recovery: eager }), idempotent, `${code}, idempotent`)
      }
    }
    check(mayRetry)
    // Negative control: a retry that only asks the recovery table is found out.
    assert.throws(() => check(({ error, recovery }) => recoveryFor(recovery, error)?.strategy === 'retry'))
  })

  test('no more attempts than the recovery table gives', () => {
    const error = mhvError('MHV_SSH_CONNECT_REFUSED', 'x')
    const answers = [1, 2, 3, 4].map((attempt) => why({ error, attempt, idempotent: false, recovery: eager }))
    assert.deepEqual(answers, [null, null, 'attempts', 'attempts'])
    const lost = mhvError('MHV_SSH_CONNECTION_LOST', 'x')
    assert.equal(why({ error: lost, attempt: 3, idempotent: false, recovery: eager }), 'unsafe')
    // Where it never came to act, what the error says of an effect is of no account.
    const question = { error: lost, attempt: 1, idempotent: false, recovery: eager }
    assert.equal(denialOf({ ...question, certainty: 'none' }), null)
  })

  test('without an action, or with another one than retry and fallback, nothing is tried again', () => {
    const error = mhvError('MHV_SSH_CONNECT_REFUSED', 'x')
    const denial = (recovery: RecoveryTable) => why({ error, attempt: 1, idempotent: true, recovery })
    const by = (recovery: RecoveryTable) => denial(recovery) === null
    assert.equal(denial({ codes: {}, categories: {} }), 'not_listed')
    for (const strategy of ['skip', 'rollback', 'notify'] as const) {
      assert.equal(denial({ codes: {}, categories: { network: { strategy, max_attempts: 3 } } }), 'not_listed')
    }
    assert.ok(by({ codes: {}, categories: { network: { strategy: 'fallback', max_attempts: 2 } } }))
    // The code goes before its category.
    assert.equal(
      by({ codes: { MHV_SSH_CONNECT_REFUSED: { ...retry, max_attempts: 1 } }, categories: { network: retry } }),
      false,
    )
  })
})

suite('backoff', () => {
  test('full jitter: between 0 and the ceiling, which doubles up to the cap', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000 }),
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        (attempt, random) => {
          const wait = fullJitter(attempt, DEFAULT_BACKOFF, () => random)
          const ceiling = Math.min(10_000, 200 * 2 ** (attempt - 1))
          assert.ok(Number.isInteger(wait) && wait >= 0 && wait < ceiling, `${wait} of ${ceiling}`)
          assert.equal(wait, Math.floor(random * ceiling))
        },
      ),
    )
    assert.deepEqual(
      [1, 2, 3, 7, 50].map((attempt) => fullJitter(attempt, DEFAULT_BACKOFF, () => 0.999999)),
      [199, 399, 799, 9999, 9999],
    )
  })

  test('the whole range is used', () => {
    const waits = Array.from({ length: 2_000 }, () => fullJitter(1))
    assert.ok(Math.min(...waits) < 20 && Math.max(...waits) >= 180)
  })
})

suite('the wait for another attempt', () => {
  const backoff = { base_ms: 200, cap_ms: 10_000 }
  const refused = (retryAfter?: number) =>
    mhvError('MHV_SSH_CHANNEL_REFUSED', 'x', retryAfter === undefined ? {} : { retryAfter })

  test('what the other side asks for is honoured, with jitter on top, and never beyond the deadline', () => {
    fc.assert(
      fc.property(
        fc.record({
          asked: fc.option(fc.double({ min: 0, max: 1_000, noNaN: true }), { nil: undefined }),
          attempt: fc.integer({ min: 1, max: 20 }),
          leftMs: fc.integer({ min: -1_000, max: 1_000_000 }),
          random: fc.double({ min: 0, max: 0.999999, noNaN: true }),
        }),
        ({ asked, attempt, leftMs, random }) => {
          const wait = retryWait(refused(asked), attempt, { backoff, leftMs, random: () => random })
          const least = (asked ?? 0) * 1000
          if (wait === null) assert.ok(least >= leftMs)
          else {
            assert.ok(wait >= least && wait < leftMs, `${wait} of ${least} to ${leftMs}`)
            assert.ok(wait - least <= Math.min(10_000, 200 * 2 ** (attempt - 1)))
          }
        },
      ),
    )
  })

  test('what is no number of seconds is not waited for', () => {
    const options = { backoff, leftMs: 5_000, random: () => 0.5 }
    assert.equal(retryWait(refused(-100), 1, options), 100)
    assert.equal(retryWait(refused(Number.NaN), 1, options), null)
    assert.equal(retryWait(refused(Number.POSITIVE_INFINITY), 1, options), null)
  })
})

suite('retry budget', () => {
  const limits = { size: 500, retry_cost: 5, timeout_cost: 10, success_return: 1 }

  test('500 tokens are 100 retries, or 50 after timeouts; a success gives one back, up to the size', () => {
    const spend = (afterTimeout: boolean) => {
      const budget = createRetryBudget(limits)
      let taken = 0
      while (budget.take(afterTimeout)) taken += 1
      return { budget, taken }
    }
    assert.equal(spend(true).taken, 50)
    const { budget, taken } = spend(false)
    assert.deepEqual([taken, budget.left()], [100, 0])
    for (let success = 0; success < 5; success++) budget.success()
    assert.equal(budget.take(true), false)
    assert.equal(budget.left(), 5)
    assert.equal(budget.take(false), true)
    for (let success = 0; success < 1_000; success++) budget.success()
    assert.equal(budget.left(), 500)
  })

  test('whatever happens, it is never below 0 nor above its size, and retries stay within what was there', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('success', 'retry', 'timeout'), { maxLength: 500, size: 'max' }),
        (events) => {
          const budget = createRetryBudget({ ...limits, size: 30 })
          let [spent, successes] = [0, 0]
          for (const event of events) {
            if (event === 'success') {
              budget.success()
              successes += 1
            } else if (budget.take(event === 'timeout')) spent += event === 'timeout' ? 10 : 5
            assert.ok(budget.left() >= 0 && budget.left() <= 30)
            assert.ok(spent <= 30 + successes)
          }
        },
      ),
    )
  })

  test('each target has its own, and full ones are forgotten first', () => {
    const budgets = createRetryBudgets()
    const used = budgets.of('ssh', 'web1', limits)
    used.take(false)
    assert.equal(budgets.of('ssh', 'web2', limits).left(), 500)
    assert.equal(budgets.of('ssh', null, limits).left(), 500)
    for (let host = 0; host < 20_000; host++) budgets.of('ssh', `host-${host}`, limits)
    assert.equal(budgets.of('ssh', 'web1', limits), used)
    assert.equal(createRetryPolicy({ budgets }).budgetOf('ssh', 'web1', limits), used)
  })

  test('what counts as a timeout: every code that says so', () => {
    const named = ERROR_CODES.filter((code) => code.endsWith('_TIMEOUT'))
    assert.deepEqual(
      ERROR_CODES.filter((code) => isTimeout(mhvError(code, ''))),
      named,
    )
    assert.ok(named.length >= 5)
  })
})
