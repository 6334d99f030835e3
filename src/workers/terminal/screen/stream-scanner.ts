/**
 * Reads a program's output for the few things that must be known without emulating a terminal: that the program asks
 * its terminal something, the marks of a shell (OSC 133), and where sequences begin and end. Plain text costs one
 * search for ESC. The grammar is that of ECMA-48 as xterm reads it (vt100.net/emu/dec_ansi_parser).
 */

/** A mark of FinalTerm's shell integration, `OSC 133 ; kind ; rest ST`. */
export interface ShellMark {
  /** `A` before the prompt, `B` after it, `C` before a command's output, `D` after it. */
  readonly kind: string
  readonly rest: readonly string[]
  /** Cursor of the first byte of the sequence. */
  readonly start: number
  /** Cursor after its last byte. */
  readonly end: number
}

export interface ScannerEvents {
  /** The program asks its terminal something. */
  query(): void
  mark(mark: ShellMark): void
}

export interface StreamScanner {
  /**
   * Reads the next piece of output, which begins at this cursor; returns what is to be emulated of it: all of it,
   * unless a string (OSC, DCS, APC, PM, SOS) is longer than MAX_STRING: that one is cancelled there.
   */
  scan(bytes: Uint8Array, offset: number): Uint8Array
  /** Whether the next byte begins something new: no sequence has begun that has not ended. */
  ground(): boolean
}

/** Bytes of a string sequence that are emulated. The emulator itself would hold ten million. */
export const MAX_STRING = 65_536
/** Bytes of a sequence that are kept to know what it is. */
const MAX_KEPT = 512

const [BEL, CAN, SUB, ESC] = [0x07, 0x18, 0x1a, 0x1b]
/** First byte of U+0080 to U+009F. */
const C1_LEAD = 0xc2
/** What follows ESC to begin a string: DCS, SOS, OSC, PM, APC. */
const STRINGS = new Set([...'PX]^_'].map((character) => character.charCodeAt(0)))

type State = 'ground' | 'escape' | 'csi' | 'string' | 'string-escape'

export function createStreamScanner(events: ScannerEvents): StreamScanner {
  let state: State = 'ground'
  let kind = ''
  let kept = ''
  let start = 0
  let length = 0
  let previous = 0
  /** The rest of a string that is too long is left out. */
  let cutting = false

  const begin = (at: number) => {
    state = 'escape'
    kept = ''
    length = 0
    start = at
  }
  const finish = (end: number) => {
    state = 'ground'
    if (kind === ']' && kept.startsWith('133;')) {
      const [mark = '', ...rest] = kept.slice(4).split(';')
      events.mark({ kind: mark, rest, start, end })
    } else if (asksString(kind, kept)) events.query()
  }
  const keep = (byte: number) => {
    length += 1
    if (kept.length < MAX_KEPT) kept += String.fromCharCode(byte)
  }

  const afterEscape = (byte: number) => {
    if (byte === 0x5b) state = 'csi'
    else if (STRINGS.has(byte)) {
      state = 'string'
      kind = String.fromCharCode(byte)
    } else if (byte >= 0x30) {
      state = 'ground'
      if (byte === 0x5a) events.query()
    }
  }

  const step = (byte: number, at: number) => {
    if (byte === ESC) {
      if (state === 'string') state = 'string-escape'
      else begin(at)
    } else if (byte === CAN || byte === SUB) state = 'ground'
    else if (state === 'escape') afterEscape(byte)
    else if (state === 'csi') {
      if (byte < 0x40 || byte > 0x7e) return keep(byte)
      state = 'ground'
      if (asksCsi(kept, String.fromCharCode(byte))) events.query()
    } else if (state === 'string') {
      if (byte === BEL && kind === ']') finish(at + 1)
      // A C1 control, which is two bytes in UTF-8: ST ends the string, the others break it off.
      else if (previous === C1_LEAD && byte < 0xa0 && byte >= 0x80) {
        if (byte === 0x9c) {
          kept = kept.slice(0, -1)
          finish(at + 1)
        } else state = 'ground'
      } else keep(byte)
    } else if (state === 'string-escape') {
      if (byte === 0x5c) return finish(at + 1)
      // Not ST: the string was cut off by another sequence.
      begin(at - 1)
      afterEscape(byte)
    }
  }

  const inString = () => state === 'string' || state === 'string-escape'

  return {
    scan(bytes, offset) {
      const parts: Uint8Array[] = []
      let from = 0
      let touched = cutting
      for (let index = 0; index < bytes.length; index++) {
        if (state === 'ground') {
          const next = bytes.indexOf(ESC, index)
          if (next === -1) break
          index = next
        }
        const byte = bytes[index] as number
        step(byte, offset + index)
        previous = byte
        if (!cutting && length > MAX_STRING && inString()) {
          parts.push(bytes.subarray(from, index), Uint8Array.of(CAN))
          cutting = touched = true
        } else if (cutting && !inString()) {
          cutting = false
          from = index + 1
          // Cut off by a sequence that began with an ESC which was left out with the string.
          if (length === 0) parts.push(Uint8Array.of(ESC, byte))
        }
      }
      if (!touched) return bytes
      return Buffer.concat(cutting ? parts : [...parts, bytes.subarray(from)])
    },
    ground: () => state === 'ground',
  }
}

/** DA1–3, DSR, DECRQM, XTVERSION, kitty's keyboard query, XTQMODKEYS, DECREQTPARM, and xterm's reports of sizes. */
function asksCsi(parameters: string, final: string): boolean {
  if (final === 'c' || final === 'n' || final === 'x') return true
  if (final === 'p') return parameters.endsWith('$')
  if (final === 'q') return parameters.startsWith('>')
  if (final === 'u' || final === 'm') return parameters.startsWith('?')
  return final === 't' && /^(14|16|18|19)\b/.test(parameters)
}

/** OSC with `?` in the place of a value, DECRQSS, XTGETTCAP. */
function asksString(kind: string, content: string): boolean {
  if (kind === ']') return content.endsWith(';?') || content.includes(';?;')
  return kind === 'P' && /^[\d;]*[$+]q/.test(content)
}
