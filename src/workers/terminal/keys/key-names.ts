/**
 * The keys that have a name, and what they send: the encoding of xterm (ctlseqs, "PC-Style Function Keys" and
 * "VT220-Style Function Keys"), which is what TERM=xterm-256color promises to programs.
 * docs/reference/terminal-keys.md is generated from here.
 */

/** How a key is encoded. */
export type KeyCode =
  /** `CSI x`, in application cursor mode `SS3 x`; with modifiers `CSI 1 ; m x`. */
  | { readonly form: 'cursor'; readonly final: string }
  /** `SS3 x`; with modifiers `CSI 1 ; m x`. */
  | { readonly form: 'function'; readonly final: string }
  /** `CSI n ~`; with modifiers `CSI n ; m ~`. */
  | { readonly form: 'tilde'; readonly number: number }
  /** A character; in application keypad mode `SS3 x`. */
  | { readonly form: 'keypad'; readonly plain: string; readonly final: string }
  /** Bytes per combination of modifiers; a combination that is not there has no code of its own. */
  | { readonly form: 'fixed'; readonly bytes: Readonly<Record<string, string>> }

export interface NamedKey {
  readonly name: string
  readonly aliases: readonly string[]
  readonly code: KeyCode
}

const cursor = (name: string, final: string, ...aliases: string[]): NamedKey => ({
  name,
  aliases,
  code: { form: 'cursor', final },
})
const tilde = (name: string, number: number, ...aliases: string[]): NamedKey => ({
  name,
  aliases,
  code: { form: 'tilde', number },
})
const fixed = (name: string, bytes: Readonly<Record<string, string>>, ...aliases: string[]): NamedKey => ({
  name,
  aliases,
  code: { form: 'fixed', bytes },
})
const keypad = (name: string, plain: string, final: string): NamedKey => ({
  name,
  aliases: [],
  code: { form: 'keypad', plain, final },
})

// The gaps (16, 22, 27, 30) are the VT220's.
const FUNCTION_NUMBERS = [15, 17, 18, 19, 20, 21, 23, 24, 25, 26, 28, 29, 31, 32, 33, 34]

export const NAMED_KEYS: readonly NamedKey[] = [
  fixed('Enter', { '': '\r', alt: '\x1b\r' }, 'Return', 'CR'),
  fixed('Tab', { '': '\t', shift: '\x1b[Z', alt: '\x1b\t' }),
  fixed('Backspace', { '': '\x7f', ctrl: '\b', alt: '\x1b\x7f', 'ctrl+alt': '\x1b\b' }, 'BS'),
  fixed('Escape', { '': '\x1b', alt: '\x1b\x1b' }, 'Esc'),
  fixed('Space', { '': ' ', shift: ' ', ctrl: '\0', alt: '\x1b ', 'ctrl+alt': '\x1b\0' }),
  cursor('Up', 'A', 'ArrowUp'),
  cursor('Down', 'B', 'ArrowDown'),
  cursor('Right', 'C', 'ArrowRight'),
  cursor('Left', 'D', 'ArrowLeft'),
  cursor('Home', 'H'),
  cursor('End', 'F'),
  cursor('Begin', 'E'),
  tilde('Insert', 2, 'Ins'),
  tilde('Delete', 3, 'Del'),
  tilde('PageUp', 5, 'PgUp', 'Prior'),
  tilde('PageDown', 6, 'PgDn', 'PgDown', 'Next'),
  ...['P', 'Q', 'R', 'S'].map(
    (final, index): NamedKey => ({ name: `F${index + 1}`, aliases: [], code: { form: 'function', final } }),
  ),
  ...FUNCTION_NUMBERS.map((number, index) => tilde(`F${index + 5}`, number)),
  ...Array.from('pqrstuvwxy', (final, digit) => keypad(`KP${digit}`, String(digit), final)),
  keypad('KPEnter', '\r', 'M'),
  keypad('KPPlus', '+', 'k'),
  keypad('KPMinus', '-', 'm'),
  keypad('KPMultiply', '*', 'j'),
  keypad('KPDivide', '/', 'o'),
  keypad('KPDecimal', '.', 'n'),
]

export const MODIFIERS = ['ctrl', 'alt', 'shift'] as const
export type Modifier = (typeof MODIFIERS)[number]

/** Other words for the modifiers. */
export const MODIFIER_WORDS: Readonly<Record<string, Modifier>> = {
  ctrl: 'ctrl',
  control: 'ctrl',
  alt: 'alt',
  meta: 'alt',
  option: 'alt',
  shift: 'shift',
}

const BY_WORD = new Map(
  NAMED_KEYS.flatMap((key) => [key.name, ...key.aliases].map((word) => [word.toLowerCase(), key])),
)

/** The key of a name or of one of its aliases, in any case. */
export function namedKey(word: string): NamedKey | undefined {
  return BY_WORD.get(word.toLowerCase())
}

/** Every name and alias, for suggestions. */
export const KEY_WORDS: readonly string[] = NAMED_KEYS.flatMap((key) => [key.name, ...key.aliases])
