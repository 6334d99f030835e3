import type { IBufferCell, IBufferLine, Terminal } from '@xterm/headless'

/** An index of the 256 colours, or `#rrggbb`. */
export type Colour = number | string

/** How a piece of text looks; what is not there is as usual. */
export interface TextStyle {
  readonly fg?: Colour
  readonly bg?: Colour
  readonly bold?: true
  readonly dim?: true
  readonly italic?: true
  readonly underline?: true
  readonly blink?: true
  readonly inverse?: true
  readonly invisible?: true
  readonly strikethrough?: true
  readonly overline?: true
}

/** Neighbouring cells of a row that look alike. */
export interface StyledRun extends TextStyle {
  /** Column of the first cell, from 0. */
  readonly col: number
  /** Columns that it takes. */
  readonly width: number
  readonly text: string
}

export interface ScreenCursor {
  /** From 0. */
  readonly row: number
  /** From 0; at most `cols - 1`, also where the next character would wrap. */
  readonly col: number
  readonly visible: boolean
}

/** What a person would see. */
export interface Snapshot {
  readonly rows: number
  readonly cols: number
  /** One text per row, without the blanks at its end. A wide character is one character here. */
  readonly lines: readonly string[]
  readonly cursor: ScreenCursor
  /** The alternate screen, as editors and pagers use it. */
  readonly alternate: boolean
  /** At most 256 characters, without controls. */
  readonly title: string
  /** Byte cursor into the session's output: the screen shows all that was before it. Go on reading here. */
  readonly offset: number
  /** Grows whenever somebody looks and something has changed; ask for what changed since. */
  readonly revision: number
  /**
   * False where the screen was built from the middle of the output and may lack what was before: after a restart of
   * Mahavishnu, when the scrollback no longer reached back to the beginning.
   */
  readonly complete: boolean
  /** Rows in order, blank ends left out; only when asked for. */
  readonly runs?: readonly (readonly StyledRun[])[]
  /** Lines that scrolled off the top, oldest first; only when asked for. */
  readonly history?: readonly string[]
}

/** What changed since a revision. */
export interface ScreenDifference {
  /** The revision is not known any more: `rows` has all of them. */
  readonly full: boolean
  readonly rows: readonly { readonly row: number; readonly text: string }[]
  readonly cursor: ScreenCursor
  readonly alternate: boolean
  readonly title: string
  readonly offset: number
  readonly revision: number
}

/** The lines of the screen itself, top to bottom. */
export function screenLines(terminal: Terminal): readonly IBufferLine[] {
  const buffer = terminal.buffer.active
  return linesBetween(terminal, buffer.baseY, buffer.baseY + terminal.rows)
}

/** Lines of the active buffer by their index, the scrollback included. */
export function linesBetween(terminal: Terminal, from: number, to: number): readonly IBufferLine[] {
  const lines: IBufferLine[] = []
  for (let index = from; index < to; index++) {
    const line = terminal.buffer.active.getLine(index)
    if (line) lines.push(line)
  }
  return lines
}

export function lineText(line: IBufferLine): string {
  return line.translateToString(true).trimEnd()
}

/** The runs of a row. Blanks at its end that look as usual are left out. */
export function lineRuns(line: IBufferLine, scratch: IBufferCell): readonly StyledRun[] {
  const runs: { col: number; width: number; text: string; key: string; style: TextStyle }[] = []
  for (let col = 0; col < line.length; col++) {
    const cell = line.getCell(col, scratch)
    if (!cell) break
    const width = cell.getWidth()
    const last = runs.at(-1)
    // The second half of a wide character belongs to the first; a mark without a character before it takes no column.
    if (width === 0 && cell.getChars() === '' && last) {
      last.width += col - (last.col + last.width) + 1
      continue
    }
    const text = cell.getChars() || ' '
    const key = styleKey(cell)
    if (last && last.key === key) {
      last.text += text
      last.width = col - last.col + 1
    } else runs.push({ col, width: 1, text, key, style: styleOf(cell) })
  }
  return withoutBlankEnd(runs).map(({ col, width, text, style }) => ({ col, width, text, ...style }))
}

function withoutBlankEnd<T extends { col: number; width: number; text: string; style: TextStyle }>(runs: T[]): T[] {
  const last = runs.at(-1)
  if (!last || Object.keys(last.style).length > 0) return runs
  const text = last.text.trimEnd()
  if (text === '') return runs.slice(0, -1)
  return [...runs.slice(0, -1), { ...last, width: last.width - (last.text.length - text.length), text }]
}

/** Two cells with the same key look alike. */
function styleKey(cell: IBufferCell): string {
  if (cell.isAttributeDefault()) return ''
  const flags = [
    cell.isBold(),
    cell.isDim(),
    cell.isItalic(),
    cell.isUnderline(),
    cell.isBlink(),
    cell.isInverse(),
    cell.isInvisible(),
    cell.isStrikethrough(),
    cell.isOverline(),
  ]
  const word = flags.map((flag) => (flag ? '1' : '0')).join('')
  return `${cell.getFgColorMode()},${cell.getFgColor()},${cell.getBgColorMode()},${cell.getBgColor()},${word}`
}

function styleOf(cell: IBufferCell): TextStyle {
  if (cell.isAttributeDefault()) return {}
  const fg = colourOf(cell.isFgPalette(), cell.isFgRGB(), cell.getFgColor())
  const bg = colourOf(cell.isBgPalette(), cell.isBgRGB(), cell.getBgColor())
  return {
    ...(fg === undefined ? {} : { fg }),
    ...(bg === undefined ? {} : { bg }),
    ...(cell.isBold() ? { bold: true } : {}),
    ...(cell.isDim() ? { dim: true } : {}),
    ...(cell.isItalic() ? { italic: true } : {}),
    ...(cell.isUnderline() ? { underline: true } : {}),
    ...(cell.isBlink() ? { blink: true } : {}),
    ...(cell.isInverse() ? { inverse: true } : {}),
    ...(cell.isInvisible() ? { invisible: true } : {}),
    ...(cell.isStrikethrough() ? { strikethrough: true } : {}),
    ...(cell.isOverline() ? { overline: true } : {}),
  }
}

function colourOf(palette: boolean, rgb: boolean, value: number): Colour | undefined {
  if (palette) return value
  return rgb ? `#${value.toString(16).padStart(6, '0')}` : undefined
}
