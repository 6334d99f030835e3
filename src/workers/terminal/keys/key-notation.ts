import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { didYouMean, nearest, quoted } from '../../../core/suggest.ts'
import { encodeKeyPress } from './key-bytes.ts'
import { type KeyEvent, type KeyPress, MOUSE_ACTIONS, MOUSE_BUTTONS, PLAIN_MODES } from './key-events.ts'
import { KEY_WORDS, MODIFIER_WORDS, MODIFIERS, type Modifier, namedKey } from './key-names.ts'

/** Most characters of all texts of one call. */
const MAX_TEXT = 1_048_576
const MAX_ITEMS = 1000
/** Rows and columns of a screen are fewer. */
const MAX_PLACE = 999

const text = z.string().min(1).max(MAX_TEXT)

const mouse = z.strictObject({
  action: z.enum(MOUSE_ACTIONS),
  row: z.number().int().min(0).max(MAX_PLACE).describe('row of the screen, from 0'),
  col: z.number().int().min(0).max(MAX_PLACE).describe('column of the screen, from 0'),
  button: z.enum(MOUSE_BUTTONS).default('left'),
  modifiers: z.array(z.enum(MODIFIERS)).max(3).default([]),
})

const item = z.union([
  text,
  z.strictObject({ text: text.describe('typed as it stands, even where it is the name of a key') }),
  z.strictObject({
    key: z.string().min(1).max(64).describe('`Enter`, `Ctrl+C`, `Shift+Tab`, `F5`'),
    times: z.number().int().min(1).max(1000).default(1),
  }),
  z.strictObject({ paste: text.describe('as one paste: bracketed where the program knows that') }),
  z.strictObject({ escaped: text.describe('exactly the bytes of a text with \\r \\n \\t \\e \\xHH \\u{…} \\\\') }),
  z.strictObject({ mouse }),
  z.strictObject({ secret: z.string().min(1).max(256).describe('name of a secret whose value is typed') }),
  z.strictObject({ pause_ms: z.number().int().min(1).max(10_000).describe('milliseconds to wait') }),
])

/** What may be typed, as callers write it; `parseKeys` makes events of it. */
export const keysInput = z
  .union([text, z.array(item).min(1).max(MAX_ITEMS)])
  .describe(
    'text to type (a line break is Enter), or the name of a key (`Enter`, `Ctrl+C`, `Up`, `F5`, `Alt+b`), or a list of both and of {text}, {key, times}, {paste}, {escaped}, {mouse}, {secret}, {pause_ms}',
  )

export type KeysInput = z.input<typeof keysInput>
type Item = z.output<typeof item>

/**
 * The events of what a caller wrote. All of it is checked before the first byte is typed.
 *
 * A string that is exactly the name of a key, or modifiers and a key joined by `+`, is that key; every other string is
 * text. `{text}` is always text, `{key}` always a key.
 *
 * @throws MHV_INPUT_INVALID with the item and, for a mistyped name, a suggestion
 */
export function parseKeys(input: KeysInput): readonly KeyEvent[] {
  const parsed = keysInput.safeParse(input)
  if (!parsed.success) throw invalid(`keys: ${z.prettifyError(parsed.error).slice(0, 300)}`)
  const items = typeof parsed.data === 'string' ? [parsed.data] : parsed.data
  let characters = 0
  return items.map((one, index) => {
    characters += JSON.stringify(one).length
    if (characters > 2 * MAX_TEXT) throw invalid(`keys: more than ${MAX_TEXT} characters in one call`)
    return eventOf(one, items.length === 1 ? 'keys' : `keys[${index}]`)
  })
}

function eventOf(one: Item, where: string): KeyEvent {
  if (typeof one === 'string') {
    const key = keyIn(one, where)
    return key ? { kind: 'key', key, times: 1 } : { kind: 'text', text: one }
  }
  if ('text' in one) return { kind: 'text', text: one.text }
  if ('key' in one) return { kind: 'key', key: pressOf(one.key, where), times: one.times }
  if ('paste' in one) return { kind: 'paste', text: pasteable(one.paste, where) }
  if ('escaped' in one) return { kind: 'bytes', bytes: unescaped(one.escaped, where) }
  if ('secret' in one) return { kind: 'secret', name: one.secret }
  if ('pause_ms' in one) return { kind: 'pause', ms: one.pause_ms }
  const { action, button, row, col, modifiers } = one.mouse
  return { kind: 'mouse', action, button, at: { row, col }, modifiers }
}

/** `Ctrl+Shift+Up`: words of letters before each `+`, and anything but white space after the last. */
const COMBINATION = /^((?:[A-Za-z]+\+)+)(\S[A-Za-z0-9]*)$/

