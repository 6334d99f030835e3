import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../../core/clock.ts'
import { type InputModes, PLAIN_MODES } from './key-events.ts'
import { type KeysInput, parseKeys } from './key-notation.ts'
import { type Stroke, typeKeys } from './type-keys.ts'

async function typed(input: KeysInput, modes: Partial<InputModes> = {}, delayMs = 1) {
  const strokes: Stroke[] = []
  let asked = 0
  const slept: number[] = []
  await typeKeys(parseKeys(input), {
    clock: {
      ...systemClock,
      sleep: async (ms) => {
        slept.push(ms)
      },
    },
    delayMs,
    modes: async () => {
      asked += 1
      return { ...PLAIN_MODES, ...modes }
    },
    write: async (stroke) => {
      strokes.push(stroke)
    },
    secret: async (name) => `value of ${name}`,
  })
  return { strokes, texts: strokes.map(({ bytes }) => Buffer.from(bytes).toString('latin1')), asked, slept }
}

test('text goes character by character with the delay between, a line break as Enter, a sequence at once', async () => {
  const { texts, slept, asked } = await typed(['ls\n', 'Enter', '\x1b[Ax'], {}, 7)
  assert.deepEqual(texts, ['l', 's', '\r', '\r', '\x1b[A', 'x'])
  assert.deepEqual(slept, [7, 7, 7, 7, 7])
  assert.equal(asked, 0, 'nothing here depends on the modes')
})

test('several lines are one bracketed paste where the program knows that, the Enter at the end behind it', async () => {
  assert.deepEqual((await typed('a\nb\r\n', { bracketedPaste: true })).texts, ['\x1b[200~a\rb\x1b[201~', '\r'])
  assert.deepEqual((await typed('a\nb\n')).texts, ['a', '\r', 'b', '\r'])
  assert.deepEqual((await typed([{ paste: 'one' }], { bracketedPaste: true })).texts, ['\x1b[200~one\x1b[201~'])
  assert.deepEqual((await typed([{ paste: 'a\nb' }])).texts, ['a\rb'])
})

test('long text is one paste, or few pieces; a text with keys in it is never a paste', async () => {
  const long = 'x'.repeat(1000)
  assert.deepEqual((await typed(long, { bracketedPaste: true })).texts, [`\x1b[200~${long}\x1b[201~`])
  const plain = await typed(long)
  assert.equal(plain.texts.length, 4)
  assert.equal(plain.texts.join(''), long)
  assert.equal((await typed(`${long}\x03`, { bracketedPaste: true })).texts.join(''), `${long}\x03`)
})

test('modes are asked when a key depends on them, each time', async () => {
  const { texts, asked } = await typed(['Up', 'Ctrl+Up', { key: 'KP0', times: 2 }], {
    applicationCursor: true,
    applicationKeypad: true,
  })
  assert.deepEqual(texts, ['\x1bOA', '\x1b[1;5A', '\x1bOp', '\x1bOp'])
  assert.equal(asked, 2)
})

test('the mouse is sent as the program has asked for it, and refused where it has not', async () => {
  const click = { mouse: { action: 'click', row: 4, col: 9 } } as const
  assert.deepEqual((await typed([click], { mouse: 'vt200', mouseSgr: true })).texts, ['\x1b[<0;10;5M\x1b[<0;10;5m'])
  assert.deepEqual((await typed([click], { mouse: 'vt200' })).texts, ['\x1b[M *%\x1b[M#*%'])
  const wheel = { mouse: { action: 'scroll_up' as const, row: 0, col: 0, modifiers: ['ctrl' as const] } }
  assert.deepEqual((await typed([wheel], { mouse: 'any', mouseSgr: true })).texts, ['\x1b[<80;1;1M'])
  await assert.rejects(typed(['a', click]), { code: 'MHV_INPUT_INVALID', details: { typed: { strokes: 1, bytes: 1 } } })
})

test('a secret is one stroke that says what it is', async () => {
  const { strokes } = await typed([{ secret: 'db' }, 'Enter'])
  assert.deepEqual(
    strokes.map(({ kind, bytes }) => [kind, Buffer.from(bytes).toString()]),
    [
      ['secret', 'value of db'],
      ['key', '\r'],
    ],
  )
})
