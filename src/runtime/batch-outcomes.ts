import { isFinal } from '../core/result.ts'
import type { BatchEvent } from '../store/batch.ts'
import type { RunRecord, Store } from '../store/store.ts'
import type { LiveRun } from './live-runs.ts'
import type { RuntimeParts } from './runtime.ts'

/** What the journal knows of the targets of a batch. */

/** What became of a target. */
export type Outcome = 'done' | 'failed' | 'refused'

/** What is known of the targets of a batch that is taken up again. */
export interface KnownTargets {
  readonly outcomes: ReadonlyMap<string, Outcome>
  /** Runs of it that this process has taken up already. */
  readonly acting: ReadonlyMap<string, LiveRun>
}

export const NOTHING_KNOWN: KnownTargets = { outcomes: new Map(), acting: new Map() }

/** The run of one target has ended: whether the batch counts it as failed. A command's own failure counts too. */
export function outcomeOf({ status, exit_code }: { status: string; exit_code: number | null }): Outcome {
  return status === 'completed' && (exit_code ?? 0) === 0 ? 'done' : 'failed'
}

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

/** The events of these types, in their order. */
export async function* eventsOfBatch(
  store: Pick<Store, 'getBatchEvents'>,
  id: string,
  ...types: readonly BatchEvent['type'][]
): AsyncGenerator<BatchEvent> {
  let after = 0
  for (;;) {
    const page = await store.getBatchEvents(id, after, EVENTS_PAGE)
    for (const event of page) if (types.includes(event.type)) yield event
    if (page.length < EVENTS_PAGE) return
    after = page.at(-1)?.seq ?? after
  }
}

/** What became of each target that has an outcome (of its run, or of the call for which there is none), and who acts. */
export async function knownTargets(
  { store, live }: Pick<RuntimeParts, 'store' | 'live'>,
  id: string,
): Promise<KnownTargets> {
  const outcomes = new Map<string, Outcome>()
  const acting = new Map<string, LiveRun>()
  const cutOff = new Map<string, number>()
  for await (const { type, at, data } of eventsOfBatch(store, id, 'target_refused', 'target_cut_off')) {
    if (type === 'target_refused') outcomes.set(String(data.target), 'refused')
    else cutOff.set(String(data.run_id), at)
  }
  for await (const run of runsOfBatch(store, id)) {
    if (run.target === null) continue
    const found = isFinal(run.status) ? undefined : live.get(run.run_id)
    if (found !== undefined) acting.set(run.target, found)
    else if (isFinal(run.status) && !neverActed(run, cutOff.get(run.run_id))) {
      outcomes.set(run.target, outcomeOfRun(run))
    }
  }
  return { outcomes, acting }
}

/** The outcomes, after the end of what acts. */
export async function outcomesOf(
  parts: Pick<RuntimeParts, 'store' | 'live'>,
  id: string,
): Promise<Map<string, Outcome>> {
  const { outcomes, acting } = await knownTargets(parts, id)
  const all = new Map(outcomes)
  for (const [target, run] of acting) all.set(target, outcomeOfRun(await run.done))
  return all
}

/** What a run comes to for its batch; one whose end could not be journaled counts as failed. */
export function outcomeOfRun({ status, end }: RunRecord): Outcome {
  return outcomeOf({ status, exit_code: end?.exit_code ?? null })
}

/**
 * Cut off before it did anything, by the end of its process or, at `cutOffAt`, by the stop of the instance: its key opens
 * it again, and it runs for the first time.
 */
function neverActed({ end }: RunRecord, cutOffAt: number | undefined): boolean {
  if (end?.effect_certainty !== 'none') return false
  // Opened again since, it may have been cancelled by somebody.
  return end.error_code === 'MHV_RUN_NOT_STARTED' || (cutOffAt !== undefined && end.finished_at <= cutOffAt)
}
