import { incompleteEnd } from '../../../core/utf8.ts'

/**
 * The text of a program's output without control sequences, for waiting on what comes after a cursor. Not what is on
 * the screen: what was written, in the order in which it was written.
 */

/** Characters that are searched again with each new piece; a match is not longer. */
const WINDOW = 32_768
/** Shorter pieces are kept as one. */
const PIECE = 4_096
/** A sequence that has not ended after so many characters is not waited for. */
const MAX_HELD = 8192

// What has begun also ends where another sequence begins, and CAN and SUB break it off.
const SEQUENCE =
  /\x1b(?:\[[0-?]*[ -/]*(?:[@-~\x18\x1a]|(?=\x1b))|[\]PX^_][^\x07\x1b\x18\x1a]*(?:[\x07\x18\x1a]|\x1b\\|(?=\x1b[^\\]))|[ -/]*(?:[0-OQ-WYZ\\`-~\x18\x1a]|(?=\x1b)))/g
const BEGUN = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x18\x1a]*\x1b?|[ -/]*)?$/
/** What is no text: also where it stands within a word. */
const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f]/
const CONTROLS = /[\0-\x08\x0b\x0c\x0e-\x1f]/g

export interface OutputText {
  /**
   * The last text, with what these bytes add to it; null where the literal is not in it, which is found out for a small
   * part of what the text itself costs.
   */
  push(bytes: Uint8Array): string | null
}

/** @param literal a text without control characters that whoever waits looks for in any case; null where there is none */
export function createOutputText(literal: string | null): OutputText {
  const written = createWrittenText()
  const window = createWindow()
  const search = literal === null ? undefined : createSearch(literal)
  return {
    push(bytes) {
      const text = written.next(bytes)
      window.push(text)
      // Line ends are still as they were written. No literal has one in it, so it is found all the same.
      if (search !== undefined && search.distance(text) > window.length()) return null
      return withPlainLineEnds(window.text())
    },
  }
}

/** Bytes as text, without sequences and controls; what has begun and may go on is held back. */
function createWrittenText() {
  let heldBytes: Uint8Array = Buffer.alloc(0)
  let held = ''

  function decoded(bytes: Uint8Array): string {
    const all = heldBytes.length === 0 ? bytes : Buffer.concat([heldBytes, bytes])
    const end = all.length - incompleteEnd(all)
    heldBytes = Uint8Array.from(all.subarray(end))
    return Buffer.from(all.buffer, all.byteOffset, end).toString('utf8')
  }

  return {
    next(bytes: Uint8Array): string {
      const more = decoded(bytes)
      if (held === '' && !CONTROL.test(more)) return more
      const text = (held + more).replace(SEQUENCE, '')
      const begun = BEGUN.exec(text.slice(-MAX_HELD))
      const cut = begun ? Math.max(0, text.length - MAX_HELD) + begun.index : text.length
      held = text.slice(cut)
      return text.slice(0, cut).replace(CONTROLS, '')
    },
  }
}

/** The last text, at least WINDOW characters of it and all of the last piece. */
function createWindow() {
  const pieces: string[] = []
  let length = 0
  return {
    length: () => length,
    text: () => pieces.join(''),
    push(text: string) {
      const last = pieces.at(-1)
      if (last !== undefined && last.length + text.length <= PIECE) pieces[pieces.length - 1] = last + text
      else pieces.push(text)
      length += text.length
      for (let first = pieces[0]; first !== undefined; first = pieces[0]) {
        if (pieces.length === 1 || length - text.length - first.length < WINDOW) return
        length -= first.length
        pieces.shift()
      }
    },
  }
}

/** How far back the literal was written last. */
function createSearch(literal: string) {
  let distance = Number.POSITIVE_INFINITY
  /** The end of what was there before: a literal may begin in it. */
  let seam = ''
  return {
    /** Characters from its beginning to the end of the text, with this piece; infinite where it never was. */
    distance(text: string): number {
      distance += text.length
      const across = seam + text.slice(0, literal.length - 1)
      if (text.includes(literal)) distance = text.length - text.lastIndexOf(literal)
      else if (across.includes(literal)) distance = text.length + seam.length - across.lastIndexOf(literal)
      const end = literal.length - 1
      seam = text.length >= end ? text.slice(text.length - end) : (seam + text).slice(-end)
      return distance
    },
  }
}

/** A line ends with a line feed, whatever carriage returns are before it; a carriage return alone is a line end, too. */
function withPlainLineEnds(text: string): string {
  let end = text.length
  // What follows the last ones is not known yet.
  while (end > 0 && text[end - 1] === '\r') end -= 1
  const plain = text.slice(0, end).replaceAll('\r\n', '\n')
  // In one step for each run of them: a program may write nothing else.
  return plain.includes('\r')
    ? plain.replace(/\r+\n?/g, (run) => (run.endsWith('\n') ? '\n' : '\n'.repeat(run.length)))
    : plain
}
