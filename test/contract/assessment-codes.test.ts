import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'
import { LATER_WORKERS } from '../../src/config/seed-keys.ts'
import { ASSESSMENT_ROWS } from '../../src/core/assessment-codes.ts'
import { isErrorCode } from '../../src/core/error-table.ts'
import { mhvError } from '../../src/core/errors.ts'
import { recoveryFor } from '../../src/resilience/recovery.ts'
import { workers } from '../../src/workers/index.ts'

/** The assessment's own list: code, strategy, category, attempts. */
const listed = readFileSync(inRoot('test/fixtures/assessment/recovery-actions.txt'), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => line.split(' '))

suite('the error codes of the assessment', () => {
  test('every one is in the table, with the strategy that the assessment gives it, and no other is', () => {
    assert.ok(listed.length >= 16)
    assert.deepEqual(
      ASSESSMENT_ROWS.map(([code, { strategy }]) => `${code} ${strategy}`),
      listed.map(([code, strategy = '']) => `${code} ${strategy.toLowerCase()}`),
    )
  })

  test('each leads to codes that exist, or to a worker that does not yet, or says why to neither', () => {
    for (const [code, { codes, later, note }] of ASSESSMENT_ROWS) {
      for (const each of codes) assert.ok(isErrorCode(each), `${code}: ${each}`)
      assert.equal(later !== undefined, codes.length === 0 && note === undefined, code)
      if (later === undefined) continue
      assert.ok(LATER_WORKERS.includes(later), `${code}: ${later}`)
      assert.ok(!workers.some(({ name }) => name === later), `${later} is here: ${code} needs codes now`)
    }
  })

  test("the worker's own recovery table does what the assessment wants, or the row says why not", () => {
    for (const [code, { strategy, codes, note }] of ASSESSMENT_ROWS) {
      const worker = workers.find(({ name }) => code.startsWith(`${name.toUpperCase()}_`))
      const others = codes.filter((each) => {
        assert.ok(worker !== undefined, code)
        return recoveryFor(worker.recovery, mhvError(each, ''))?.strategy !== strategy
      })
      assert.ok(others.length === 0 || note !== undefined, `${code}: ${others}`)
    }
  })
})
