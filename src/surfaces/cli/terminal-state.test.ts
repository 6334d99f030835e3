import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { withoutClipboard } from './terminal-state.ts'

const CLIPBOARD = [
  '\x1b]52;c;ZXZpbA==\x07',
  '\x1b]52;;?\x1b\\',
  '\x9d52;c;ZXZpbA==\x9c',
  '\x1b]052;p;eA==\x07',
  '\x1b]52;c;eA==\x18',
]
const SHOWN = ['text', '\r\n', '\x1b[31m', '\x1b]0;title\x07', '\x1b]5;1\x07', '宽', '\x1b]8;;http://a\x1b\\', '52;']

test('property: all of a recording is played but what is for the clipboard, in whatever pieces it was recorded', () => {
  const parts = fc.array(fc.constantFrom(...CLIPBOARD, ...SHOWN), { maxLength: 30 })
  fc.assert(
    fc.property(parts, fc.array(fc.nat(300), { maxLength: 8 }), (all, cuts) => {
      const text = all.join('')
      const shown = withoutClipboard()
      let got = ''
      let from = 0
      for (const to of [...cuts.filter((at) => at < text.length).sort((a, b) => a - b), text.length]) {
        got += shown(text.slice(from, to))
        from = to
      }
      assert.equal(got, all.filter((part) => !CLIPBOARD.includes(part)).join(''))
    }),
  )
})

test('what is for the clipboard ends where another sequence begins, and is left out to the end where it has none', () => {
  const shown = withoutClipboard()
  assert.equal(shown('a\x1b]52;c;ZXZ\x1b[31mb'), 'a\x1b[31mb')
  assert.equal(shown(`\x1b]52;c;${'x'.repeat(100_000)}`) + shown('x'.repeat(100_000)), '')
})
