import { ERROR_TABLE, type ErrorCode } from '../core/error-table.ts'
import { certaintyOf } from '../core/result.ts'
import type { RunEnd, RunRecord } from '../store/store.ts'
import { deadLetterOf } from './dead-letter-of.ts'
import type { RuntimeParts } from './runtime.ts'

export type ReconcileParts = Pick<RuntimeParts, 'store' | 'clock' | 'log' | 'registry' | 'environment'>

/**
 * Ends a run that no process has any longer. What was `pending` never acted; what was `running` may have done anything,
 * and says so. Its dead letter is written with its end.
 *
 * @returns the run as it is now, or null where it has ended by itself meanwhile
 */
export async function endCutOff(parts: ReconcileParts, run: RunRecord): Promise<RunRecord | null> {
  const { store, clock, log } = parts
  const end = endAfterCrash(run, clock.now())
  const dead_letter = deadLetterOf(parts, run, end)
  const { status, effect_certainty, error_code } = end
  const data = { was: run.status, status, effect_certainty, error_code, fence: run.fence }
  const changed = await store.changeRun({
    run_id: run.run_id,
    from: [run.status],
    to: end.status,
    end,
    events: [{ type: 'reconciled', at: end.finished_at, data }],
    ...(dead_letter === undefined ? {} : { dead_letter }),
  })
  if (changed !== null) {
    log.warn('a run was cut off by the end of its process', { run_id: run.run_id, was: run.status, error_code })
  }
  return changed
}

function endAfterCrash(run: RunRecord, now: number): RunEnd {
  const code: ErrorCode = run.status === 'pending' ? 'MHV_RUN_NOT_STARTED' : 'MHV_RUN_INTERRUPTED'
  return {
    status: 'failed',
    effect_certainty: run.effect === 'read' ? 'none' : certaintyOf(code),
    output: null,
    data: null,
    error: ERROR_TABLE[code].summary,
    error_code: code,
    error_details: null,
    exit_code: null,
    attempts: run.status === 'pending' ? 0 : 1,
    finished_at: now,
  }
}
