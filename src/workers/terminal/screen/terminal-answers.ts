import type { Terminal } from '@xterm/headless'
import { BACKGROUND, FOREGROUND, paletteColour, xColour } from './palette.ts'

/** Cells have no size in pixels; programs that ask want one for pictures. */
const CELL = { width: 8, height: 16 }

/**
 * Answers what programs ask their terminal and xterm.js alone leaves unanswered in a process without a window. It
 * answers DA1, DA2, DSR, DECRQM and DECRQSS itself.
 *
 * Kitty's keyboard query stays unanswered on purpose: an answer would say that keys are sent in its encoding. Programs
 * ask for DA1 behind it and take that answer alone as a no.
 */
export function answerQueries(terminal: Terminal, answer: (text: string) => void): void {
  const { parser } = terminal
  const say = (text: string) => {
    answer(text)
    return true
  }
  // DA3: the unit's id; ESC Z is DECID, an older DA1.
  parser.registerCsiHandler({ prefix: '=', final: 'c' }, (params) =>
    Number(params[0] ?? 0) > 0 ? true : say('\x1bP!|00000000\x1b\\'),
  )
  parser.registerEscHandler({ final: 'Z' }, () => say('\x1b[?1;2c'))
  // XTVERSION and XTQMODKEYS.
  parser.registerCsiHandler({ prefix: '>', final: 'q' }, () => say('\x1bP>|mahavishnu\x1b\\'))
  parser.registerCsiHandler({ prefix: '?', final: 'm' }, (params) => (params[0] === 4 ? say('\x1b[>4;0m') : true))
  // Colour scheme (contour's mode 2031): dark.
  parser.registerCsiHandler({ prefix: '?', final: 'n' }, (params) => (params[0] === 996 ? say('\x1b[?997;1n') : false))
  parser.registerCsiHandler({ final: 't' }, (params) => {
    const { rows, cols } = terminal
    if (params[0] === 14) return say(`\x1b[4;${rows * CELL.height};${cols * CELL.width}t`)
    return params[0] === 16 ? say(`\x1b[6;${CELL.height};${CELL.width}t`) : false
  })
  // XTGETTCAP: nothing beyond terminfo.
  parser.registerDcsHandler({ intermediates: '+', final: 'q' }, () => say('\x1bP0+r\x1b\\'))
  answerColours(terminal, say)
}

function answerColours(terminal: Terminal, say: (text: string) => boolean): void {
  const defaults = [FOREGROUND, BACKGROUND, FOREGROUND]
  // One sequence may ask for several: `OSC 10 ; ? ; ? ST` is 10 and 11.
  for (const first of [10, 11, 12]) {
    terminal.parser.registerOscHandler(first, (data) => {
      for (const [index, value] of data.split(';').slice(0, defaults.length).entries()) {
        const colour = defaults[first - 10 + index]
        if (value === '?' && colour !== undefined) say(`\x1b]${first + index};${xColour(colour)}\x1b\\`)
      }
      return true
    })
  }
  terminal.parser.registerOscHandler(4, (data) => {
    const words = data.split(';').slice(0, 512)
    for (let at = 0; at + 1 < words.length; at += 2) {
      const index = Number(words[at])
      if (words[at + 1] === '?' && Number.isInteger(index) && index >= 0 && index < 256) {
        say(`\x1b]4;${index};${xColour(paletteColour(index))}\x1b\\`)
      }
    }
    return true
  })
}
