import { z } from 'zod'
import { type MhvError, mhvError } from '../../core/errors.ts'
import type { OperationSummary } from '../../core/operation.ts'
import { certaintyOf, type EffectCertainty, type FinalStatus } from '../../core/result.ts'
import type { RunEnd } from '../../store/store.ts'
import type { RuntimeParts } from '../runtime.ts'
import type { AttemptOutcome } from './attempt.ts'
import type { ResolvedCall } from './resolve.ts'

/** Steps 8 and 9: validates what the operation returned, redacts it, and says how the run ended. */
export function endOf(
  parts: Pick<RuntimeParts, 'redactor' | 'clock' | 'environment'>,
  call: ResolvedCall,
  outcome: AttemptOutcome,
  signal: AbortSignal,
): RunEnd {
  const { spec } = call.operation
  const checked = outcome.error === undefined ? validOutput(spec.output, outcome.data) : { error: outcome.error }
  if ('error' in checked) return failedEnd(parts, call, checked.error, outcome.attempts, signal)
  const data = parts.redactor.deep(checked.data)
  const summary: OperationSummary = spec.summarize?.(data) ?? { output: JSON.stringify(data) }
  return {
    status: 'completed',
    effect_certainty: call.effect === 'read' ? 'none' : 'applied',
    output: bounded(parts.redactor.text(summary.output), parts.environment.runs.text_bytes),
    data,
    error: null,
    error_code: null,
    error_details: null,
    exit_code: summary.exit_code ?? null,
    attempts: outcome.attempts,
    finished_at: parts.clock.now(),
  }
}

function validOutput(schema: z.ZodObject, data: unknown): { data: Record<string, unknown> } | { error: MhvError } {
  const parsed = z.safeParse(schema, data)
  if (parsed.success) return { data: parsed.data }
  const [issue] = parsed.error.issues
  return {
    error: mhvError('MHV_OUTPUT_INVALID', `${issue?.path.join('.')}: ${issue?.message}`, {
      details: { issues: parsed.error.issues.slice(0, 20).map(({ path, code }) => ({ path, code })) },
    }),
  }
}

function failedEnd(
  parts: Pick<RuntimeParts, 'redactor' | 'clock'>,
  call: ResolvedCall,
  error: MhvError,
  attempts: number,
  signal: AbortSignal,
): RunEnd {
  const certainty: EffectCertainty = call.effect === 'read' ? 'none' : certaintyOf(error.code)
  const details = { ...error.details, ...(error.retryAfter === undefined ? {} : { retry_after: error.retryAfter }) }
  return {
    status: failedStatus(error, signal),
    effect_certainty: certainty,
    output: null,
    data: null,
    error: parts.redactor.text(error.message),
    error_code: error.code,
    error_details: Object.keys(details).length === 0 ? null : parts.redactor.deep(details),
    exit_code: null,
    attempts,
    finished_at: parts.clock.now(),
  }
}

/** Why it ended decides the status: a run that fails after its deadline timed out, whatever its last words were. */
function failedStatus(error: MhvError, signal: AbortSignal): FinalStatus {
  const reason: unknown = signal.reason
  const code =
    signal.aborted && typeof reason === 'object' && reason !== null && 'code' in reason ? reason.code : error.code
  if (code === 'MHV_RUN_TIMEOUT' || code === 'MHV_RUN_QUEUE_TIMEOUT') return 'timeout'
  if (code === 'MHV_RUN_CANCELLED' || code === 'MHV_RUN_CANCELLED_QUEUED') return 'cancelled'
  return 'failed'
}

/** Room for the line that stands for what is missing, in characters. */
const GAP_LINE = 100

/** Text that a worker has from its output sink fits already; this is for data that is shown as JSON. */
function bounded(text: string, bytes: number): string {
  if (text.length <= bytes + GAP_LINE) return text
  const half = Math.floor(bytes / 2)
  return `${text.slice(0, half)}\n[… ${text.length - 2 * half} characters left out here …]\n${text.slice(-half)}`
}
