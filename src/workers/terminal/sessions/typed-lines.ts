/** Keys as the lines that a person would say they typed: for the record of who typed what. */
export interface TypedLines {
  /** @param hidden what was typed is not shown on the terminal, and not told here either */
  push(text: string, hidden: boolean): void
  /** The last line, which was not finished. */
  end(): void
}

/** What stands for a line, or a part of one, that was typed where the terminal shows nothing. */
export const HIDDEN = '[hidden]'
/** Longest line that is kept whole, in characters. */
const MAX_LINE = 4_096

const SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)?/gs

/** @param onLine is given each line when Enter, Ctrl+C, Ctrl+D or Ctrl+Z ends it */
export function createTypedLines(onLine: (line: string) => void): TypedLines {
  let line: string[] = []
  let hid = false

  function finish(key: string): void {
    const text = (hid ? HIDDEN : line.join('')) + key
    line = []
    hid = false
    if (text !== '') onLine(text)
  }

  return {
    push(text, hidden) {
      for (const character of text.replace(SEQUENCE, '')) {
        if (character === '\r' || character === '\n') finish('')
        else if (character === '\x03' || character === '\x04' || character === '\x1a') finish(caret(character))
        else if (character === '\x7f' || character === '\b') line.pop()
        else if (character === '\x15') line = []
        else if (hidden) hid = true
        else if (line.length < MAX_LINE) line.push(character < ' ' && character !== '\t' ? caret(character) : character)
      }
    },
    end: () => finish(''),
  }
}

const caret = (character: string) => `^${String.fromCharCode(character.charCodeAt(0) + 64)}`
