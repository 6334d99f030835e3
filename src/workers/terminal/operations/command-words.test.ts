import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { assertAllowed, commandWords } from './command-words.ts'

test('words are those that a shell would make, or the line is refused', () => {
  const lines = [
    'cat',
    'vim  "a b"\t\'c d\' e\\ f',
    `x 'it'\\''s' "say \\"hi\\"" ""`,
    'a"b"c=1 --x=/y:z@w,%+',
    String.raw`echo "a\nb" "\\" 'a\b'`,
  ]
  for (const line of lines) {
    const shell = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${line}`])
      .toString()
      .split('\0')
      .slice(0, -1)
    assert.deepEqual(commandWords(line), shell, line)
  }
})

test('what needs a shell is refused and never passed on as text', () => {
  for (const line of [
    '',
    '  ',
    "''",
    'a;b',
    'a|b',
    'a&b',
    'a>b',
    'a<b',
    '$a',
    '`a`',
    '"$a"',
    '"`a`"',
    'a*',
    '~',
    'a\nb',
    "'a",
    '"a',
    'a\\',
    '(a)',
    '{a}',
    '!a',
    '#a',
  ]) {
    assert.throws(() => commandWords(line), { code: 'MHV_INPUT_INVALID' }, line)
  }
})

test('a name in the list stands for the program in PATH, a path for itself', () => {
  const allowed = ['cat', '/opt/x']
  for (const program of allowed) assertAllowed(program, allowed)
  for (const program of ['/bin/cat', './cat', 'x', '/opt/x/', 'CAT', '*']) {
    assert.throws(() => assertAllowed(program, allowed), { code: 'MHV_TERMINAL_COMMAND_DENIED' }, program)
  }
  assertAllowed('/any/thing', ['*'])
})
