import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { createScreen } from '../../src/workers/terminal/screen/screen.ts'
import type { Snapshot, StyledRun } from '../../src/workers/terminal/screen/snapshot.ts'
import { createStreamScanner } from '../../src/workers/terminal/screen/stream-scanner.ts'
import { tmuxScreen } from '../helpers/tmux-screen.ts'

const SIZE = { rows: 24, cols: 80 }
const CORPUS = join(import.meta.dirname, '../fixtures/terminal')
/** Each recording is compared at its end and at so many places before. */
const CUTS = 4

async function snapshotOf(bytes: Uint8Array): Promise<Snapshot> {
  const screen = createScreen({ ...SIZE, answer: () => undefined })
  await screen.feed(bytes, 0)
  const snapshot = await screen.snapshot({ runs: true })
  screen.dispose()
  return snapshot
}

/** Places between sequences, about evenly spread: there a status can be asked without breaking anything. */
function cutsOf(bytes: Uint8Array): readonly number[] {
  const scanner = createStreamScanner({ query: () => undefined, mark: () => undefined })
  const cuts: number[] = []
  for (let at = 0; at < bytes.length; at++) {
    scanner.scan(bytes.subarray(at, at + 1), at)
    const isBetween = scanner.ground() && (bytes[at] as number) < 0x80 && ((bytes[at + 1] ?? 0) & 0xc0) !== 0x80
    if (isBetween && at >= ((cuts.length + 1) * bytes.length) / (CUTS + 1)) cuts.push(at + 1)
  }
  return [...cuts.slice(0, CUTS), bytes.length]
}

type Cell = Omit<StyledRun, 'col' | 'width' | 'text'>

/** How every column of a row looks; the ends of rows that look as usual are left out. */
function cellsOf(runs: readonly StyledRun[]): readonly string[] {
  const cells: string[] = []
  for (const { col, width, text, ...style } of runs) {
    // Of a blank, only the background can be seen, and what is drawn through it.
    const seen: Cell = text.trim() === '' ? withoutInk(style) : style
    for (let at = col; at < col + width; at++) cells[at] = JSON.stringify(seen)
  }
  while (cells.length > 0 && cells.at(-1) === '{}') cells.pop()
  return cells
}

function withoutInk({ bg, inverse, underline, fg, ...rest }: Cell): Cell {
  return {
    ...(bg === undefined ? {} : { bg }),
    ...(inverse ? { inverse, ...(fg === undefined ? {} : { fg }) } : {}),
    ...(underline ? { underline } : {}),
    ...(rest.strikethrough ? { strikethrough: true } : {}),
  }
}

for (const file of (await readdir(CORPUS)).filter((name) => name.endsWith('.bin')).sort()) {
  test(`TTY-02: the screen of ${file} is tmux's: characters, widths, cursor and attributes`, {
    timeout: 120_000,
  }, async () => {
    const bytes = await readFile(join(CORPUS, file))
    const cuts = cutsOf(bytes)
    assert.ok(cuts.length > 1 && bytes.length > 500, 'a recording with something in it')
    for (const cut of cuts) {
      const [ours, theirs] = await Promise.all([
        snapshotOf(bytes.subarray(0, cut)),
        tmuxScreen(bytes.subarray(0, cut), SIZE),
      ])
      // tmux writes line drawing as shifted letters (SO), without saying which set that is.
      const shown = await snapshotOf(Buffer.from(`\x1b)0${theirs.styled.join('\r\n')}`))
      assert.deepEqual(ours.lines, shown.lines, `characters at ${cut} of ${bytes.length}`)
      const cursor = { ...theirs.cursor, col: Math.min(theirs.cursor.col, SIZE.cols - 1) }
      assert.deepEqual(ours.cursor, cursor, `cursor at ${cut}`)
      assert.equal(ours.alternate, theirs.alternate, `alternate screen at ${cut}`)
      for (const [row, runs] of (ours.runs ?? []).entries()) {
        const [mine, its] = [cellsOf(runs), cellsOf(shown.runs?.[row] ?? [])]
        const where = `row ${row} at ${cut}: ${ours.lines[row]}`
        assert.deepEqual(mine.slice(0, its.length), its, `attributes of ${where}`)
        // tmux keeps the colour of what was erased behind the last character, and does not tell it.
        const isErased = (cell: string) => /^\{"bg":[^,]+\}$/.test(cell)
        assert.ok(mine.slice(its.length).every(isErased), `only erased cells behind what tmux tells of ${where}`)
      }
    }
  })
}

/** Where the screen is not tmux's (3.3); docs/guides/terminal-screen.md names them. It is xterm's in both. */
const deviations = [
  {
    name: 'a wide character of which one half is written over',
    text: '宽字\x1b[3Dx',
    ours: [' x字', 2],
    theirs: ['宽x字', 2],
  },
  {
    name: 'an emoji of several, joined by U+200D',
    text: '👩\u200d🚀|',
    ours: ['👩\u200d🚀|', 5],
    theirs: ['👩\u200d🚀|', 3],
  },
] as const

for (const { name, text, ours, theirs } of deviations) {
  test(`TTY-02: named deviation from tmux: ${name}`, { timeout: 60_000 }, async () => {
    const [mine, its] = await Promise.all([snapshotOf(Buffer.from(text)), tmuxScreen(Buffer.from(text), SIZE)])
    assert.deepEqual([mine.lines[0], mine.cursor.col], ours)
    assert.deepEqual([its.styled[0]?.trimEnd(), its.cursor.col], theirs)
  })
}
