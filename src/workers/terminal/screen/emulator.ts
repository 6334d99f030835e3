import type { Terminal } from '@xterm/headless'
import type { InputModes } from '../keys/key-events.ts'
import { boundCounts } from './bounded-counts.ts'
import { boundedWidths } from './character-width.ts'
import { answerQueries } from './terminal-answers.ts'

/** One emulated terminal, with what xterm.js knows and does not tell. */
export interface Emulator {
  readonly terminal: Terminal
  /** Resolves when these bytes are on the screen. */
  write(bytes: Uint8Array): Promise<void>
  /** Answers to the program that came up since this was asked last. */
  takeAnswers(): string
  title(): string
  cursorVisible(): boolean
  modes(): InputModes
  /** Whether line feeds at the bottom scroll the whole screen. */
  scrollsWhole(): boolean
  dispose(): void
}

/** Characters of answers that are kept for one batch of output; a program that asks for more reads nothing of it. */
const MAX_ANSWERS = 4096
const MAX_TITLE = 256
/** Bytes emulated in one go, which takes some milliseconds: other sessions have their turn before the next ones. */
const SLICE_BYTES = 16_384

const WIDTHS = 'mahavishnu'

/** Loaded with the first screen that somebody looks at: 20 ms and a few MB that most processes never need. */
async function loadXterm() {
  const [headless, unicode] = await Promise.all([import('@xterm/headless'), import('@xterm/addon-unicode11')])
  return { ...exportsOf(headless), ...exportsOf(unicode) }
}

/** Both are CommonJS bundles of which Node sees no names. */
function exportsOf<T extends object>(module: T): T {
  return 'default' in module ? (module.default as T) : module
}

export async function createEmulator(size: { rows: number; cols: number }, scrollback: number): Promise<Emulator> {
  const { Terminal, Unicode11Addon } = await loadXterm()
  const terminal = new Terminal({
    ...size,
    scrollback,
    allowProposedApi: true,
    logLevel: 'off',
    windowOptions: {
      getWinSizeChars: true,
      getWinSizePixels: true,
      getCellSizePixels: true,
      pushTitle: true,
      popTitle: true,
    },
  })
  // The add-on's table, caught on its way, is the base of ours.
  const register = terminal.unicode.register.bind(terminal.unicode)
  const catcher = {
    unicode: { register: (base: Parameters<typeof register>[0]) => register(boundedWidths(base, WIDTHS)) },
  }
  new Unicode11Addon().activate(catcher as unknown as Terminal)
  terminal.unicode.activeVersion = WIDTHS

  let answers = ''
  let title = ''
  const answer = (text: string) => {
    if (answers.length + text.length <= MAX_ANSWERS) answers += text
  }
  terminal.onData(answer)
  terminal.onTitleChange((text) => {
    title = cleanTitle(text)
  })
  answerQueries(terminal, answer)
  boundCounts(terminal)
  // Nobody asks for the addresses of links, and xterm.js keeps all of them for as long as their line is there.
  terminal.parser.registerOscHandler(8, () => true)
  const hidden = followHidden(terminal)

  return {
    terminal,
    async write(bytes) {
      for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
        await new Promise<void>((resolve) => terminal.write(bytes.subarray(at, at + SLICE_BYTES), resolve))
      }
    },
    takeAnswers() {
      const taken = answers
      answers = ''
      return taken
    },
    title: () => title,
    cursorVisible: () => hidden.cursorVisible,
    modes: () => ({
      applicationCursor: terminal.modes.applicationCursorKeysMode,
      applicationKeypad: terminal.modes.applicationKeypadMode,
      bracketedPaste: terminal.modes.bracketedPasteMode,
      mouse: terminal.modes.mouseTrackingMode,
      mouseSgr: hidden.mouseSgr,
    }),
    scrollsWhole: () => !hidden.region[terminal.buffer.active.type],
    dispose: () => terminal.dispose(),
  }
}

/** A title goes into lists, logs and people's terminals: no controls, no changes of direction, and bounded. */
function cleanTitle(text: string): string {
  return text
    .slice(0, MAX_TITLE * 2)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '')
    .slice(0, MAX_TITLE)
}

/** Modes that xterm.js keeps to itself, read from the sequences on their way to it. */
function followHidden(terminal: Terminal) {
  const state = { cursorVisible: true, mouseSgr: false, region: { normal: false, alternate: false } }
  const reset = () => {
    state.cursorVisible = true
    state.region[terminal.buffer.active.type] = false
  }
  const set = (on: boolean) => (params: (number | number[])[]) => {
    if (params.includes(25)) state.cursorVisible = on
    if (params.includes(1006)) state.mouseSgr = on
    return false
  }
  terminal.parser.registerCsiHandler({ prefix: '?', final: 'h' }, set(true))
  terminal.parser.registerCsiHandler({ prefix: '?', final: 'l' }, set(false))
  terminal.parser.registerCsiHandler({ final: 'r' }, ([top, bottom]) => {
    const whole = Number(top ?? 0) <= 1 && (!bottom || Number(bottom) >= terminal.rows)
    state.region[terminal.buffer.active.type] = !whole
    return false
  })
  terminal.parser.registerCsiHandler({ intermediates: '!', final: 'p' }, () => {
    reset()
    return false
  })
  terminal.parser.registerEscHandler({ final: 'c' }, () => {
    reset()
    state.mouseSgr = false
    state.region = { normal: false, alternate: false }
    return false
  })
  return state
}
