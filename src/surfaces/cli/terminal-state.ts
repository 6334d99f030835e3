/** What programs in sessions and in recordings do to the terminal of the person who watches, and what undoes it. */

/**
 * Undoes what a program may have left on this terminal, a sequence without an end first; the cursor is in the last line
 * then. Colours that a program has set anew stay: what they were is not known.
 */
export const RESTORE = [
  '\x18\x1b[?1049l\x1b[0m\x1b[r\x1b[?69l',
  // Replace, not insert; wrap; no reversed screen; rows from the top of the screen; line feeds that are no more than that.
  '\x1b[4l\x1b[20l\x1b[?7h\x1b[?5l\x1b[?6l',
  // US-ASCII in G0 and G1, and G0 to be shown: not the line drawing that turns letters into boxes.
  '\x1b(B\x1b)B\x0f',
  '\x1b[?1l\x1b>\x1b[?2004l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?1004l',
  '\x1b[?2026l\x1b[<99u\x1b[>4m\x1b]8;;\x1b\\\x1b[0 q\x1b[?25h\x1b[999;1H\r\n',
].join('')

/** OSC 52, which writes to the clipboard and asks for it, also with the 8-bit introducer. */
const BEGIN = /(?:\x1b\]|\x9d)0*52;/
/** What may be the beginning of it. */
const BEGUN = /(?:\x1b(?:\]0*(?:52?)?)?|\x9d0*(?:52?)?)$/
/** Its end; an ESC that is none of ST begins something else. */
const END = /[\x07\x18\x1a\x9c]|\x1b\\|(?=\x1b[^\\])/

/**
 * Leaves out what is for the clipboard: a recording has no business there. The pieces must come in order; one sequence may
 * be in several of them.
 */
export function withoutClipboard(): (piece: string) => string {
  let held = ''
  let isInside = false

  return (piece) => {
    let rest = held + piece
    let kept = ''
    held = ''
    for (;;) {
      const found = (isInside ? END : BEGIN).exec(rest)
      if (found === null) break
      if (!isInside) kept += rest.slice(0, found.index)
      rest = rest.slice(found.index + found[0].length)
      isInside = !isInside
    }
    const cut = isInside ? rest.length - (rest.endsWith('\x1b') ? 1 : 0) : (BEGUN.exec(rest)?.index ?? rest.length)
    held = rest.slice(cut)
    return isInside ? kept : kept + rest.slice(0, cut)
  }
}
