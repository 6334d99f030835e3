/** Terminal sessions: their throughput beside node-pty, tmux and pexpect, the time of a key, and their memory. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Area, BenchOptions } from './harness/area.ts'
import { interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { interleave, ratePerSecond } from './harness/interleave.ts'
import { packageVersion } from './harness/machine.ts'
import { procMissing } from './harness/process.ts'
import { type Goal, type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { median } from './harness/stats.ts'
import { type ProgramMemory, programMemory } from './harness/terminal-program.ts'
import { tmuxFlood, tmuxVersion } from './peers/tmux-pipe.ts'
import type { TerminalSide } from './sides/terminal.ts'

const LINES = 6_500_000
const QUICK_LINES = 500_000
const SESSIONS = 20
const IDLE_SESSIONS = 100
/** Memory varies little, and each round starts the program anew. */
const IDLE_ROUNDS = 3

interface Flood {
  readonly file: string
  readonly bytes: number
  readonly last: string
}

interface Parts {
  readonly ours: Side<TerminalSide>
  readonly stock: Side<TerminalSide>
  readonly flood: Flood
  readonly folder: string
}

/** A file of numbered lines, 51 MB, which a terminal makes a byte longer for each line. */
function makeFlood(folder: string, quick: boolean): Flood {
  const count = quick ? QUICK_LINES : LINES
  const lines: string[] = []
  for (let line = 1; line < count; line++) lines.push(String(line))
  const last = 'the-end-of-all-lines'
  const text = `${lines.join('\n')}\n${last}\n`
  const file = join(folder, 'flood.txt')
  writeFileSync(file, text)
  return { file, bytes: text.length + count, last }
}

interface Peer {
  readonly name: string
  readonly version: string
  measure(): Promise<number>
}

async function throughput(
  options: BenchOptions,
  { ours, flood }: Parts,
  row: {
    readonly name: string
    readonly title: string
    readonly method: 'bytes' | 'screen' | 'wait'
    readonly goal: Goal
  },
  peer: Peer,
): Promise<Row> {
  const { name, title, method, goal } = row
  const values = await interleave(
    { ours: () => ours.call(method, flood), peer: peer.measure },
    interleavingOf(options, title, 2),
  )
  const rate = (seconds: readonly (readonly number[])[]) => ratePerSecond(seconds, flood.bytes / 1e6)
  return toRow(
    {
      name,
      title,
      unit: 'MB/s',
      better: 'higher',
      ours: rate(values.ours),
      peer: { name: peer.name, version: peer.version, values: rate(values.peer) },
      goal,
      settings: { bytes: flood.bytes, rows: 24, cols: 80 },
    },
    options,
  )
}

function pexpectFlood({ file, last }: Flood): Promise<number> {
  const script = join(import.meta.dirname, 'peers/pexpect-flood.py')
  const { status, stdout, stderr } = spawnSync('python3', [script, file, last], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`pexpect: ${stderr}`)
  return Promise.resolve(Number(stdout))
}

function pexpectVersion(): string | undefined {
  const { status, stdout } = spawnSync('python3', ['-c', 'import pexpect; print(pexpect.__version__)'], {
    encoding: 'utf8',
  })
  return status === 0 ? stdout.trim() : undefined
}

async function keystrokes(options: BenchOptions, { ours }: Parts): Promise<Row> {
  const strokes = options.quick ? 10 : 50
  const { ours: values } = await interleave(
    { ours: async () => percentile(await ours.call('keys', { count: SESSIONS, strokes }), 0.95) },
    interleavingOf(options, `keys in ${SESSIONS} sessions`, 1),
  )
  return toRow(
    {
      name: 'terminal.key.p95.20',
      title: `from a key to the screen that shows it (p95), a key in each of ${SESSIONS} sessions at once`,
      unit: 'ms',
      better: 'lower',
      ours: values.map((each) => Math.max(...each)),
      goal: { of: 'ours', is: '<=', limit: 20 },
      settings: { sessions: SESSIONS, strokes },
    },
    options,
  )
}

