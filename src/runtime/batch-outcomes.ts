import { isFinal } from '../core/result.ts'
import type { BatchEvent } from '../store/batch.ts'
import type { RunRecord, Store } from '../store/store.ts'
import { type Outcome, outcomeOf } from './batch-run.ts'
import type { RuntimeParts } from './runtime.ts'

/** What the journal knows of the targets of a batch. */

/** Runs of one page: each may have some ten KiB of output. */
const RUNS_PAGE = 100
const EVENTS_PAGE = 500

/** The runs of a batch, newest first. */
export async function* runsOfBatch(store: Pick<Store, 'listRuns'>, parent: string): AsyncGenerator<RunRecord> {
  let before: string | undefined
  for (;;) {
    const page = await store.listRuns({ parent, limit: RUNS_PAGE, ...(before === undefined ? {} : { before }) })
    yield* page
    if (page.length < RUNS_PAGE) return
    before = page.at(-1)?.run_id
  }
}

/** The targets for which there was no run, in their order. */
export async function* refusedOfBatch(store: Pick<Store, 'getBatchEvents'>, id: string): AsyncGenerator<BatchEvent> {
  let after = 0
  for (;;) {
    const page = await store.getBatchEvents(id, after, EVENTS_PAGE)
    for (const event of page) if (event.type === 'target_refused') yield event
    if (page.length < EVENTS_PAGE) return
    after = page.at(-1)?.seq ?? after
  }
}

/** What became of each target that has an outcome: of its run, or of the call for which there is none. */
export async function outcomesOf(
  { store, live }: Pick<RuntimeParts, 'store' | 'live'>,
  id: string,
): Promise<ReadonlyMap<string, Outcome>> {
  const outcomes = new Map<string, Outcome>()
  for await (const { data } of refusedOfBatch(store, id)) outcomes.set(String(data.target), 'refused')
  for await (const found of runsOfBatch(store, id)) {
    // One that was taken up again by itself comes to its end first.
    const run = isFinal(found.status) ? found : ((await live.get(found.run_id)?.done) ?? found)
    if (run.target === null || !isFinal(run.status) || neverActed(run)) continue
    outcomes.set(run.target, outcomeOf({ status: run.status, exit_code: run.end?.exit_code ?? null }))
  }
  return outcomes
}

/** Cut off before it did anything: its key opens it again, and it runs for the first time. */
function neverActed({ end }: RunRecord): boolean {
  return end?.error_code === 'MHV_RUN_NOT_STARTED' && end.effect_certainty === 'none'
}
