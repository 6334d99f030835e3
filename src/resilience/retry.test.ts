import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { ERROR_CATEGORIES, ERROR_CODES, ERROR_TABLE } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import type { RecoveryTable } from '../core/worker.ts'
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, fullJitter } from './backoff.ts'
import { mayRetry, recoveryFor } from './retry.ts'

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
    const may = [1, 2, 3, 4].map((attempt) => mayRetry({ error, attempt, idempotent: false, recovery: eager }))
    assert.deepEqual(may, [true, true, false, false])
  })

  test('without an action, or with another one than retry, nothing is tried again', () => {
    const error = mhvError('MHV_SSH_CONNECT_REFUSED', 'x')
    const by = (recovery: RecoveryTable) => mayRetry({ error, attempt: 1, idempotent: true, recovery })
    assert.equal(by({ codes: {}, categories: {} }), false)
    for (const strategy of ['fallback', 'skip', 'rollback', 'notify'] as const) {
      assert.equal(by({ codes: {}, categories: { network: { strategy, max_attempts: 3 } } }), false)
    }
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
          const wait = fullJitter(attempt, () => random)
          const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (attempt - 1))
          assert.ok(Number.isInteger(wait) && wait >= 0 && wait < ceiling, `${wait} of ${ceiling}`)
          assert.equal(wait, Math.floor(random * ceiling))
        },
      ),
    )
    assert.deepEqual(
      [1, 2, 3, 7, 50].map((attempt) => fullJitter(attempt, () => 0.999999)),
      [199, 399, 799, 9999, 9999],
    )
  })

  test('the whole range is used', () => {
    const waits = Array.from({ length: 2_000 }, () => fullJitter(1))
    assert.ok(Math.min(...waits) < 20 && Math.max(...waits) >= 180)
  })
})
