/** The peer of the journal: one thread that has SQLite to itself. Rows are encoded before the clock starts. */
import { encodeRun } from '../../src/store/rows.ts'
import { serveSide } from '../harness/side.ts'
import { median } from '../harness/stats.ts'
import { SAMPLE_END, sampleRun } from '../sample-run.ts'
import { type BareJournal, type BareJournalOptions, openBareJournal, type RowId } from './bare-journal.ts'

let journal: BareJournal

/** Calls `work` for each group of `size`, and tells how long all of them took. */
function timed<T>(items: readonly T[], size: number, work: (group: readonly T[]) => void): { seconds: number } {
  const began = performance.now()
  for (let at = 0; at < items.length; at += size) work(items.slice(at, at + size))
  return { seconds: (performance.now() - began) / 1000 }
}

const methods = {
  async open(options: BareJournalOptions): Promise<void> {
    journal = openBareJournal(options)
  },
  /** Bytes of one row, as text. */
  async rowBytes(): Promise<number> {
    return Buffer.byteLength(encodeRun(sampleRun(SAMPLE_END), 1).join(''))
  },
  /** Runs that are written once, finished, without events. */
  async rows({ count, perTransaction }: { count: number; perTransaction: number }): Promise<{ seconds: number }> {
    const rows = Array.from({ length: count }, () => encodeRun(sampleRun(SAMPLE_END), 1))
    return timed(rows, perTransaction, (group) => {
      journal.transaction(() => {
        for (const row of group) journal.insertRow(row)
      })
    })
  },
  /** Each run in two transactions, as it is journaled: one that begins it, one that ends it. */
  async runs({ count, perTransaction }: { count: number; perTransaction: number }): Promise<{ seconds: number }> {
    return timed(journal.beginRows(count), perTransaction, (group) => {
      let ids: RowId[] = []
      journal.transaction(() => {
        ids = group.map(journal.beginRun)
      })
      journal.transaction(() => {
        for (const id of ids) journal.finishRun(id)
      })
    })
  },
  /** What the two commits of one run take, with a rest before each that is not counted. */
  async commits({ count, pauseMs }: { count: number; pauseMs: number }): Promise<{ p50: number }> {
    const took: number[] = []
    const timedTransaction = async (work: () => void) => {
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
      const began = performance.now()
      journal.transaction(work)
      return performance.now() - began
    }
    for (const row of journal.beginRows(count)) {
      let id: RowId = 0
      const begun = await timedTransaction(() => {
        id = journal.beginRun(row)
      })
      took.push(begun + (await timedTransaction(() => journal.finishRun(id))))
    }
    return { p50: median(took) }
  },
  async count(): Promise<number> {
    return journal.count()
  },
}

export type BareSqlite = typeof methods

serveSide(methods, async () => journal?.close())
