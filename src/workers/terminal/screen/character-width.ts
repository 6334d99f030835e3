import type { IUnicodeVersionProvider } from '@xterm/headless'

/** Marks that may stand on one character; the rest of such a pile goes into cells of its own, which are bounded. */
const MAX_JOINED = 16

const EMOJI = /^\p{Emoji_Presentation}$/u
const MARK = /^[\p{Mn}\p{Me}]$/u
const KNOWN_WIDTHS = 4096

/**
 * How many columns characters take, as the programs' own C library has it: the tables of Unicode 11, and what came
 * later by the properties that the running Node knows. A character's marks are joined to it, up to a bound.
 */
export function boundedWidths(base: IUnicodeVersionProvider, version: string): IUnicodeVersionProvider {
  const known = new Map<number, 0 | 1 | 2>()

  const newer = (code: number): 0 | 1 | 2 => {
    const character = String.fromCodePoint(code)
    if (EMOJI.test(character)) return 2
    return MARK.test(character) ? 0 : base.wcwidth(code)
  }

  const wcwidth = (code: number): 0 | 1 | 2 => {
    if (code < 0x300) return code >= 0x20 && code < 0x7f ? 1 : base.wcwidth(code)
    const remembered = known.get(code)
    if (remembered !== undefined) return remembered
    const width = newer(code)
    if (known.size >= KNOWN_WIDTHS) known.clear()
    known.set(code, width)
    return width
  }

  return {
    version,
    wcwidth,
    // The word of xterm.js (UnicodeService.createPropertyValue): state << 3 | width << 1 | joined.
    charProperties(code, preceding) {
      const width = wcwidth(code)
      const before = (preceding >> 1) & 3
      const count = preceding >> 3
      if (width > 0 || preceding === 0 || before === 0 || count >= MAX_JOINED) return width << 1
      return ((count + 1) << 3) | (before << 1) | 1
    },
  }
}
