import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { brokenStart, cutText, incompleteEnd } from './utf8.ts'

suite('cuts in UTF-8', () => {
  test('at every place of every text both halves are whole characters again', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }), (text) => {
        const bytes = Buffer.from(text)
        for (let at = 0; at <= bytes.length; at++) {
          const [first, second] = [bytes.subarray(0, at), bytes.subarray(at)]
          const whole = first.subarray(0, at - incompleteEnd(first)).toString()
          const rest = second.subarray(brokenStart(second)).toString()
          assert.ok(bytes.toString().startsWith(whole))
          assert.ok(bytes.toString().endsWith(rest))
        }
      }),
    )
  })

  test('what is not UTF-8 is left as it is, apart from three bytes at most', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 10 }), (bytes) => {
        assert.ok(incompleteEnd(bytes) <= 3 && incompleteEnd(bytes) <= bytes.length)
        assert.ok(brokenStart(bytes) <= 3 && brokenStart(bytes) <= bytes.length)
      }),
    )
  })

  test('a text is cut to bytes, not to characters', () => {
    assert.equal(cutText('aé€𝄞', 10), 'aé€𝄞')
    assert.equal(cutText('aé€𝄞', 9), 'aé€')
    assert.equal(cutText('aé€𝄞', 5), 'aé')
    assert.equal(cutText('aé€𝄞', 0), '')
  })
})
