/** The journal: what group commit over a thread costs beside a loop that has SQLite to itself. */
import { join } from 'node:path'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { interleave, ratePerSecond } from './harness/interleave.ts'
import { type Peer, type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { rounded } from './harness/stats.ts'
import type { BareSqlite } from './peers/bare-sqlite.ts'
import type { JournalSide } from './sides/journal.ts'

const WRITERS = 16
const RUNS_PER_SECOND = 2_000
/** Milliseconds; the least that Node allows. */
const RESOLUTION = 1

interface Sides {
  readonly ours: Side<JournalSide>
  readonly peer: Side<BareSqlite>
  readonly pragmas: Readonly<Record<string, string | number>>
  readonly rowBytes: number
}

const sqlite = (values: readonly number[]): Peer => ({
  name: 'bare node:sqlite loop',
  version: `SQLite ${process.versions.sqlite}`,
  values,
})

async function rows(options: BenchOptions, { ours, peer, pragmas, rowBytes }: Sides): Promise<Row> {
  const perTurn = options.quick ? 1_600 : 800
  const turns = 20
  const values = await interleave(
    {
      ours: async () => (await ours.call('rows', { count: perTurn, writers: WRITERS })).seconds,
      peer: async () => (await peer.call('rows', { count: perTurn, perTransaction: WRITERS })).seconds,
    },
    interleavingOf(options, 'rows', turns),
  )
  return toRow(
    {
      name: 'journal.rows.16',
      title: 'rows that 16 concurrent writers commit through the store, beside one thread with 16 rows per transaction',
      unit: 'rows/s',
      better: 'higher',
      ours: ratePerSecond(values.ours, perTurn),
      peer: sqlite(ratePerSecond(values.peer, perTurn)),
      goal: { of: 'ratio', is: '>=', limit: 0.8 },
      settings: {
        writers: WRITERS,
        rows_per_transaction: WRITERS,
        rows_per_turn: perTurn,
        row_bytes: rowBytes,
        ...pragmas,
      },
    },
    options,
  )
}

async function runs(options: BenchOptions, { ours, peer, pragmas }: Sides): Promise<Row> {
  const perTurn = options.quick ? 800 : 400
  const turns = 20
  const values = await interleave(
    {
      ours: async () => (await ours.call('runs', { count: perTurn, writers: WRITERS })).seconds,
      peer: async () => (await peer.call('runs', { count: perTurn, perTransaction: WRITERS })).seconds,
    },
    interleavingOf(options, 'whole runs', turns),
  )
  return toRow(
    {
      name: 'journal.runs.16',
      title: 'runs that 16 concurrent callers begin and finish, each waiting for both commits',
      unit: 'runs/s',
      better: 'higher',
      ours: ratePerSecond(values.ours, perTurn),
      peer: sqlite(ratePerSecond(values.peer, perTurn)),
      settings: {
        writers: WRITERS,
        runs_per_transaction: WRITERS,
        runs_per_turn: perTurn,
        events_per_run: 3,
        ...pragmas,
      },
    },
    options,
  )
}

async function delay(options: BenchOptions, { ours }: Sides): Promise<Row> {
  const seconds = options.quick ? 0.5 : 4
  const longest: number[] = []
  const achieved: number[] = []
  const idle = { perSecond: 0, seconds, resolution: RESOLUTION }
  const values = await interleave(
    {
      ours: async () => {
        const { p99, max, seconds: took } = await ours.call('delay', { ...idle, perSecond: RUNS_PER_SECOND })
        longest.push(max)
        achieved.push((RUNS_PER_SECOND * seconds) / took)
        return p99
      },
      peer: async () => (await ours.call('delay', idle)).p99,
    },
    interleavingOf(options, 'event loop', 1),
  )
  return toRow(
    {
      name: 'journal.delay.p99',
      title: 'event loop delay (p99) of the main thread while it journals 2,000 runs/s, beside the same thread at rest',
      unit: 'ms',
      better: 'lower',
      ours: values.ours.flat(),
      peer: { name: 'the same event loop, idle', version: `Node ${process.version}`, values: values.peer.flat() },
      settings: {
        runs_per_second: RUNS_PER_SECOND,
        runs_per_second_achieved: rounded(Math.min(...achieved)),
        seconds_per_round: seconds,
        // The histogram has the time from one firing of a timer to the next, so this is its floor.
        resolution_ms: RESOLUTION,
        longest_ms: rounded(Math.max(...longest)),
      },
    },
    options,
  )
}

/** The same number of runs must be in both journals, or the two did not do the same work. */
async function checkCounts({ ours, peer }: Sides, delayed: number): Promise<void> {
  const [own, theirs] = await Promise.all([ours.call('count', undefined), peer.call('count', undefined)])
  if (own !== theirs + delayed) throw new Error(`our journal has ${own} runs, the peer's ${theirs} and ${delayed} more`)
}

async function openSides(folder: string, options: BenchOptions): Promise<Sides> {
  const ours = await startSide<JournalSide>(new URL('./sides/journal.ts', import.meta.url), options)
  const peer = await startSide<BareSqlite>(new URL('./peers/bare-sqlite.ts', import.meta.url))
  const { pragmas } = await ours.call('open', { path: join(folder, 'ours.db') })
  await peer.call('open', { path: join(folder, 'peer.db'), pragmas })
  return { ours, peer, pragmas, rowBytes: await peer.call('rowBytes', undefined) }
}

export const journal: Area = {
  name: 'journal',
  summary: 'rows and runs per second of the journal beside bare node:sqlite, and the main thread meanwhile',
  missing: () => undefined,
  run: (options) =>
    withFolder('journal', async (folder) => {
      const sides = await openSides(folder, options)
      try {
        const measured = [await rows(options, sides), await runs(options, sides)]
        await checkCounts(sides, 0)
        return [...measured, await delay(options, sides)]
      } finally {
        await Promise.all([sides.ours.end(), sides.peer.end()])
      }
    }),
}