/** The key that a bare string names; undefined where it is text. */
function keyIn(word: string, where: string): KeyPress | undefined {
  if (namedKey(word)) return pressOf(word, where)
  const parts = COMBINATION.exec(word)
  if (!parts) return undefined
  const first = (parts[1] as string).split('+', 1)[0]?.toLowerCase() ?? ''
  if (first in MODIFIER_WORDS) return pressOf(word, where)
  // "Ctlr+C" was not meant as text; "foo+bar" was.
  const meant = first.length > 2 ? nearest(first, Object.keys(MODIFIER_WORDS)) : undefined
  if (meant === undefined || !isKey(parts[2] as string)) return undefined
  throw unknown(`${where}: there is no modifier ${quoted(first)}; did you mean "${capital(meant)}"?`)
}

const isKey = (word: string) => [...word].length === 1 || namedKey(word) !== undefined

/** The key of a name with modifiers: `Ctrl+C`, also `C-c`, `M-x`, `S-Up` and `^C` as tmux and Emacs write them. */
function pressOf(notation: string, where: string): KeyPress {
  const modifiers = new Set<Modifier>()
  let rest = notation
  const caret = /^\^(\S)$/.exec(rest)
  if (caret) return checked({ name: caret[1] as string, modifiers: ['ctrl'] }, notation, where)
  for (;;) {
    const long = /^([A-Za-z]+)\+(?=[\s\S])/.exec(rest)
    const short = /^([CMS])-(?=[\s\S])/.exec(rest)
    if (!long && !short) break
    const word = (long?.[1] ?? '').toLowerCase()
    const modifier = short ? SHORT[short[1] as keyof typeof SHORT] : MODIFIER_WORDS[word]
    if (!modifier)
      throw unknown(`${where}: there is no modifier ${quoted(word)}${didYouMean(word, Object.keys(MODIFIER_WORDS))}`)
    modifiers.add(modifier)
    rest = rest.slice((long ?? short)?.[0].length)
  }
  const key = namedKey(rest)
  const name = key?.name ?? ([...rest].length === 1 ? rest : undefined)
  if (name === undefined) throw unknown(`${where}: there is no key ${quoted(rest)}${didYouMean(rest, KEY_WORDS)}`)
  return checked({ name, modifiers: MODIFIERS.filter((each) => modifiers.has(each)) }, notation, where)
}

const SHORT = { C: 'ctrl', M: 'alt', S: 'shift' } as const

/** Whether a terminal can send it is known without a session; only the exact bytes depend on the modes. */
function checked(key: KeyPress, notation: string, where: string): KeyPress {
  if (encodeKeyPress(key, PLAIN_MODES) !== undefined) return key
  throw invalid(
    `${where}: no terminal can send ${quoted(notation)}: this key has no code of its own with these modifiers`,
    'Send the key without the modifier that it cannot take; docs/reference/terminal-keys.md lists what there is.',
  )
}

/** A paste that holds the sequence that ends a paste, or any other control, would be typed as commands. */
function pasteable(value: string, where: string): string {
  const bad = /[^\P{Cc}\t\r\n]/u.exec(value)
  if (!bad) return value
  throw invalid(
    `${where}: a paste must not contain control characters (U+${hex(bad[0])} at ${bad.index})`,
    'Paste plain text, and send keys and escape sequences as items of their own.',
  )
}

const ESCAPE = /\\(?:x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|([\s\S])|$)/g
const SIMPLE: Readonly<Record<string, string>> = {
  r: '\r',
  n: '\n',
  t: '\t',
  e: '\x1b',
  b: '\b',
  '0': '\0',
  '\\': '\\',
}

function unescaped(value: string, where: string): Uint8Array {
  const parts: Buffer[] = []
  let end = 0
  for (const match of value.matchAll(ESCAPE)) {
    const [whole, byte, braced, four, simple] = match
    const point = Number.parseInt(braced ?? four ?? '0', 16)
    const character = simple === undefined ? String.fromCodePoint(Math.min(point, 0x10ffff)) : SIMPLE[simple]
    if (whole === '\\' || character === undefined || point > 0x10ffff) {
      throw invalid(
        `${where}: ${quoted(whole)} at ${match.index} is no escape; there are \\r \\n \\t \\b \\e \\0 \\xHH \\uHHHH \\u{…} \\\\`,
      )
    }
    parts.push(Buffer.from(value.slice(end, match.index)))
    parts.push(byte === undefined ? Buffer.from(character) : Buffer.from([Number.parseInt(byte, 16)]))
    end = match.index + whole.length
  }
  return Buffer.concat([...parts, Buffer.from(value.slice(end))])
}

const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1)
const hex = (character: string) => (character.codePointAt(0) ?? 0).toString(16).padStart(4, '0').toUpperCase()
const invalid = (message: string, remedy?: string) => mhvError('MHV_INPUT_INVALID', message, remedy ? { remedy } : {})
const unknown = (message: string) =>
  invalid(message, 'See docs/reference/terminal-keys.md for the keys; {"text": "…"} types anything as it stands.')
