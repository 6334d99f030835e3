import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MhvError } from '../../../core/errors.ts'
import { encodeKeyPress } from './key-bytes.ts'
import { type KeyPress, PLAIN_MODES } from './key-events.ts'
import { MODIFIERS, NAMED_KEYS } from './key-names.ts'
import { type KeysInput, parseKeys } from './key-notation.ts'

/** What one key of the notation sends. */
function sent(notation: string, modes = PLAIN_MODES): string | undefined {
  const [event] = parseKeys([{ key: notation }])
  assert.ok(event?.kind === 'key')
  return encodeKeyPress(event.key, modes)
}

// Read off a real xterm and infocmp -x xterm-256color, not off the table.
const XTERM: readonly (readonly [string, string])[] = [
  ['Enter', '\r'],
  ['Tab', '\t'],
  ['Shift+Tab', '\x1b[Z'],
  ['Backspace', '\x7f'],
  ['Esc', '\x1b'],
  ['Ctrl+C', '\x03'],
  ['ctrl+c', '\x03'],
  ['^C', '\x03'],
  ['C-c', '\x03'],
  ['M-x', '\x1bx'],
  ['Ctrl+Space', '\0'],
  ['Ctrl+[', '\x1b'],
  ['Ctrl+\\', '\x1c'],
  ['Ctrl+]', '\x1d'],
  ['Alt+b', '\x1bb'],
  ['Alt+B', '\x1bB'],
  ['Ctrl+Alt+d', '\x1b\x04'],
  ['Shift+a', 'A'],
  ['Alt+Enter', '\x1b\r'],
  ['Up', '\x1b[A'],
  ['Ctrl+Up', '\x1b[1;5A'],
  ['Shift+Alt+Left', '\x1b[1;4D'],
  ['Ctrl+Shift+End', '\x1b[1;6F'],
  ['Home', '\x1b[H'],
  ['PageUp', '\x1b[5~'],
  ['PgDn', '\x1b[6~'],
  ['Delete', '\x1b[3~'],
  ['Ctrl+Delete', '\x1b[3;5~'],
  ['F1', '\x1bOP'],
  ['Shift+F1', '\x1b[1;2P'],
  ['F5', '\x1b[15~'],
  ['F12', '\x1b[24~'],
  ['Ctrl+F12', '\x1b[24;5~'],
  ['KP5', '5'],
  ['Alt++', '\x1b+'],
  ['Ctrl+ä', ''],
]

test('keys send what xterm sends', () => {
  for (const [notation, bytes] of XTERM) {
    if (bytes === '') assert.throws(() => sent(notation), /no terminal can send/)
    else assert.equal(sent(notation), bytes, notation)
  }
})

test('application modes change cursor keys and the keypad, and nothing with modifiers', () => {
  const application = { ...PLAIN_MODES, applicationCursor: true, applicationKeypad: true }
  assert.equal(sent('Up', application), '\x1bOA')
  assert.equal(sent('Home', application), '\x1bOH')
  assert.equal(sent('Ctrl+Up', application), '\x1b[1;5A')
  assert.equal(sent('KP5', application), '\x1bOu')
  assert.equal(sent('KPEnter', application), '\x1bOM')
  assert.equal(sent('PageUp', application), '\x1b[5~')
})

test('a bare string is a key only where it names one exactly; anything else is text', () => {
  const kinds = (input: KeysInput) => parseKeys(input).map((event) => event.kind)
  assert.deepEqual(kinds(['Enter', 'Ctrl+C', 'up', 'F5', 'Alt+b']), ['key', 'key', 'key', 'key', 'key'])
  const texts = ['ls -la\r', 'Enter now', 'foo+bar', 'a+b', '1+1', 'F5 ', 'C-c']
  assert.deepEqual(
    kinds(texts),
    texts.map(() => 'text'),
  )
})

test('mistakes are told with the item and a suggestion, before anything is typed', () => {
  const message = (input: KeysInput) => {
    try {
      parseKeys(input)
    } catch (error) {
      assert.ok(error instanceof MhvError)
      assert.equal(error.code, 'MHV_INPUT_INVALID')
      return error.message
    }
    return assert.fail('it was taken')
  }
  assert.match(message([{ key: 'Entr' }]), /there is no key "Entr"; did you mean "Enter"\?/)
  assert.match(message(['ls', 'Ctrl+Entr']), /keys\[1\]: there is no key "Entr"; did you mean "Enter"/)
  assert.match(message('Ctlr+C'), /there is no modifier "ctlr"; did you mean "Ctrl"/)
  assert.match(message('Ctrl+Shift+c'), /no terminal can send "Ctrl\+Shift\+c"/)
  assert.match(message([{ key: 'F99' }]), /there is no key "F99"; did you mean "F9"/)
  assert.match(message([{ escaped: 'a\\q' }]), /"\\\\q" at 1 is no escape/)
  assert.match(message([{ paste: 'a\x1b[201~rm' }]), /must not contain control characters \(U\+001B at 1\)/)
  assert.match(message([{ mouse: { action: 'click', row: -1, col: 0 } }]), /row/)
  assert.match(message([]), /keys/)
})

test('escapes become exactly their bytes', () => {
  const [event] = parseKeys([{ escaped: '\\e[A\\x03\\xff\\u{1F680}\\u00e4\\\\n\\n' }])
  assert.ok(event?.kind === 'bytes')
  assert.equal(
    Buffer.from(event.bytes).toString('hex'),
    `${Buffer.from('\x1b[A\x03').toString('hex')}ff${Buffer.from('🚀ä\\n\n').toString('hex')}`,
  )
})

test('property: every named key with any modifiers either sends something of its own form or is refused', () => {
  const press = fc.record({
    name: fc.oneof(
      fc.constantFrom(...NAMED_KEYS.map((key) => key.name)),
      fc.string({ minLength: 1, maxLength: 1, unit: 'grapheme-ascii' }),
    ),
    modifiers: fc.subarray([...MODIFIERS]),
  })
  fc.assert(
    fc.property(press, fc.boolean(), (key: KeyPress, application) => {
      const bytes = encodeKeyPress(key, {
        ...PLAIN_MODES,
        applicationCursor: application,
        applicationKeypad: application,
      })
      if (bytes === undefined) return key.modifiers.length > 0
      // Ctrl and Alt add no more than one ESC in front, or the parameter of a sequence.
      return bytes.length >= 1 && bytes.length <= 8 && (!key.modifiers.includes('alt') || bytes.startsWith('\x1b'))
    }),
  )
})

test('property: any text is taken as it stands as {text}, and no string makes the parser throw anything but its error', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'binary' }), (text) => {
      assert.deepEqual(parseKeys([{ text }]), [{ kind: 'text', text }])
      try {
        for (const event of parseKeys([text, { key: text.slice(0, 64) }, { escaped: text }])) assert.ok(event.kind)
      } catch (error) {
        assert.ok(error instanceof MhvError && error.code === 'MHV_INPUT_INVALID', String(error))
      }
    }),
  )
})
