import { isoTime } from '../core/clock.ts'
import { ERROR_TABLE } from '../core/error-table.ts'
import { RESULT_FORMAT, type WorkerResult } from '../core/result.ts'
import type { RunRecord } from '../store/store.ts'

/** The wire shape of a run as the journal has it. */
export function toResult(run: RunRecord): WorkerResult {
  const { end } = run
  const details = end?.error_details ?? undefined
  const remedy = end?.error_code ? ERROR_TABLE[end.error_code].remedy : undefined
  return {
    run_id: run.run_id,
    worker: run.worker,
    operation: run.operation,
    target: run.target,
    worker_id: run.worker_id,
    status: run.status,
    effect_certainty: end?.effect_certainty ?? null,
    output: end?.output ?? null,
    data: end?.data ?? null,
    error: end?.error ?? null,
    error_code: end?.error_code ?? null,
    exit_code: end?.exit_code ?? null,
    attempts: end?.attempts ?? (run.started_at === null ? 0 : 1),
    duration_seconds: end === null ? null : secondsBetween(run.accepted_at, end.finished_at),
    timestamp: isoTime(run.accepted_at),
    metadata: {
      format: RESULT_FORMAT,
      principal: run.principal,
      surface: run.surface,
      effect: run.effect,
      tier: run.tier,
      queue_seconds: secondsBetween(run.accepted_at, run.started_at ?? end?.finished_at),
      ...(remedy === undefined ? {} : { remedy }),
      ...(details === undefined ? {} : { details: { ...details } }),
      ...(isRecovery(details?.recovered_by) ? { recovered_by: details.recovered_by } : {}),
      ...(typeof details?.retry_after === 'number' ? { retry_after: details.retry_after } : {}),
      ...(run.reason === null ? {} : { reason: run.reason }),
      ...(run.replay_of === null ? {} : { replay_of: run.replay_of }),
      ...(run.dead_letter === null ? {} : { dead_letter: run.dead_letter }),
    },
  }
}

/** Never below 0, although the clock of the machine may have been set back. */
function secondsBetween(from: number, to: number | undefined): number {
  return to === undefined ? 0 : Math.max(0, to - from) / 1000
}

function isRecovery(value: unknown): value is 'fallback' | 'compensation' {
  return value === 'fallback' || value === 'compensation'
}
