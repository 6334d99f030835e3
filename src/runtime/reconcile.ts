import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import { ERROR_TABLE, type ErrorCode } from '../core/error-table.ts'
import { certaintyOf } from '../core/result.ts'
import type { RunEnd, RunRecord, Store } from '../store/store.ts'

/**
 * After a crash: ends every run that the journal has as unfinished. What was `pending` never acted; what was `running`
 * may have done anything, and says so. Called with the instance's lock held and before anything new is accepted.
 *
 * @returns the runs as they are now
 */
export async function reconcile(store: Store, clock: Clock, log: Logger): Promise<readonly RunRecord[]> {
  const ended: RunRecord[] = []
  for (const run of await store.unfinishedRuns()) {
    const end = endAfterCrash(run, clock.now())
    const { status, effect_certainty, error_code } = end
    const changed = await store.changeRun({
      run_id: run.run_id,
      from: [run.status],
      to: end.status,
      end,
      events: [
        { type: 'reconciled', at: end.finished_at, data: { was: run.status, status, effect_certainty, error_code } },
      ],
    })
    if (changed === null) continue
    log.warn('a run was cut off by the end of the process', { run_id: run.run_id, was: run.status, error_code })
    ended.push(changed)
  }
  return ended
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
