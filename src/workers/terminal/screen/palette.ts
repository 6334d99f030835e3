/**
 * The colours of the screen's picture, and the ones that programs are told when they ask: those of xterm, on black.
 */

const FIRST = [
  '#000000',
  '#cd0000',
  '#00cd00',
  '#cdcd00',
  '#0000ee',
  '#cd00cd',
  '#00cdcd',
  '#e5e5e5',
  '#7f7f7f',
  '#ff0000',
  '#00ff00',
  '#ffff00',
  '#5c5cff',
  '#ff00ff',
  '#00ffff',
  '#ffffff',
]

export const FOREGROUND = '#e5e5e5'
export const BACKGROUND = '#000000'

const hex = (value: number) => value.toString(16).padStart(2, '0')

/** `#rrggbb` of an index of the 256 colours: 16 named ones, a cube of 6 × 6 × 6, and 24 greys. */
export function paletteColour(index: number): string {
  const named = FIRST[index]
  if (named !== undefined) return named
  if (index >= 232) return `#${hex(8 + (index - 232) * 10).repeat(3)}`
  const level = (step: number) => (step === 0 ? 0 : 55 + step * 40)
  const cube = index - 16
  return `#${[Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((step) => hex(level(step))).join('')}`
}

/** `rgb:rrrr/gggg/bbbb`, as X11 writes a colour. */
export function xColour(colour: string): string {
  return `rgb:${[1, 3, 5].map((at) => colour.slice(at, at + 2).repeat(2)).join('/')}`
}
