import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { ERROR_CATEGORIES, ERROR_CODES, ERROR_PHASES, ERROR_TABLE, EXIT, isErrorCode } from './error-table.ts'
import { fromWire, mhvError, systemCode, toMhvError } from './errors.ts'
import { certaintyOf, isFinal, isTransition, RUN_STATUSES, RUN_TRANSITIONS } from './run-status.ts'

suite('the table of errors', () => {
  for (const code of ERROR_CODES) {
    test(`${code} is complete`, () => {
      const spec = ERROR_TABLE[code]
      assert.match(code, /^MHV(_[A-Z0-9]+)+$/)
      assert.ok(ERROR_CATEGORIES.includes(spec.category) && ERROR_PHASES.includes(spec.phase))
      assert.ok(spec.http >= 400 && spec.http < 600)
      assert.ok((Object.values(EXIT) as number[]).includes(spec.exit) && spec.exit >= 200)
      for (const sentence of [spec.summary, spec.remedy]) assert.match(sentence, /^[A-Z`].*\.$/)
      // What may have been done is never called retryable: the same call could do it twice.
      assert.ok(!spec.retryable || spec.phase === 'before-effect')
    })
  }

  test('names of objects are no codes', () => {
    for (const name of ['toString', '__proto__', 'constructor', '', 'MHV_']) assert.equal(isErrorCode(name), false)
  })
})

suite('errors', () => {
  test('cross a boundary as they are, without their cause', () => {
    const cause = new Error('driver')
    const error = mhvError('MHV_ADMISSION_FULL', 'full', {
      details: { limit: 'x' },
      retryAfter: 2,
      remedy: 'Wait.',
      cause,
    })
    const wire = structuredClone(error.toWire())
    assert.ok(!('cause' in wire))
    const back = fromWire(wire)
    assert.deepEqual(back.toWire(), error.toWire())
    assert.equal(fromWire({ ...wire, code: 'MHV_FROM_THE_FUTURE' as 'MHV_INTERNAL' }).code, 'MHV_INTERNAL')
  })

  test('whatever is thrown becomes one of the table, and nothing throws on the way', () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true, withBigInt: true }), (thrown) => {
        const error = toMhvError(thrown)
        assert.equal(error.code, 'MHV_INTERNAL')
        assert.equal(typeof error.message, 'string')
        assert.equal(error.cause, thrown)
      }),
    )
    const hostile = {
      toString() {
        throw new Error('no')
      },
    }
    assert.equal(toMhvError(hostile).code, 'MHV_INTERNAL')
    const own = mhvError('MHV_RUN_TIMEOUT', 'x')
    assert.equal(toMhvError(own), own)
  })

  test('codes of the system are read with care', () => {
    assert.equal(systemCode(Object.assign(new Error('x'), { code: 'ENOENT' })), 'ENOENT')
    for (const thrown of [null, undefined, 'ENOENT', { code: 5 }, {}]) assert.equal(systemCode(thrown), undefined)
  })
})

suite('the state machine of a run', () => {
  test('nothing leaves a status but by the table, and completed is never left', () => {
    for (const from of [null, ...RUN_STATUSES]) {
      for (const to of RUN_STATUSES) {
        assert.equal(
          isTransition(from, to),
          RUN_TRANSITIONS.some((row) => row.from === from && row.to === to),
        )
      }
    }
    assert.ok(
      !RUN_TRANSITIONS.some((row) => (row.from as string | null) === 'completed' || (row.to as string) === 'starting'),
    )
    assert.deepEqual(RUN_STATUSES.filter(isFinal), ['completed', 'failed', 'timeout', 'cancelled'])
  })

  test('certainty follows from the phase of the code', () => {
    for (const code of ERROR_CODES) {
      const expected = { 'before-effect': 'none', 'after-effect': 'applied', unknown: 'unknown' }[
        ERROR_TABLE[code].phase
      ]
      assert.equal(certaintyOf(code), expected)
    }
  })
})
