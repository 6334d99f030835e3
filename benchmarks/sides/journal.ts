/** Our side of the journal's rows: the store as the program opens it. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { NewRun, Store, StoreFacts } from '../../src/store/store.ts'
import { closedLoop, type LoadResult } from '../harness/load.ts'
import { serveSide } from '../harness/side.ts'
import { BEGIN_EVENTS, END_EVENTS, SAMPLE_END, sampleRun } from '../sample-run.ts'

let store: Store | undefined

function opened(): Store {
  if (store === undefined) throw new Error('not open')
  return store
}

async function finishRun({ facts }: NewRun): Promise<void> {
  const change = {
    run_id: facts.run_id,
    from: ['running'],
    to: 'completed',
    end: SAMPLE_END,
    events: END_EVENTS,
  } as const
  if ((await opened().changeRun(change)) === null) throw new Error('a run was not there to be finished')
}

/** Begins and finishes runs at a rate that does not wait for them. */
async function openLoop({ perSecond, seconds }: { perSecond: number; seconds: number }): Promise<number> {
  const began = performance.now()
  const runs: Promise<void>[] = []
  while (runs.length < perSecond * seconds) {
    const due = Math.min(((performance.now() - began) / 1000) * perSecond, perSecond * seconds)
    while (runs.length < due) {
      const run = sampleRun(undefined, BEGIN_EVENTS)
      runs.push(
        opened()
          .createRun(run)
          .then(() => finishRun(run)),
      )
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await Promise.all(runs)
  return (performance.now() - began) / 1000
}

/** How late the main thread was, in milliseconds, as the histogram has it. */
export interface Delay {
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** What the work took; longer than it should when it could not keep up. */
  readonly seconds: number
}

const methods = {
  async open({ path }: { path: string }): Promise<StoreFacts> {
    store = await openSqliteStore({ path })
    return store.facts()
  },
  /** One row for each call: runs that are written once, finished. */
  rows({ count, writers }: { count: number; writers: number }): Promise<LoadResult> {
    const runs = Array.from({ length: count }, () => sampleRun(SAMPLE_END))
    return closedLoop({ count, concurrency: writers }, async (index) => {
      await opened().createRun(runs[index] as NewRun)
    })
  },
  /** A run's whole life: created with two events, then finished with one. */
  runs({ count, writers }: { count: number; writers: number }): Promise<LoadResult> {
    const runs = Array.from({ length: count }, () => sampleRun(undefined, BEGIN_EVENTS))
    return closedLoop({ count, concurrency: writers }, async (index) => {
      const run = runs[index] as NewRun
      await opened().createRun(run)
      await finishRun(run)
    })
  },
  /** The delay of this thread's event loop while it journals so many runs per second; 0 for doing nothing. */
  async delay(load: { perSecond: number; seconds: number; resolution: number }): Promise<Delay> {
    const histogram = monitorEventLoopDelay({ resolution: load.resolution })
    histogram.enable()
    const idle = async () => {
      await new Promise((resolve) => setTimeout(resolve, load.seconds * 1000))
      return load.seconds
    }
    const seconds = load.perSecond === 0 ? await idle() : await openLoop(load)
    histogram.disable()
    const ms = (nanoseconds: number) => nanoseconds / 1e6
    return { p50: ms(histogram.percentile(50)), p99: ms(histogram.percentile(99)), max: ms(histogram.max), seconds }
  },
  async count(): Promise<number> {
    return (await opened().facts()).runs
  },
}

export type JournalSide = typeof methods

serveSide(methods, async () => {
  await store?.close()
})