function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)] as number
}

/** Of the program as it is installed: `mahavishnu mcp` from dist, with its PTY host. */
async function idleMemory(options: BenchOptions, folder: string, look: boolean): Promise<Row> {
  const all: ProgramMemory[] = []
  const rounds = Math.min(IDLE_ROUNDS, options.rounds)
  for (let round = 0; round < rounds; round++) {
    options.say(`  memory of ${IDLE_SESSIONS} idle sessions: round ${round + 1} of ${rounds}`)
    all.push(await programMemory(join(folder, `idle-${look}-${round}`), IDLE_SESSIONS, look))
  }
  const middle = (of: keyof ProgramMemory) => Math.round(median(all.map((each) => each[of])))
  return toRow(
    {
      name: look ? 'terminal.seen.rss.100' : 'terminal.idle.rss.100',
      title: `resident memory of mahavishnu mcp and its PTY host, ${IDLE_SESSIONS} idle sessions${look ? ' that were all looked at' : ''}`,
      unit: 'MB',
      better: 'lower',
      ours: all.map(({ main, host }) => main + host),
      ...(look ? {} : { goal: { of: 'ours', is: '<=', limit: 200 } as const }),
      settings: {
        sessions: IDLE_SESSIONS,
        program: 'sh -i',
        main_mb: middle('main'),
        host_mb: middle('host'),
        without_sessions_mb: middle('none'),
        shared_pages_once_mb: middle('shared_once'),
      },
    },
    options,
  )
}

async function openSide(folder: string): Promise<Side<TerminalSide>> {
  mkdirSync(folder, { recursive: true })
  const side = await startSide<TerminalSide>(new URL('./sides/terminal.ts', import.meta.url))
  await side.call('open', { folder })
  return side
}

async function rowsOf(options: BenchOptions, parts: Parts): Promise<readonly Row[]> {
  const { stock, flood, folder } = parts
  const of = (limit: number): Goal => ({ of: 'ratio', is: '>=', limit })
  const raw = {
    name: '@lydell/node-pty',
    version: packageVersion('@lydell/node-pty'),
    measure: () => stock.call('raw', flood),
  }
  const tmux = { name: 'tmux pipe-pane', version: tmuxVersion(), measure: () => tmuxFlood(folder, flood) }
  const pexpect = { name: 'pexpect expect', version: pexpectVersion() ?? '', measure: () => pexpectFlood(flood) }
  return [
    await throughput(
      options,
      parts,
      { name: 'terminal.bytes', title: 'output without a screen', method: 'bytes', goal: of(0.9) },
      raw,
    ),
    await throughput(
      options,
      parts,
      { name: 'terminal.screen', title: 'output with a screen', method: 'screen', goal: of(1) },
      tmux,
    ),
    await throughput(
      options,
      parts,
      {
        name: 'terminal.wait',
        title: 'output with a screen and a wait for its last line',
        method: 'wait',
        goal: of(1.2),
      },
      pexpect,
    ),
    await keystrokes(options, parts),
    await idleMemory(options, folder, false),
    await idleMemory(options, folder, true),
  ]
}

export const terminal: Area = {
  name: 'terminal',
  summary: 'terminal sessions beside node-pty, tmux and pexpect, keys and memory',
  missing() {
    if (tmuxVersion() === '') return 'there is no tmux (apt-get install tmux)'
    if (pexpectVersion() === undefined) return 'there is no pexpect (apt-get install python3-pexpect)'
    return procMissing()
  },
  run: (options) =>
    withFolder('terminal', async (folder) => {
      const flood = makeFlood(folder, options.quick)
      const sides: Side<TerminalSide>[] = []
      try {
        const ours = await openSide(join(folder, 'ours'))
        sides.push(ours)
        const stock = await startSide<TerminalSide>(new URL('./sides/terminal.ts', import.meta.url))
        sides.push(stock)
        return await rowsOf(options, { ours, stock, flood, folder })
      } finally {
        await Promise.all(sides.map((side) => side.end()))
      }
    }),
}
