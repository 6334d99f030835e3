import { mhvError } from '../core/errors.ts'
import type { BatchRecord } from '../store/batch.ts'
import { eventsOfBatch, type Outcome, outcomeOfRun, outcomesOf, runsOfBatch } from './batch-outcomes.ts'
import type { StartRequest } from './batch-plan.ts'
import { isOpen } from './batch-run.ts'
import type { RuntimeParts } from './runtime.ts'

type RerunParts = Pick<RuntimeParts, 'store' | 'live' | 'clock'>

/**
 * The targets of an ended batch that failed, and with `rest` also those that were left alone; but for those that have gone
 * well since, in a rerun or a replay of their dead letter. Throws MHV_BATCH_STATE where there are none, and while the
 * batch, a rerun of it or such a replay goes on: nothing is done twice at once.
 */
export async function targetsToRerun(
  parts: RerunParts,
  record: BatchRecord,
  rest: boolean,
): Promise<readonly string[]> {
  const outcomes = await latestOutcomes(parts, record)
  const targets = record.facts.batches.flat().filter((target) => {
    const outcome = outcomes.get(target)
    return outcome === undefined ? rest : outcome !== 'done'
  })
  if (targets.length > 0) return targets
  const what = rest ? 'failed or was left alone' : 'failed'
  throw stateError(record.id, `no target of batch ${record.id} ${what}, or what did has gone well since`)
}

async function latestOutcomes(parts: RerunParts, record: BatchRecord): Promise<Map<string, Outcome>> {
  const { id, state } = record
  if (isOpen(state)) throw stateError(id, `batch ${id} is ${state}`)
  const outcomes = await outcomesOf(parts, id)
  await addReplays(parts, id, outcomes)
  for await (const { data } of eventsOfBatch(parts.store, id, 'rerun_started')) {
    const again = await parts.store.getBatch(String(data.batch_id))
    // Announced, and then refused or cut off before it began.
    if (again === null) continue
    for (const [target, outcome] of await latestOutcomes(parts, again)) {
      if (outcomes.get(target) !== 'done') outcomes.set(target, outcome)
    }
  }
  return outcomes
}

/** What became of the targets whose failed run was replayed from its dead letter. */
async function addReplays({ store }: RerunParts, id: string, outcomes: Map<string, Outcome>): Promise<void> {
  for await (const { target, dead_letter } of runsOfBatch(store, id)) {
    if (dead_letter === null || target === null) continue
    const letter = await store.getDeadLetter(dead_letter)
    if (letter?.state === 'replaying') throw stateError(id, `dead letter ${letter.id} of ${target} is being replayed`)
    if (letter?.state !== 'replayed' || letter.last_run_id === null) continue
    const replay = await store.getRun(letter.last_run_id)
    if (replay !== null) outcomes.set(target, outcomeOfRun(replay))
  }
}

/** What is done again by a rerun must not be replayed as well. */
export async function archiveLetters({ store, clock }: RerunParts, id: string, done: readonly string[]): Promise<void> {
  const targets = new Set(done)
  for await (const { target, dead_letter } of runsOfBatch(store, id)) {
    if (dead_letter === null || target === null || !targets.has(target)) continue
    const change = { from: ['open'], to: 'archived', at: clock.now(), next_at: null } as const
    await store.changeDeadLetter({ id: dead_letter, ...change })
  }
}

/** What a batch was asked for, to ask for it again on some of its targets. */
export function rerunRequest(
  { id, operation, facts }: BatchRecord,
  targets: readonly string[],
  reason: string | undefined,
): StartRequest {
  const { input, parallel, failure_limit, timeout, priority, batches } = facts
  return {
    operation,
    input,
    select: `targets of ${id}`,
    targets,
    rerun_of: id,
    parallel,
    priority,
    reason: reason ?? facts.reason ?? undefined,
    ...(timeout === null ? {} : { timeout }),
    ...(failure_limit === null ? {} : { max_fail: failure_limit }),
    ...(batches.length > 1 ? { batch_size: String(batches[0]?.length ?? 1) } : {}),
  }
}

function stateError(id: string, message: string) {
  return mhvError('MHV_BATCH_STATE', message, { details: { batch_id: id } })
}
