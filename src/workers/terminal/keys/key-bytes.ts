import type { InputModes, KeyEvent, KeyPress, MouseAction } from './key-events.ts'
import { type Modifier, namedKey } from './key-names.ts'

/** xterm's number for a set of modifiers: 1, and 1 for Shift, 2 for Alt, 4 for Ctrl. */
function modifierNumber(modifiers: readonly Modifier[]): number {
  return (
    1 +
    (modifiers.includes('shift') ? 1 : 0) +
    (modifiers.includes('alt') ? 2 : 0) +
    (modifiers.includes('ctrl') ? 4 : 0)
  )
}

/** What a key sends; undefined where xterm's encoding has no code for it with these modifiers. */
export function encodeKeyPress(press: KeyPress, modes: InputModes): string | undefined {
  const code = namedKey(press.name)?.code
  // A character is also a name where it is one character long; there is no such name.
  if (code === undefined) return encodeCharacter(press)
  const number = modifierNumber(press.modifiers)
  const plain = press.modifiers.length === 0
  switch (code.form) {
    case 'cursor':
      if (plain) return `${modes.applicationCursor ? '\x1bO' : '\x1b['}${code.final}`
      return `\x1b[1;${number}${code.final}`
    case 'function':
      return plain ? `\x1bO${code.final}` : `\x1b[1;${number}${code.final}`
    case 'tilde':
      return plain ? `\x1b[${code.number}~` : `\x1b[${code.number};${number}~`
    case 'keypad':
      if (modes.applicationKeypad) return plain ? `\x1bO${code.final}` : `\x1bO${number}${code.final}`
      return plain ? code.plain : undefined
    case 'fixed':
      return code.bytes[press.modifiers.join('+')]
  }
}

/** Ctrl with a character that is no letter: the codes of the VT220's keyboard and of xterm. */
const CTRL: Readonly<Record<string, number>> = {
  '@': 0,
  '`': 0,
  '2': 0,
  '[': 27,
  '3': 27,
  '{': 27,
  '\\': 28,
  '4': 28,
  '|': 28,
  ']': 29,
  '5': 29,
  '}': 29,
  '^': 30,
  '6': 30,
  '~': 30,
  _: 31,
  '7': 31,
  '/': 31,
  '?': 127,
  '8': 127,
}

function encodeCharacter(press: KeyPress): string | undefined {
  const has = (modifier: Modifier) => press.modifiers.includes(modifier)
  let character = press.name
  if (has('shift')) {
    // Shift makes another character; only for letters it is the same one everywhere.
    if (has('ctrl') || character.toUpperCase() === character.toLowerCase()) return undefined
    character = character.toUpperCase()
  }
  if (has('ctrl')) {
    const letter = /^[a-z]$/i.test(character) ? character.toUpperCase().charCodeAt(0) & 0x1f : CTRL[character]
    if (letter === undefined) return undefined
    character = String.fromCharCode(letter)
  }
  return has('alt') ? `\x1b${character}` : character
}

const PASTE_START = '\x1b[200~'
const PASTE_END = '\x1b[201~'

/** A terminal sends Enter for a line break of what is typed or pasted. */
export function withEnters(text: string): string {
  return text.replace(/\r\n|\n/g, '\r')
}

/** The bytes of a paste; plain where the program does not know bracketed paste. */
export function encodePaste(text: string, modes: InputModes): string {
  const lines = withEnters(text)
  return modes.bracketedPaste ? `${PASTE_START}${lines}${PASTE_END}` : lines
}

/** Button numbers of the mouse protocols; a wheel is buttons 4 and 5, move is with no button (3) and motion (32). */
const BUTTONS = { left: 0, middle: 1, right: 2 } as const
const WHEEL = { scroll_up: 64, scroll_down: 65 } as const
const MOTION = 32
/** Most that X10 encoding can say: 255 - 33. */
export const X10_MAX_PLACE = 222

type MouseEvent = Extract<KeyEvent, { kind: 'mouse' }>

const STEPS: Readonly<Record<MouseAction, readonly ('press' | 'release')[]>> = {
  click: ['press', 'release'],
  double_click: ['press', 'release', 'press', 'release'],
  press: ['press'],
  release: ['release'],
  move: ['press'],
  scroll_up: ['press'],
  scroll_down: ['press'],
}

/** Why the program would not see this; undefined where it does. */
export function mouseRefusal(event: MouseEvent, modes: InputModes): string | undefined {
  if (modes.mouse === 'none') return 'the program does not listen to the mouse'
  if (event.action === 'move' && modes.mouse !== 'any') return 'the program does not listen to moves of the mouse'
  const far = Math.max(event.at.row, event.at.col) > X10_MAX_PLACE
  if (!modes.mouseSgr && far) return `the program knows no mouse beyond row or column ${X10_MAX_PLACE}`
  return undefined
}

/** The bytes of one mouse event. SGR where the program has asked for it (mode 1006), else X10's three bytes. */
export function encodeMouse(event: MouseEvent, modes: InputModes): Uint8Array {
  const { action } = event
  const held = (modifierNumber(event.modifiers) - 1) * 4
  const button =
    held +
    (action === 'scroll_up' || action === 'scroll_down'
      ? WHEEL[action]
      : action === 'move'
        ? MOTION + 3
        : BUTTONS[event.button])
  const [row, col] = [event.at.row + 1, event.at.col + 1]
  const parts = STEPS[action].flatMap((step) => {
    if (modes.mouseSgr) return [Buffer.from(`\x1b[<${button};${col};${row}${step === 'press' ? 'M' : 'm'}`)]
    // X10 (mode 9) knows no release.
    if (step === 'release' && modes.mouse === 'x10') return []
    const code = step === 'press' ? button : held + 3
    return [Buffer.concat([Buffer.from('\x1b[M'), Buffer.from([32 + code, 32 + col, 32 + row])])]
  })
  return Buffer.concat(parts)
}
