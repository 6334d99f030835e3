import type { Modifier } from './key-names.ts'

/** A position on the screen, counted from 0, as a snapshot counts. */
export interface ScreenPlace {
  readonly row: number
  readonly col: number
}

export const MOUSE_ACTIONS = ['click', 'double_click', 'press', 'release', 'move', 'scroll_up', 'scroll_down'] as const
export type MouseAction = (typeof MOUSE_ACTIONS)[number]
export const MOUSE_BUTTONS = ['left', 'middle', 'right'] as const
export type MouseButton = (typeof MOUSE_BUTTONS)[number]

/** One thing to type, checked; what bytes it becomes may depend on the modes that the program has set by then. */
export type KeyEvent =
  /** Typed character by character; a line break is Enter. Long or with several lines: pasted where that is known. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'key'; readonly key: KeyPress; readonly times: number }
  | { readonly kind: 'paste'; readonly text: string }
  /** Exactly these bytes, at once. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | {
      readonly kind: 'mouse'
      readonly action: MouseAction
      readonly button: MouseButton
      readonly at: ScreenPlace
      readonly modifiers: readonly Modifier[]
    }
  /** The value of a secret, typed at once and never as an echoed paste. */
  | { readonly kind: 'secret'; readonly name: string }
  | { readonly kind: 'pause'; readonly ms: number }

/** A key with its modifiers. `name` is one of NAMED_KEYS, or one character. */
export interface KeyPress {
  readonly name: string
  readonly modifiers: readonly Modifier[]
}

/** What the program has asked its terminal for and what changes the bytes of input. */
export interface InputModes {
  /** DECCKM. */
  readonly applicationCursor: boolean
  /** DECKPAM. */
  readonly applicationKeypad: boolean
  /** Mode 2004. */
  readonly bracketedPaste: boolean
  /** Modes 9, 1000, 1002 and 1003. */
  readonly mouse: 'none' | 'x10' | 'vt200' | 'drag' | 'any'
  /** Mode 1006. */
  readonly mouseSgr: boolean
}

export const PLAIN_MODES: InputModes = {
  applicationCursor: false,
  applicationKeypad: false,
  bracketedPaste: false,
  mouse: 'none',
  mouseSgr: false,
}
