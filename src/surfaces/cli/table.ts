import { plainLine } from '../plain-text.ts'

export interface Column<R> {
  readonly title: string
  readonly text: (row: R) => string
  /** Whether the column may be cut where the terminal is too narrow. */
  readonly mayCut?: boolean
}

/** Least width of a column that is cut. */
const LEAST = 8
const GAP = '  '

/** Where nothing is cut, one long cell does not push the columns of all other rows away. */
const MOST_PADDED = 48

/** A table that fits the terminal: columns that may be cut give way, the longest first. `width` null: nothing is cut. */
export function tableText<R>(columns: readonly Column<R>[], rows: readonly R[], width: number | null): string {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ text }) => plainLine(text(row)))),
  ]
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => lengthOf(row[index]))))
  if (width !== null) narrow(columns, widths, width - GAP.length * (columns.length - 1))
  const shown = (cell: string, index: number) => {
    const most = widths[index] ?? 0
    if (width !== null) return fit(cell, most)
    return fit(cell, Math.max(lengthOf(cell), columns[index]?.mayCut ? Math.min(most, MOST_PADDED) : most))
  }
  return cells.map((row) => row.map(shown).join(GAP).trimEnd()).join('\n')
}

function narrow<R>(columns: readonly Column<R>[], widths: number[], room: number): void {
  for (;;) {
    const over = widths.reduce((sum, each) => sum + each, 0) - room
    const longest = widths.reduce((best, each, index) => {
      const cuttable = columns[index]?.mayCut === true && each > LEAST
      return cuttable && (best < 0 || each > (widths[best] ?? 0)) ? index : best
    }, -1)
    if (over <= 0 || longest < 0) return
    widths[longest] = (widths[longest] ?? 0) - 1
  }
}

/** Counts code points: right for names and messages, roughly right for scripts that are two columns wide. */
function lengthOf(text = ''): number {
  return [...text].length
}

function fit(text: string, width: number): string {
  const points = [...text]
  if (points.length <= width) return text + ' '.repeat(width - points.length)
  return `${points.slice(0, Math.max(0, width - 1)).join('')}…`
}
