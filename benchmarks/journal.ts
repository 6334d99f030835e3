/** The journal: what group commit over a thread costs beside a loop that has SQLite to itself. */
import { join } from 'node:path'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { interleave } from './harness/interleave.ts'
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
  const count = options.quick ? 1_600 : 16_000
  const rate = ({ seconds }: { readonly seconds: number }) => count / seconds
  const values = await interleave(
    {
      ours: async () => rate(await ours.call('rows', { count, writers: WRITERS })),
      peer: async () => rate(await peer.call('rows', { count, perTransaction: WRITERS })),
    },
    interleavingOf(options, 'rows'),
  )
  return toRow(
    {
      name: 'journal.rows.16',
      title: 'rows that 16 concurrent writers commit through the store, beside one thread with 16 rows per transaction',
      unit: 'rows/s',
      better: 'higher',
      ours: values.ours,
      peer: sqlite(values.peer),
      goal: { of: 'ratio', is: '>=', limit: 0.8 },
      settings: { writers: WRITERS, rows_per_transaction: WRITERS, rows_per_round: count, row_bytes: rowBytes, ...pragmas },
    },
    options,
  )
}

async function runs(options: BenchOptions, { ours, peer, pragmas }: Sides): Promise<Row> {
  const count = options.quick ? 800 : 8_000
  const rate = ({ seconds }: { readonly seconds: number }) => count / seconds
  const values = await interleave(
    {
      ours: async () => rate(await ours.call('runs', { count, writers: WRITERS })),
      peer: async () => rate(await peer.call('runs', { count, perTransaction: WRITERS })),
    },
    interleavingOf(options, 'whole runs'),
  )
  return toRow(
    {
      name: 'journal.runs.16',
      title: 'runs that 16 concurrent callers begin and finish, each waiting for both commits',
      unit: 'runs/s',
      better: 'higher',
      ours: values.ours,
      peer: sqlite(values.peer),
      settings: { writers: WRITERS, runs_per_transaction: WRITERS, runs_per_round: count, events_per_run: 3, ...pragmas },
    },
    options,
  )
}

async function delay(options: BenchOptions, { ours }: Sides): Promise<Row> {
  const seconds = options.quick ? 0.5 : 4
  const longest: number[] = []
  const achieved: number[] = []
  const values = await interleave(
    {
      ours: async (round) => {
        const load = { perSecond: RUNS_PER_SECOND, seconds, resolution: RESOLUTION }
        const { p99, max, seconds: took } = await ours.call('delay', load)
        if (round >= 0) {
          longest.push(max)
          achieved.push((RUNS_PER_SECOND * seconds) / took)
        }
        return p99
      },
      peer: async () => (await ours.call('delay', { perSecond: 0, seconds, resolution: RESOLUTION })).p99,
    },
    interleavingOf(options, 'event loop'),
  )
  return toRow(
    {
      name: 'journal.delay.p99',
      title: 'event loop delay (p99) of the main thread while it journals 2,000 runs/s, beside the same thread at rest',
      unit: 'ms',
      better: 'lower',
      ours: values.ours,
      peer: { name: 'the same event loop, idle', version: `Node ${process.version}`, values: values.peer },
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
