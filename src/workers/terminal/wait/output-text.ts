/**
 * The text of a program's output without control sequences, for waiting on what comes after a cursor. Not what is on
 * the screen: what was written, in the order in which it was written.
 */

/** Characters that are searched again with each new piece; a match is not longer. */
const WINDOW = 32_768
/** A sequence that has not ended after so many characters is not waited for. */
const MAX_HELD = 8192

// A string also ends where another sequence begins, and CAN and SUB break off whatever has begun.
const SEQUENCE =
  /\x1b(?:\[[0-?]*[ -/]*[@-~\x18\x1a]|[\]PX^_][^\x07\x1b\x18\x1a]*(?:[\x07\x18\x1a]|\x1b\\|(?=\x1b[^\\]))|[ -/]*[0-OQ-WYZ\\`-~\x18\x1a])/g
const BEGUN = /(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x18\x1a]*\x1b?|[ -/]*)?|\r)$/

export interface OutputText {
  /** The last text, with what these bytes add to it. */
  push(bytes: Uint8Array): string
}

export function createOutputText(): OutputText {
  const decoder = new TextDecoder('utf-8')
  let held = ''
  let window = ''
  return {
    push(bytes) {
      const text = (held + decoder.decode(bytes, { stream: true })).replace(SEQUENCE, '')
      const begun = BEGUN.exec(text.slice(-MAX_HELD))
      const cut = begun ? Math.max(0, text.length - MAX_HELD) + begun.index : text.length
      held = text.slice(cut)
      const plain = text
        .slice(0, cut)
        .replace(/\r*\n|\r/g, '\n')
        .replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, '')
      // A match may begin in what was there before, and end in a piece that is longer than the window.
      const all = window + plain
      window = all.slice(-WINDOW)
      return all
    },
  }
}
