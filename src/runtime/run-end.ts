import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { isFinal } from '../core/result.ts'
import type { RunEnd, RunRecord } from '../store/store.ts'
import type { RuntimeParts } from './runtime.ts'

/** The breaker is open, or the journal did not take `running`: nothing acted. */
export function notStarted(error: unknown): MhvError {
  const known = toMhvError(error)
  if (known.spec.phase === 'before-effect') return known
  return mhvError('MHV_JOURNAL_UNAVAILABLE', known.message, { cause: error })
}

/** What the log of a run says of its end. */
export function finishedEvent(end: RunEnd) {
  const { status, effect_certainty, error_code, exit_code, attempts } = end
  const data = { status, effect_certainty, error_code, exit_code, attempts }
  return { type: 'finished', at: end.finished_at, data } as const
}

/** From this call on: a run that was opened again may have been accepted days ago. */
export function measure(parts: RuntimeParts, record: RunRecord, calledAt: number): void {
  const { worker, operation, status, started_at, end } = record
  const finished = end?.finished_at ?? parts.clock.now()
  parts.metrics.finished({
    worker,
    operation,
    // Without its end in the journal it will be found there as failed.
    status: isFinal(status) ? status : 'failed',
    seconds: Math.max(0, finished - calledAt) / 1000,
    queueSeconds: Math.max(0, (started_at ?? finished) - calledAt) / 1000,
    attempts: end?.attempts ?? 0,
  })
}
