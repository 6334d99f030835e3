import { BACKGROUND, FOREGROUND, paletteColour } from './palette.ts'
import type { Colour, ScreenCursor, StyledRun } from './snapshot.ts'

/** Pixels of a cell; the width of a character of a monospace font is six tenths of its size. */
const CELL = { width: 8.4, height: 17, font: 14, baseline: 13 }
const PADDING = 8
const FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"

export interface ScreenPicture {
  readonly rows: number
  readonly cols: number
  readonly runs: readonly (readonly StyledRun[])[]
  readonly cursor: ScreenCursor
  readonly title: string
}

/**
 * The screen as an SVG image, which needs nothing beside a monospace font and holds nothing that runs. Every run of
 * text is set to the width of its cells, so that columns stand under each other with any font.
 */
export function screenSvg(screen: ScreenPicture): string {
  const [width, height] = [screen.cols * CELL.width + 2 * PADDING, screen.rows * CELL.height + 2 * PADDING]
  const rows = screen.runs.slice(0, screen.rows).map((runs, row) => runs.map((run) => runSvg(run, row)).join(''))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${number(width)}" height="${number(height)}" viewBox="0 0 ${number(width)} ${number(height)}" role="img">`,
    `<title>${escaped(screen.title || 'Terminal')}</title>`,
    `<rect width="100%" height="100%" rx="4" fill="${BACKGROUND}"/>`,
    `<g font-family="${FONTS}" font-size="${CELL.font}" fill="${FOREGROUND}" style="white-space:pre">`,
    ...rows.filter((row) => row !== ''),
    screen.cursor.visible ? cursorSvg(screen.cursor) : '',
    '</g>',
    '</svg>',
    '',
  ].join('\n')
}

const number = (value: number) => String(Math.round(value * 100) / 100)
const left = (col: number) => number(PADDING + col * CELL.width)
const top = (row: number) => PADDING + row * CELL.height

function runSvg(run: StyledRun, row: number): string {
  const colours = { fg: cssColour(run.fg) ?? FOREGROUND, bg: cssColour(run.bg) ?? BACKGROUND }
  const [fg, bg] = run.inverse ? [colours.bg, colours.fg] : [colours.fg, colours.bg]
  const box =
    bg === BACKGROUND
      ? ''
      : `<rect x="${left(run.col)}" y="${number(top(row))}" width="${number(run.width * CELL.width)}" height="${CELL.height}" fill="${bg}"/>`
  const decorations = [
    run.underline && 'underline',
    run.strikethrough && 'line-through',
    run.overline && 'overline',
  ].filter(Boolean)
  if (run.invisible || (run.text.trim() === '' && decorations.length === 0)) return box
  const attributes = [
    `x="${left(run.col)}" y="${number(top(row) + CELL.baseline)}"`,
    `textLength="${number(run.width * CELL.width)}" lengthAdjust="spacingAndGlyphs" xml:space="preserve"`,
    fg === FOREGROUND ? '' : `fill="${fg}"`,
    run.bold ? 'font-weight="bold"' : '',
    run.italic ? 'font-style="italic"' : '',
    run.dim ? 'opacity="0.6"' : '',
    decorations.length > 0 ? `text-decoration="${decorations.join(' ')}"` : '',
  ]
  return `${box}<text ${attributes.filter((attribute) => attribute !== '').join(' ')}>${escaped(run.text)}</text>`
}

function cursorSvg(cursor: ScreenCursor): string {
  return `<rect x="${left(cursor.col)}" y="${number(top(cursor.row))}" width="${CELL.width}" height="${CELL.height}" fill="${FOREGROUND}" opacity="0.5"/>`
}

function cssColour(colour: Colour | undefined): string | undefined {
  return typeof colour === 'number' ? paletteColour(colour) : colour
}

/** What XML 1.0 does not allow at all becomes U+FFFD. */
function escaped(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]/g, '\ufffd')
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
