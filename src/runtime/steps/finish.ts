import { z } from 'zod'
import { type MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import { leftOutLine } from '../../core/left-out.ts'
import type { OperationSpec, OperationSummary } from '../../core/operation.ts'
import { plainJson } from '../../core/plain-json.ts'
import { certaintyOf, type FinalStatus } from '../../core/result.ts'
import { cutText } from '../../core/utf8.ts'
import type { RunEnd } from '../../store/store.ts'
import type { RuntimeParts } from '../runtime.ts'
import type { AttemptOutcome } from './attempt.ts'
import type { ResolvedCall } from './resolve.ts'

type FinishParts = Pick<RuntimeParts, 'redactor' | 'clock' | 'environment' | 'log'>

/** Steps 8 and 9: validates what the operation returned, redacts it, and says how the run ended. Never throws. */
export function endOf(parts: FinishParts, call: ResolvedCall, outcome: AttemptOutcome, signal: AbortSignal): RunEnd {
  if (outcome.error !== undefined) return failedEnd(parts, call, outcome.error, outcome, signal)
  try {
    return completedEnd(parts, call, outcome)
  } catch (thrown) {
    // It acted, so nothing that is wrong with its result may make it look as if it had not.
    const known = toMhvError(thrown)
    const error =
      known.code === 'MHV_OUTPUT_INVALID'
        ? known
        : mhvError('MHV_OUTPUT_INVALID', `the result cannot be kept: ${known.message}`)
    return failedEnd(parts, call, error, { attempts: outcome.attempts, certainty: 'applied' }, signal)
  }
}

function completedEnd(parts: FinishParts, call: ResolvedCall, outcome: AttemptOutcome): RunEnd {
  const { data: returned, attempts, recovered_by, failure } = outcome
  const { spec } = call.operation
  const data = parts.redactor.deep(validOutput(spec, returned))
  // Throws for what the journal could not keep either: big integers, cycles.
  const json = JSON.stringify(data)
  const summary = summaryOf(parts, spec, data, json)
  return {
    status: 'completed',
    effect_certainty: call.effect === 'read' ? 'none' : 'applied',
    output: bounded(parts.redactor.text(summary.output), parts.environment.runs.text_bytes),
    data,
    error: null,
    error_code: null,
    error_details: recovered_by === undefined ? null : { recovered_by, failure },
    exit_code: summary.exit_code ?? null,
    attempts,
    finished_at: parts.clock.now(),
  }
}

function validOutput({ output }: OperationSpec, data: unknown): Record<string, unknown> {
  const parsed = z.safeParse(output, data)
  if (parsed.success) return parsed.data
  const { issues } = parsed.error
  throw mhvError('MHV_OUTPUT_INVALID', `${issues[0]?.path.join('.')}: ${issues[0]?.message}`, {
    details: { issues: issues.slice(0, 20).map(({ path, code }) => ({ path, code })) },
  })
}

function summaryOf(parts: FinishParts, spec: OperationSpec, data: unknown, json: string): OperationSummary {
  try {
    return spec.summarize?.(data as Record<string, unknown>) ?? { output: json }
  } catch (error) {
    parts.log.error('the result of an operation could not be summarised', { operation: spec.id, error })
    return { output: json }
  }
}

/** Longest error message in the journal, in bytes: some drivers quote everything that they read. */
const MAX_MESSAGE_BYTES = 8 * 1024
/** Most facts about an error, in characters of JSON. */
const MAX_DETAILS_LENGTH = 64 * 1024

function failedEnd(
  parts: FinishParts,
  call: ResolvedCall,
  error: MhvError,
  { attempts, certainty, recovered_by }: AttemptOutcome,
  signal: AbortSignal,
): RunEnd {
  return {
    status: failedStatus(error, signal),
    effect_certainty: call.effect === 'read' ? 'none' : (certainty ?? certaintyOf(error.code)),
    output: null,
    data: null,
    error: bounded(parts.redactor.text(error.message), MAX_MESSAGE_BYTES),
    error_code: error.code,
    error_details: detailsOf(parts, error, recovered_by),
    exit_code: null,
    attempts,
    finished_at: parts.clock.now(),
  }
}

function detailsOf(
  parts: FinishParts,
  error: MhvError,
  recovered_by: AttemptOutcome['recovered_by'],
): Record<string, unknown> | null {
  const plain = plainJson(error.details ?? {})
  const details: Record<string, unknown> = parts.redactor.deep({
    ...(typeof plain === 'object' ? plain : { details: plain }),
    ...(error.retryAfter === undefined ? {} : { retry_after: error.retryAfter }),
    ...(recovered_by === undefined ? {} : { recovered_by }),
  })
  if (Object.keys(details).length === 0) return null
  const length = JSON.stringify(details).length
  return length <= MAX_DETAILS_LENGTH ? details : { left_out: `${length} characters of details` }
}

/** Why it ended decides the status: a run that fails after its deadline timed out, whatever its last words were. */
function failedStatus(error: MhvError, signal: AbortSignal): FinalStatus {
  const { code } = signal.aborted ? toMhvError(signal.reason) : error
  if (code === 'MHV_RUN_TIMEOUT' || code === 'MHV_RUN_QUEUE_TIMEOUT') return 'timeout'
  if (code === 'MHV_RUN_CANCELLED' || code === 'MHV_RUN_CANCELLED_QUEUED') return 'cancelled'
  return 'failed'
}

/** The line that the output sink puts between head and tail is not counted. */
const GAP_BYTES = 128

function bounded(text: string, bytes: number): string {
  // A worker that uses its output sink is within the limit; this is for data shown as JSON.
  if (Buffer.byteLength(text) <= bytes + GAP_BYTES) return text
  const kept = cutText(text, bytes)
  return kept + leftOutLine(text.length - kept.length, 'characters')
}
