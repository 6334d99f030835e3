import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { withoutQueries } from './attached-output.ts'

const QUERIES = [
  '\x1b[c',
  '\x1b[>c',
  '\x1b[6n',
  '\x1b[?6n',
  '\x1b[?2004$p',
  '\x1b[>q',
  '\x1b[?u',
  '\x1b[18t',
  '\x1b]11;?\x07',
  '\x1b]4;1;?\x1b\\',
  '\x1bP$qm\x1b\\',
  '\x1bP+q544e\x1b\\',
  '\x1bZ',
]
const PASSED = [
  'text',
  '\r\n',
  '\x1b[31m',
  '\x1b[2J',
  '\x1b[?2004h',
  '\x1b]0;what?\x07',
  '\x1b[22;0t',
  '\x1b[>4;2m',
  '宽',
  '\x1b(B',
  '\x1b]8;;http://a\x1b\\',
]

test('property: a watcher gets everything but the questions, however it is cut', () => {
  const parts = fc.array(fc.constantFrom(...QUERIES, ...PASSED), { maxLength: 30 })
  fc.assert(
    fc.property(parts, fc.array(fc.nat(300), { maxLength: 6 }), (all, cuts) => {
      const bytes = Buffer.from(all.join(''))
      const filter = withoutQueries()
      const got: Uint8Array[] = []
      let from = 0
      for (const to of [...cuts.filter((at) => at < bytes.length).sort((a, b) => a - b), bytes.length]) {
        got.push(filter.push(bytes.subarray(from, to)))
        from = to
      }
      got.push(filter.end())
      assert.equal(Buffer.concat(got).toString(), all.filter((part) => !QUERIES.includes(part)).join(''))
    }),
  )
})

test('TTY-03: what looks like many questions and has no end costs a watcher no more than its length', () => {
  const piece = `\x1b]1;${';?'.repeat(2_040)}`.repeat(64)
  const began = performance.now()
  assert.equal(Buffer.from(withoutQueries().push(Buffer.from(`${piece}\x1b[m`))).toString(), `${piece}\x1b[m`)
  const took = performance.now() - began
  assert.ok(took < 300, `${took} ms for ${piece.length} bytes`)
})
