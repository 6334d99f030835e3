import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import { HOSTILE } from '../../../test/helpers/ssh-hostile-values.ts'
import { shellQuote } from './shell-quote.ts'

const SHELLS = [['dash'], ['bash'], ['bash', '--posix'], ['busybox', 'sh'], ['zsh'], ['mksh']].filter(
  ([program]) => spawnSync(program as string, ['-c', 'exit 0']).error === undefined,
) as [string, ...string[]][]

test('SSH-04: hostile values arrive byte-identical as arguments of real shells', () => {
  for (const [program, ...args] of SHELLS) {
    const line = `printf '%s\\0' ${HOSTILE.map(shellQuote).join(' ')}`
    const out = execFileSync(program, [...args, '-c', line])
    assert.deepEqual(out.toString('utf8').split('\0').slice(0, -1), HOSTILE, program)
  }
})

test('SSH-04: any text without NUL arrives byte-identical (property)', () => {
  // Any code point and any control character; quotes and backslashes more often than chance has them.
  const piece = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...HOSTILE))
  const text = fc.array(piece).map((pieces) => pieces.join('').replaceAll('\0', ''))
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 20 }), (values) => {
      const line = `printf '%s\\0' ${values.map(shellQuote).join(' ')}`
      for (const [program, ...args] of SHELLS.slice(0, 2)) {
        const out = execFileSync(program, [...args, '-c', line])
        assert.deepEqual(out, Buffer.from(values.map((value) => `${value}\0`).join('')), program)
      }
    }),
    { numRuns: 150 },
  )
})

test('what no argument can carry is refused', () => {
  assert.throws(() => shellQuote('a\0b'), { code: 'MHV_INPUT_INVALID' })
  assert.throws(() => shellQuote('\ud800'), { code: 'MHV_INPUT_INVALID' })
})
