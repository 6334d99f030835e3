import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { commandOf, quoteWord } from './quote.ts'

/** The arguments as a real shell takes them. */
function asShellSees(words: readonly string[]): readonly string[] {
  const command = commandOf(['printf', '%s\\0', ...words])
  return execFileSync('/bin/sh', ['-c', command]).toString('utf8').split('\0').slice(0, -1)
}

describe('commandOf', () => {
  test('takes one word as the command that it is', () => {
    assert.equal(commandOf(['ps aux | wc -l']), 'ps aux | wc -l')
  })

  test('several words arrive as the arguments they are', () => {
    const words = [
      'two words',
      '*',
      '$HOME',
      '`id`',
      '$(id)',
      "it's",
      '"',
      '\\',
      '',
      '|',
      ';',
      '&',
      '#',
      '~',
      '{a,b}',
      '-n',
      'a\nb',
    ]
    assert.deepEqual(asShellSees(words), words)
  })

  test('any words do', () => {
    const word = fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed() && !text.includes('\0'))
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), (words) => {
        assert.deepEqual(asShellSees(words), words)
      }),
      { numRuns: 60 },
    )
  })

  test('a first word that a shell would take for its own is a program', () => {
    for (const word of ['if', 'while', 'time', '!', '{', 'A=b', '~/x'])
      assert.equal(commandOf([word, 'x']), `'${word}' x`)
  })
})

test('plain words are left readable', () => {
  for (const word of ['ls', '-la', '/etc/hosts', 'user@host:path', 'a.b,c+d%e']) assert.equal(quoteWord(word), word)
})
