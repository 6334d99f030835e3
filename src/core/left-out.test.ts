import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { LEFT_OUT_UNITS, leftOutLine, leftOutOf } from './left-out.ts'

suite('what was left out', () => {
  test('is found again wherever it was written', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.nat(),
        fc.constantFrom(...LEFT_OUT_UNITS),
        fc.string(),
        (before, count, unit, after) => {
          assert.deepEqual(leftOutOf(`${before}${leftOutLine(count, unit)}${after}`), { count, unit })
        },
      ),
    )
  })

  test('is not found in a text that only speaks of it', () => {
    for (const text of ['', 'left out here', '[… 3 bytes left out here …]', '\n[… many bytes left out here …]\n']) {
      assert.equal(leftOutOf(text), null)
    }
  })
})
