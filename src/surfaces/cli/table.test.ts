import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Column, tableText } from './table.ts'

const columns: readonly Column<readonly [string, string]>[] = [
  { title: 'ID', text: ([id]) => id },
  { title: 'WHAT', text: ([, what]) => what, mayCut: true },
]

describe('tableText', () => {
  test('is as wide as its content where nobody says how wide', () => {
    assert.equal(tableText(columns, [['1', 'x'.repeat(200)]], null), `ID  WHAT\n1   ${'x'.repeat(200)}`)
  })

  test('has one long cell push only its own row there', () => {
    const wide = [...columns, { title: 'END', text: () => 'x' }]
    const [head, long, short] = tableText(
      wide,
      [
        ['1', 'y'.repeat(200)],
        ['2', 'z'],
      ],
      null,
    ).split('\n')
    assert.equal(long, `1   ${'y'.repeat(200)}  x`)
    assert.equal(head, `ID  ${'WHAT'.padEnd(48)}  END`)
    assert.equal(short, `2   ${'z'.padEnd(48)}  x`)
  })

  test('cuts what may be cut where the terminal is narrow, and nothing else', () => {
    const lines = tableText(columns, [['01K5E2W9QZ3V7M4T8N6R1XJYHB', 'a long text that does not fit']], 40).split('\n')
    assert.ok(
      lines.every((line) => [...line].length <= 40),
      lines.join('\n'),
    )
    assert.match(lines[1] ?? '', /^01K5E2W9QZ3V7M4T8N6R1XJYHB {2}a long text…$/)
  })

  test('is no place for control characters', () => {
    assert.equal(tableText(columns, [['1', 'a\nb\x1b[2J']], null), 'ID  WHAT\n1   a b')
  })
})
