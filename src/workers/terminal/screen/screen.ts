import type { IBufferCell, IMarker } from '@xterm/headless'
import { mhvError } from '../../../core/errors.ts'
import type { InputModes } from '../keys/key-events.ts'
import { createEmulator, type Emulator } from './emulator.ts'
import { fastForward } from './fast-forward.ts'
import {
  lineRuns,
  linesBetween,
  lineText,
  type ScreenCursor,
  type ScreenDifference,
  type Snapshot,
  screenLines,
} from './snapshot.ts'
import { createStreamScanner, type ShellMark } from './stream-scanner.ts'
import { screenSvg } from './svg.ts'

/** Rows that scrolled off and are kept to be shown; all of the output is in the session's scrollback. */
export const DEFAULT_HISTORY = 200
/** Bytes that wait to be emulated while nobody looks. More are emulated, or skipped where they change nothing. */
const MAX_WAITING = 131_072
/** Bytes emulated at once: at most those that may wait and one window of the session. */
const MAX_BATCH = 524_288
/** A watcher sees the screen at least once for so many bytes, and for so many lines as the history holds. */
const WATCHED_BATCH = 16_384

const LF = 0x0a

export interface ScreenOptions {
  readonly rows: number
  readonly cols: number
  /** Rows of history. */
  readonly history?: number
  /** Answers to what the program has asked its terminal; once per question, however many people look. */
  answer(bytes: Uint8Array): void
}

/** What a watcher is told after a piece of output is on the screen. */
export interface ScreenView {
  readonly offset: number
  /** Text of every row, top to bottom. */
  lines(): readonly string[]
  /** The rows joined where a line went on in the next row; the lines that scrolled off since the last view first. */
  text(): string
  cursor(): ScreenCursor
}

export interface Screen {
  /**
   * Takes the next output. Where it returns a promise, so much is waiting that the sender should wait too. Nothing is
   * emulated before somebody looks, the program asks something, or too much is waiting.
   *
   * @param replayed output that was there before: what the program asked in it has been answered already
   */
  feed(bytes: Uint8Array, offset: number, replayed?: boolean): void | Promise<void>
  /** What was before the first byte is not known. */
  markIncomplete(): void
  resize(rows: number, cols: number): Promise<void>
  snapshot(options?: { readonly runs?: boolean; readonly history?: number }): Promise<Snapshot>
  difference(since: number): Promise<ScreenDifference>
  svg(): Promise<string>
  modes(): Promise<InputModes>
  /** Called after each piece of output from now on, in order; first of all with the screen as it is. */
  watch(watcher: (view: ScreenView) => void): Promise<() => void>
  /** Marks of the shell, as soon as their bytes arrive. */
  onMark(listener: (mark: ShellMark) => void): () => void
  /** Every piece of output as it is fed, after the marks in it were told. */
  onOutput(tap: (bytes: Uint8Array, offset: number) => void): () => void
  /** The last mark that came, also before anybody listened. */
  lastMark(): ShellMark | undefined
  /** Whether the shell marks its prompts. */
  marksPrompts(): boolean
  /** Cursor after the last byte that was fed. */
  end(): number
  /** Whether an emulator is there; it takes memory. */
  emulated(): boolean
  dispose(): void
}

interface Piece {
  readonly bytes: Uint8Array
  readonly end: number
  readonly replayed: boolean
  /** It begins between sequences. */
  readonly ground: boolean
}

