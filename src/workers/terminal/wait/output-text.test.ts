import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createOutputText } from './output-text.ts'
import { regexPattern, textPattern } from './pattern.ts'
import { requiredLiteral } from './required-literal.ts'

const PIECES = [
  'a',
  'b',
  'ab',
  '\r\n',
  '\r',
  '\n',
  '\x1b[1m',
  '\x1b]0;ab\x07',
  '\x07',
  '宽',
  'abba',
  ' ',
  '\x1b',
  '[',
  'm',
  '\x18',
]

/** Cuts bytes anywhere, also within characters and sequences. */
function cut(bytes: Buffer, places: readonly number[]): readonly Buffer[] {
  const sorted = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return sorted.slice(1).map((to, index) => bytes.subarray(sorted[index], to))
}

test('property: the text is the same however the output is cut, and left out only where the literal is not in it', () => {
  const output = fc.array(fc.constantFrom(...PIECES), { maxLength: 40 })
  const places = fc.array(fc.nat(200), { maxLength: 8 })
  fc.assert(
    fc.property(output, places, fc.constantFrom('a', 'ab', 'abba', '宽a', 'b b'), (pieces, at, literal) => {
      const bytes = Buffer.from(`${pieces.join('')}\x18.`)
      const whole = createOutputText(null).push(bytes)
      const all = createOutputText(null)
      const some = createOutputText(literal)
      let last: string | null = null
      for (const piece of cut(bytes, at)) {
        last = all.push(piece)
        assert.equal(some.push(piece), last?.includes(literal) ? last : null)
      }
      assert.equal(last, whole)
    }),
    { numRuns: 2_000 },
  )
})

test('line ends are plain, sequences and controls are left out, and a window is kept', () => {
  const text = createOutputText(null)
  assert.equal(text.push(Buffer.from('one\r\ntwo\r\r\nth\x07r\x1b[31mee\rfour\r')), 'one\ntwo\nthree\nfour')
  assert.equal(text.push(Buffer.from('\nfive')), 'one\ntwo\nthree\nfour\nfive')
  const long = createOutputText('needle')
  assert.equal(long.push(Buffer.from('x'.repeat(100_000))), null)
  assert.equal(long.push(Buffer.from('nee')), null)
  assert.ok(long.push(Buffer.from('dle'))?.endsWith('xneedle'))
  assert.ok(long.push(Buffer.from('y'.repeat(20_000)))?.includes('needle'), 'it is still in the window')
  for (let piece = 0; piece < 3; piece++) long.push(Buffer.from('y'.repeat(20_000)))
  assert.equal(long.push(Buffer.from('y')), null, 'it is no longer there')
})

test('a program that writes nothing but carriage returns, or begins sequences, costs no more than others', () => {
  for (const piece of ['\r', '\x1b[', '\x1b]', '\x1b', '\x1b[0', '\r\x1b']) {
    const text = createOutputText(null)
    const began = performance.now()
    for (let count = 0; count < 4; count++) text.push(Buffer.from(piece.repeat(65_536)))
    assert.ok(performance.now() - began < 1_000, `${JSON.stringify(piece)}: ${performance.now() - began} ms`)
  }
})

test('property: whatever an expression matches has its required literal in it', async () => {
  const atom = fc.constantFrom(
    'a',
    'b',
    'ab',
    '.',
    '\\d',
    '\\.',
    '[ab]',
    '[^a]',
    '(ab|b)',
    '(?:a)',
    '^',
    '$',
    '\\b',
    '宽',
  )
  const quantified = fc.tuple(atom, fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{0,3}', '*?', '+?'))
  const source = fc.array(quantified, { minLength: 1, maxLength: 6 })
  const subject = fc.array(fc.constantFrom('a', 'b', 'ab', '.', '1', ' ', '宽', '\n'), { maxLength: 20 })
  let matched = 0
  await fc.assert(
    fc.asyncProperty(source, subject, async (parts, words) => {
      const expression = parts.map(([one, more]) => (/^[\^$]|\\b/.test(one) ? one : one + more)).join('')
      const { find, literal } = await regexPattern(expression)
      const match = find(words.join(''))
      if (match === null || literal === null) return
      matched += 1
      assert.ok(
        match.text.includes(literal),
        `${expression}: ${JSON.stringify(literal)} in ${JSON.stringify(match.text)}`,
      )
    }),
    { numRuns: 3_000 },
  )
  assert.ok(matched > 100, `${matched} of them say something`)
})

test('required literals: the longest certain one, and none where an expression may do without', () => {
  const cases: readonly (readonly [string, string | null])[] = [
    ['the-end-of-all-lines', 'the-end-of-all-lines'],
    ['\\$ $', '$ '],
    ['[Pp]assword.*: *$', 'assword'],
    ['ab+c', 'ab'],
    ['abc?', 'ab'],
    ['abc{2}d', 'ab'],
    ['a|b', null],
    ['(?i)password', null],
    ['(?i:password)', null],
    ['x(password)?y', 'x'],
    ['\\x41bc', null],
    ['\\pLbc', null],
    ['\\Qa.b\\E', null],
    ['[[:alpha:]]bc', null],
    ['[]a]bc', null],
    ['a{bc', null],
    ['(a(b)c|d)end', 'end'],
    ['(?P<name>a)bc', 'bc'],
    ['\\d+ of \\d+', ' of '],
    ['.*', null],
    ['one\ntwoo', 'twoo'],
  ]
  for (const [source, literal] of cases) assert.equal(requiredLiteral(source), literal, source)
  assert.equal(textPattern('a\nbcd').literal, 'bcd')
})
