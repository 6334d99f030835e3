import type { Clock } from '../../../core/clock.ts'
import { mhvError } from '../../../core/errors.ts'
import { encodeKeyPress, encodeMouse, encodePaste, mouseRefusal, withEnters } from './key-bytes.ts'
import { type InputModes, type KeyEvent, PLAIN_MODES } from './key-events.ts'
import { namedKey } from './key-names.ts'

/** From so many characters on, text goes as one paste where the program knows bracketed paste. */
const PASTE_FROM = 256
/** Longer text that cannot be pasted goes in pieces of so many characters: a delay between all would take minutes. */
const PIECE = 256

/** One write to the terminal. */
export interface Stroke {
  readonly bytes: Uint8Array
  /** `secret`: these bytes must not be recorded. */
  readonly kind: KeyEvent['kind']
}

export interface TypeOptions {
  readonly clock: Clock
  /** Milliseconds between two strokes. */
  readonly delayMs: number
  readonly signal?: AbortSignal
  /** The modes that the program has set by now. Asked only for what depends on them. */
  modes(): Promise<InputModes>
  /** Writes one stroke; resolves when the terminal has taken it. */
  write(stroke: Stroke): Promise<void>
  /** The value of a secret, asked for right before it is typed. */
  secret(name: string): Promise<string>
}

export interface Typed {
  readonly strokes: number
  readonly bytes: number
}

/**
 * Types the events in order, with a delay between strokes.
 *
 * @throws MHV_INPUT_INVALID for a mouse event that the program would not see; what was before it is typed by then, and
 *   `details.typed` says how much. Whatever `write` and `secret` throw, and the signal's reason.
 */
export async function typeKeys(events: readonly KeyEvent[], options: TypeOptions): Promise<Typed> {
  const typed = { strokes: 0, bytes: 0 }
  const pause = async () => {
    if (typed.strokes > 0 && options.delayMs > 0) await options.clock.sleep(options.delayMs, options.signal)
  }
  for (const [index, event] of events.entries()) {
    if (event.kind === 'pause') {
      await options.clock.sleep(event.ms, options.signal)
      continue
    }
    const modes = dependsOnModes(event) ? await options.modes() : PLAIN_MODES
    if (event.kind === 'mouse') refuseMouse(event, modes, index, typed)
    // Whether a secret may be typed is asked with its value: not before the delay, but right before it is typed.
    if (event.kind === 'secret') await pause()
    for await (const stroke of strokesOf(event, modes, options)) {
      if (event.kind !== 'secret') await pause()
      options.signal?.throwIfAborted()
      await options.write(stroke)
      typed.strokes += 1
      typed.bytes += stroke.bytes.length
    }
  }
  return typed
}

function refuseMouse(
  event: Extract<KeyEvent, { kind: 'mouse' }>,
  modes: InputModes,
  index: number,
  typed: Typed,
): void {
  const refusal = mouseRefusal(event, modes)
  if (refusal === undefined) return
  throw mhvError('MHV_INPUT_INVALID', `keys[${index}]: ${refusal}`, {
    remedy: 'Use keys, or start a program that has asked its terminal for the mouse.',
    details: { typed: { ...typed } },
  })
}

/** Whether the bytes of an event depend on what the program has asked for. */
export function dependsOnModes(event: KeyEvent): boolean {
  if (event.kind === 'text') return isPasteLike(event.text)
  if (event.kind === 'key') {
    const form = namedKey(event.key.name)?.code.form
    return form === 'keypad' || (form === 'cursor' && event.key.modifiers.length === 0)
  }
  return event.kind === 'paste' || event.kind === 'mouse'
}

/** Text that a person would paste: long or of several lines, and nothing in it that is a key press. */
function isPasteLike(text: string): boolean {
  const body = text.replace(/[\r\n]+$/, '')
  return (body.length >= PASTE_FROM || /[\r\n]/.test(body)) && !/[^\P{Cc}\t\r\n]/u.test(body)
}

async function* strokesOf(event: KeyEvent, modes: InputModes, options: TypeOptions): AsyncGenerator<Stroke> {
  const stroke = (bytes: string | Uint8Array): Stroke => ({ kind: event.kind, bytes: Buffer.from(bytes) })
  switch (event.kind) {
    case 'text':
      for (const piece of textPieces(event.text, modes, options.delayMs)) yield stroke(piece)
      return
    case 'key': {
      const bytes = encodeKeyPress(event.key, modes)
      if (bytes === undefined) throw mhvError('MHV_INTERNAL', `a key without a code was let through: ${event.key.name}`)
      for (let count = 0; count < event.times; count++) yield stroke(bytes)
      return
    }
    case 'paste':
      yield stroke(encodePaste(event.text, modes))
      return
    case 'bytes':
      yield stroke(event.bytes)
      return
    case 'mouse':
      yield stroke(encodeMouse(event, modes))
      return
    case 'secret':
      yield stroke(await options.secret(event.name))
      return
    case 'pause':
  }
}

/** The writes of a text: one paste and the Enters behind it, or character by character, or pieces. */
function textPieces(text: string, modes: InputModes, delayMs: number): readonly string[] {
  if (modes.bracketedPaste && isPasteLike(text)) {
    const body = text.replace(/[\r\n]+$/, '')
    // Within the brackets an Enter runs nothing; those at the end are meant to.
    return [encodePaste(body, modes), ...withEnters(text.slice(body.length))]
  }
  const lines = withEnters(text)
  if (delayMs <= 0) return [lines]
  const characters = [...lines]
  if (characters.length < PASTE_FROM) return typingUnits(characters)
  const pieces: string[] = []
  for (let at = 0; at < characters.length; at += PIECE) pieces.push(characters.slice(at, at + PIECE).join(''))
  return pieces
}

/** An escape sequence within text is one key press: with a delay inside, programs would take its ESC for the key Esc. */
function typingUnits(characters: readonly string[]): readonly string[] {
  const sequence = /\x1b(?:\[[0-?]*[ -/]*[@-~]|O[\s\S]|[^[O])|[\s\S]/gu
  return characters.join('').match(sequence) ?? []
}