/** A screen of a terminal with a program in it. */
export function createScreen(options: ScreenOptions): Screen {
  const history = options.history ?? DEFAULT_HISTORY
  const size = { rows: options.rows, cols: options.cols }
  const watchers = new Set<(view: ScreenView) => void>()
  const listeners = new Set<(mark: ShellMark) => void>()
  const taps = new Set<(bytes: Uint8Array, offset: number) => void>()
  let waiting: Piece[] = []
  let waitingBytes = 0
  let asked = false
  let end = 0
  let shown = 0
  let complete = true
  let disposed = false
  let lastMark: ShellMark | undefined
  let marksPrompts = false
  let emulator: Emulator | undefined
  let working: Promise<void> | undefined
  let seenTo: IMarker | undefined

  const scanner = createStreamScanner({
    query: () => {
      asked = true
    },
    mark: (mark) => {
      lastMark = mark
      marksPrompts ||= mark.kind === 'A'
      for (const listener of listeners) listener(mark)
    },
  })

  /** Puts all that waits on the screen; one at a time. */
  const drain = (): Promise<void> => {
    working ??= work()
    return working
  }

  const work = async () => {
    try {
      const active = await load()
      while (waiting.length > 0 && !disposed) await showNext(active, take())
    } finally {
      // Not a moment later: what is fed from now on must start the work again.
      working = undefined
      asked = false
    }
  }

  const showNext = async (active: Emulator, piece: Piece) => {
    await active.write(shortened(active, piece))
    shown = piece.end
    const answers = active.takeAnswers()
    if (answers !== '' && !piece.replayed) options.answer(Buffer.from(answers, 'latin1'))
    if (watchers.size > 0 && !disposed) show(active)
  }

  const load = async (): Promise<Emulator> => {
    if (disposed) throw mhvError('MHV_TERMINAL_ENDED', 'the screen of this session is closed')
    emulator ??= await createEmulator(size, history)
    return emulator
  }

  /** The next pieces as one, within the bounds of a batch. */
  const take = (): Piece => {
    const first = waiting[0] as Piece
    if (watchers.size > 0) return takeWatched(first)
    let count = 0
    let bytes = 0
    for (const piece of waiting) {
      if (piece.replayed !== first.replayed || (count > 0 && bytes + piece.bytes.length > MAX_BATCH)) break
      count += 1
      bytes += piece.bytes.length
    }
    const taken = waiting.slice(0, count)
    waiting = waiting.slice(count)
    waitingBytes -= bytes
    const last = taken.at(-1) as Piece
    return {
      ...first,
      end: last.end,
      bytes: count === 1 ? first.bytes : Buffer.concat(taken.map((piece) => piece.bytes)),
    }
  }

  const takeWatched = (first: Piece): Piece => {
    const length = watchedLength(first.bytes, history, size.cols)
    waitingBytes -= length
    if (length === first.bytes.length) {
      waiting = waiting.slice(1)
      return first
    }
    const rest = first.bytes.subarray(length)
    waiting = [{ ...first, bytes: rest, ground: false }, ...waiting.slice(1)]
    return { ...first, bytes: first.bytes.subarray(0, length), end: first.end - rest.length }
  }

  const shortened = (active: Emulator, piece: Piece): Uint8Array => {
    if (watchers.size > 0 || !piece.ground || !active.scrollsWhole()) return piece.bytes
    return fastForward(piece.bytes, 2 * size.rows + history) ?? piece.bytes
  }

  /** What scrolls off the screen from now on is still to be shown to the watchers. */
  const markSeen = ({ terminal }: Emulator) => {
    seenTo?.dispose()
    const { type, cursorY } = terminal.buffer.active
    seenTo = type === 'normal' ? terminal.registerMarker(-cursorY) : undefined
  }

  const show = (active: Emulator) => {
    const { terminal } = active
    const buffer = terminal.buffer.active
    // A marker moves with its line, and is gone with it.
    const from =
      seenTo && !seenTo.isDisposed && seenTo.line >= 0 ? Math.min(seenTo.line, buffer.baseY) : seenTo ? 0 : buffer.baseY
    markSeen(active)
    let lines: readonly string[] | undefined
    const view: ScreenView = {
      offset: shown,
      lines: () => {
        lines ??= screenLines(terminal).map(lineText)
        return lines
      },
      text: () => joinedText(active, buffer.type === 'normal' ? from : buffer.baseY),
      cursor: () => cursorOf(active),
    }
    for (const watcher of watchers) watcher(view)
  }

  const revisions = createRevisions()
  const look = async (): Promise<Emulator> => {
    await drain()
    const active = await load()
    revisions.look(active)
    return active
  }
  const state = (active: Emulator) => ({
    cursor: cursorOf(active),
    alternate: active.terminal.buffer.active.type === 'alternate',
    title: active.title(),
    offset: shown,
    revision: revisions.current(),
  })

  return {
    feed(bytes, offset, replayed = false) {
      if (disposed || bytes.length === 0) return undefined
      const ground = scanner.ground()
      const kept = scanner.scan(bytes, offset)
      if (replayed) asked = false
      end = offset + bytes.length
      for (const tap of taps) tap(bytes, offset)
      waiting.push({ bytes: kept, end, replayed, ground })
      waitingBytes += kept.length
      const full = waitingBytes > MAX_WAITING
      if (!full && !asked && watchers.size === 0) return undefined
      const drained = drain()
      return full ? drained : undefined
    },
    markIncomplete() {
      complete = false
    },
    async resize(rows, cols) {
      await drain()
      Object.assign(size, { rows, cols })
      emulator?.terminal.resize(cols, rows)
      if (emulator) revisions.forget()
    },
    async snapshot(wanted = {}) {
      const active = await look()
      const { terminal } = active
      const scratch = terminal.buffer.active.getNullCell()
      const lines = screenLines(terminal)
      const above = terminal.buffer.active.baseY
      return {
        ...size,
        lines: lines.map(lineText),
        ...state(active),
        complete,
        ...(wanted.runs ? { runs: lines.map((line) => lineRuns(line, scratch)) } : {}),
        ...(wanted.history === undefined
          ? {}
          : { history: linesBetween(terminal, Math.max(0, above - wanted.history), above).map(lineText) }),
      }
    },
    async difference(since) {
      const active = await look()
      const changed = revisions.changedSince(since)
      const lines = screenLines(active.terminal).map(lineText)
      const rows = (changed ?? lines.map((_, row) => row)).map((row) => ({ row, text: lines[row] ?? '' }))
      return { full: changed === undefined, rows, ...state(active) }
    },
    async svg() {
      const { runs = [], ...rest } = await this.snapshot({ runs: true })
      return screenSvg({ ...rest, runs })
    },
    async modes() {
      await drain()
      return (await load()).modes()
    },
    async watch(watcher) {
      await drain()
      const active = await load()
      if (watchers.size === 0) markSeen(active)
      watchers.add(watcher)
      watcher({
        offset: shown,
        lines: () => screenLines(active.terminal).map(lineText),
        text: () => joinedText(active, active.terminal.buffer.active.baseY),
        cursor: () => cursorOf(active),
      })
      return () => {
        watchers.delete(watcher)
      }
    },
    onMark(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    onOutput(tap) {
      taps.add(tap)
      return () => taps.delete(tap)
    },
    lastMark: () => lastMark,
    marksPrompts: () => marksPrompts,
    end: () => end,
    emulated: () => emulator !== undefined,
    dispose() {
      disposed = true
      waiting = []
      watchers.clear()
      listeners.clear()
      taps.clear()
      emulator?.dispose()
      emulator = undefined
    },
  }
}

/** How much of a piece is put on the screen before watchers look again. */
function watchedLength(bytes: Uint8Array, lines: number, cols: number): number {
  const most = Math.min(bytes.length, WATCHED_BATCH, Math.max(lines, 1) * cols)
  let at = -1
  for (let count = 0; count < Math.max(lines, 1); count++) {
    at = bytes.indexOf(LF, at + 1)
    if (at === -1 || at >= most) return most
  }
  return at + 1
}

function cursorOf({ terminal, cursorVisible }: Emulator): ScreenCursor {
  const { cursorX, cursorY } = terminal.buffer.active
  return { row: cursorY, col: Math.min(cursorX, terminal.cols - 1), visible: cursorVisible() }
}

/** Lines from an index of the buffer on, joined where they went on in the next row. */
function joinedText({ terminal }: Emulator, from: number): string {
  const buffer = terminal.buffer.active
  let text = ''
  let first = true
  for (const line of linesBetween(terminal, from, buffer.baseY + terminal.rows)) {
    if (!line.isWrapped && !first) text = `${text.trimEnd()}\n`
    text += line.translateToString(false)
    first = false
  }
  return text.trimEnd()
}

/** Which rows changed since which look. */
function createRevisions() {
  let current = 0
  let known = 1
  let keys: readonly string[] = []
  let changed: number[] = []

  return {
    current: () => current,
    look({ terminal }: Emulator) {
      const scratch: IBufferCell = terminal.buffer.active.getNullCell()
      const now = screenLines(terminal).map((line) => JSON.stringify(lineRuns(line, scratch)))
      const next = current + 1
      const differing = now.filter((key, row) => key !== keys[row])
      if (differing.length === 0 && current > 0) return
      changed = now.map((key, row) => (key === keys[row] ? (changed[row] ?? next) : next))
      keys = now
      current = next
    },
    /** Rows that differ from what was seen at that revision; undefined where that is not known. */
    changedSince(revision: number): readonly number[] | undefined {
      if (revision < known || revision > current) return undefined
      return changed.flatMap((at, row) => (at > revision ? [row] : []))
    },
    /** After a resize no row is what it was. */
    forget() {
      keys = []
      changed = []
      known = current + 1
    },
  }
}
