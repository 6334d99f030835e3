import type { InputModes } from '../keys/key-events.ts'
import type { Colour, Snapshot, StyledRun } from '../screen/snapshot.ts'

/** Escape sequences that make a terminal show what a screen shows, whatever it showed before. */
export function repaint(snapshot: Snapshot, modes: InputModes): string {
  const { cursor, alternate, lines, runs } = snapshot
  const rows = lines.map((line, row) => {
    const text = runs?.[row] === undefined ? line : runs[row].map(styled).join('')
    return text === '' ? '' : `\x1b[${row + 1};1H${text}`
  })
  return [
    `\x1b[?${alternate ? '1049h' : '1049l'}\x1b[0m\x1b[r${PLAIN}\x1b[2J`,
    ...rows,
    '\x1b[0m',
    mode(1, modes.applicationCursor),
    modes.applicationKeypad ? '\x1b=' : '\x1b>',
    mode(2004, modes.bracketedPaste),
    mouseModes(modes),
    mode(25, cursor.visible),
    `\x1b[${cursor.row + 1};${cursor.col + 1}H`,
  ].join('')
}

/** No inserting, wrapping, rows from the top on, and letters that are letters: what is painted is the characters themselves. */
const PLAIN = '\x1b[4l\x1b[?7h\x1b[?6l\x1b(B\x1b)B\x0f'

const mode = (number: number, on: boolean) => `\x1b[?${number}${on ? 'h' : 'l'}`

const MOUSE: Readonly<Record<InputModes['mouse'], number | undefined>> = {
  none: undefined,
  x10: 9,
  vt200: 1000,
  drag: 1002,
  any: 1003,
}

function mouseModes({ mouse, mouseSgr }: InputModes): string {
  const number = MOUSE[mouse]
  return (number === undefined ? '' : mode(number, true)) + mode(1006, mouseSgr)
}

const CODES = {
  bold: 1,
  dim: 2,
  italic: 3,
  underline: 4,
  blink: 5,
  inverse: 7,
  invisible: 8,
  strikethrough: 9,
  overline: 53,
} as const

function styled(run: StyledRun): string {
  const codes: (string | number)[] = [0]
  for (const [name, code] of Object.entries(CODES)) if (run[name as keyof typeof CODES] === true) codes.push(code)
  if (run.fg !== undefined) codes.push(`38;${colour(run.fg)}`)
  if (run.bg !== undefined) codes.push(`48;${colour(run.bg)}`)
  return `\x1b[${run.col + 1}G\x1b[${codes.join(';')}m${run.text}`
}

function colour(value: Colour): string {
  if (typeof value === 'number') return `5;${value}`
  const rgb = Number.parseInt(value.slice(1), 16)
  return `2;${rgb >> 16};${(rgb >> 8) & 255};${rgb & 255}`
}
