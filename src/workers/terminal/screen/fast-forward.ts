/**
 * A flood of plain lines need not be emulated: all but its last lines are scrolled away before anybody looks. What is
 * left out here cannot change the screen, nor the scrollback that the emulator keeps; a test compares both ways.
 */

const [LF, CR, SO, SI, ESC] = [0x0a, 0x0d, 0x0e, 0x0f, 0x1b]
/** First byte of the C1 controls (U+0080 to U+009F) in UTF-8. */
const C1_LEAD = 0xc2
/** Less is not worth the search. */
const WORTH = 16_384
/** Bytes of colour sequences that are carried over. */
const MAX_COLOURS = 4096

/**
 * What is to be emulated instead of `bytes`, or undefined where only all of it will do.
 *
 * Only right where the terminal is between sequences and scrolls its whole height (no DECSTBM region).
 *
 * @param lines twice the rows of the screen, and the lines of scrollback: so many line feeds push out whatever was
 *   there before, wherever the cursor was
 */
export function fastForward(bytes: Uint8Array, lines: number): Uint8Array | undefined {
  if (bytes.length < WORTH) return undefined
  let cut = bytes.length
  for (let count = 0; count < lines; count++) {
    cut = cut === 0 ? -1 : bytes.lastIndexOf(LF, cut - 1)
    if (cut <= 0) return undefined
  }
  // With the carriage return in front, the column before does not matter.
  if (bytes[cut - 1] !== CR) return undefined
  const dropped = bytes.subarray(0, cut - 1)
  const colours = coloursOf(dropped)
  if (colours === undefined || dropped.includes(SO) || dropped.includes(SI) || hasC1(dropped)) return undefined
  return Buffer.concat([colours, bytes.subarray(cut - 1)])
}

/** The colour sequences (SGR) among the bytes, from the last reset on; undefined where there are others. */
function coloursOf(bytes: Uint8Array): Uint8Array | undefined {
  let parts: Uint8Array[] = []
  let size = 0
  for (let at = bytes.indexOf(ESC); at !== -1; at = bytes.indexOf(ESC, at)) {
    const start = at
    if (bytes[at + 1] !== 0x5b) return undefined
    at += 2
    while (isParameter(bytes[at])) at += 1
    if (bytes[at] !== 0x6d) return undefined
    at += 1
    const reset = at - start === 3 || (at - start === 4 && bytes[start + 2] === 0x30)
    if (reset) {
      parts = []
      size = 0
    }
    parts.push(bytes.subarray(start, at))
    size += at - start
    if (size > MAX_COLOURS) return undefined
  }
  return Buffer.concat(parts)
}

/** Digits, `:` and `;`; no private prefix. */
function isParameter(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x3b
}

function hasC1(bytes: Uint8Array): boolean {
  for (let at = bytes.indexOf(C1_LEAD); at !== -1; at = bytes.indexOf(C1_LEAD, at + 1)) {
    const next = bytes[at + 1]
    if (next === undefined || next < 0xa0) return true
  }
  return false
}
