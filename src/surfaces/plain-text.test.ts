import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bounded, plainLine, plainText } from './plain-text.ts'

describe('plainText', () => {
  test('leaves text, tabs and newlines as they are', () => {
    assert.equal(plainText('a\tb\nü … 🙂'), 'a\tb\nü … 🙂')
  })

  test('takes escape sequences out', () => {
    const hostile = [
      '\x1b[31mred\x1b[0m',
      '\x1b]0;title\x07',
      '\x1b]52;c;ZXZpbA==\x1b\\',
      '\x1bP1$r\x1b\\',
      '\x1b(B',
      '\x9b2J',
      '\x1b[?1049h',
      '\x1bc',
    ]
    assert.equal(plainText(hostile.join('')), 'red')
  })

  test('takes an escape sequence out that does not end', () => {
    for (const text of ['\x1b', '\x1b[', '\x1b[31', '\x1b]0;title']) assert.doesNotMatch(plainText(text), /\x1b/)
  })

  test('a carriage return cannot overwrite what stands on the line', () => {
    assert.equal(plainText('permission denied\rgranted'), 'permission denied\ngranted')
    assert.equal(plainText('dos\r\nlines\r\n'), 'dos\nlines\n')
  })

  test('text cannot be turned around', () => {
    assert.equal(plainText('a\u202egpj\u2066.\u2069\u200f\u061cexe'), 'agpj.exe')
    // Signs that words and emoji are made with stay.
    assert.equal(plainText('👩\u200d🚀 می\u200cخواهم'), '👩\u200d🚀 می\u200cخواهم')
  })

  test('a backspace cannot either', () => {
    assert.equal(plainText('no\b\byes\x7f\x00'), 'noyes')
  })
})

test('plainLine is one line', () => {
  assert.equal(plainLine(' a\n  b\r\nc\x1b[2J '), 'a b c')
})

test('bounded keeps the beginning and the end, and counts the rest', () => {
  assert.equal(bounded('abc', 3), 'abc')
  assert.equal(bounded('abcdefgh', 4), 'ab\n[… 4 characters left out here …]\ngh')
})
