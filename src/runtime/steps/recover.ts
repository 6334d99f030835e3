import { type MhvError, toMhvError } from '../../core/errors.ts'
import type { RunEventType } from '../../core/events.ts'
import type { OperationFailure } from '../../core/operation.ts'
import { certaintyOf, type EffectCertainty } from '../../core/result.ts'
import { createDeadline } from '../../resilience/deadline.ts'
import { recoveryFor, wantsNotice } from '../../resilience/recovery.ts'
import { isSafeAgain } from '../../resilience/retry.ts'
import type { RuntimeParts } from '../runtime.ts'
import { type AttemptOutcome, together } from './attempt.ts'
import { callOperation, connectionFor, errorOfOperation, type RunToAttempt } from './call-operation.ts'

/** An outcome that failed. */
type FailedOutcome = AttemptOutcome & { readonly error: MhvError; readonly certainty: EffectCertainty }

/**
 * What the worker's recovery table wants done about a failure beyond another attempt: the operation's own fallback or
 * compensation, and that somebody is told. Never rejects, and never lets the operation itself act again.
 */
export async function recoverRun(
  parts: RuntimeParts,
  run: RunToAttempt,
  outcome: AttemptOutcome,
): Promise<AttemptOutcome> {
  const { error, certainty } = outcome
  if (error === undefined || certainty === undefined) return outcome
  const action = recoveryFor(run.call.operation.worker.recovery, error)
  const failed: FailedOutcome = { ...outcome, error, certainty }
  const ended = await applyStrategy(parts, run, failed, action?.strategy)
  if (ended.error !== undefined && wantsNotice(action)) tellSomebody(parts, run, ended.error, ended)
  return ended
}

async function applyStrategy(
  parts: RuntimeParts,
  run: RunToAttempt,
  failed: FailedOutcome,
  strategy: string | undefined,
): Promise<AttemptOutcome> {
  if (strategy === 'fallback') return fallBack(parts, run, failed)
  if (strategy === 'rollback') return compensate(parts, run, failed)
  return failed
}

function failureOf(parts: RuntimeParts, { error, attempts }: FailedOutcome): OperationFailure {
  return { error_code: error.code, message: parts.redactor.text(error.message), attempts }
}

/** The same goal another way: only where that cannot do the same thing twice, within the deadline of the run. */
async function fallBack(parts: RuntimeParts, run: RunToAttempt, failed: FailedOutcome): Promise<AttemptOutcome> {
  const { spec } = run.call.operation
  const { fallback } = spec
  if (fallback === undefined) return leave(parts, run, failed, 'fallback', 'not_declared')
  if (!isSafeAgain(failed.certainty, spec.idempotent)) return leave(parts, run, failed, 'fallback', 'unsafe')
  if (run.deadline.signal.aborted) return leave(parts, run, failed, 'fallback', 'deadline')
  const failure = failureOf(parts, failed)
  let called = false
  try {
    const connection = await connectionFor(parts, run)
    called = true
    const to = { attempt: failed.attempts, connection }
    const data = await callOperation(parts, run, to, (context) => fallback.call(spec, context, run.call.input, failure))
    tell(parts, run, 'fallback', { ok: true, error_code: failure.error_code })
    return { attempts: failed.attempts, data, recovered_by: 'fallback', failure }
  } catch (thrown) {
    const error = called ? errorOfOperation(parts, run, thrown) : toMhvError(thrown)
    const last = called ? certaintyOf(error.code) : 'none'
    tell(parts, run, 'fallback', { ok: false, reason: 'failed', ...errorFacts(parts, error) })
    return { ...failed, certainty: together(failed.certainty, last) }
  }
}

/** Longest time of a compensation, in seconds: it has its own, since that of the run may be what ran out. */
const MAX_COMPENSATION_SECONDS = 300

/**
 * Takes back what was done. The certainty is about the net effect: `none` when the operation vouches that the target is
 * as it was, `unknown` when that failed on the way. The event log tells both what was done and that it was taken back.
 */
async function compensate(parts: RuntimeParts, run: RunToAttempt, failed: FailedOutcome): Promise<AttemptOutcome> {
  const { spec } = run.call.operation
  const back = spec.compensate
  if (failed.certainty === 'none') return leave(parts, run, failed, 'compensated', 'nothing_done')
  if (back === undefined) return leave(parts, run, failed, 'compensated', 'not_declared')
  const failure = failureOf(parts, failed)
  const seconds = Math.min(run.call.timeoutSeconds, MAX_COMPENSATION_SECONDS)
  const deadline = createDeadline(parts.clock, parts.clock.now() + seconds * 1000)
  const own: RunToAttempt = { ...run, deadline }
  run.recovering(deadline)
  let called = false
  try {
    const connection = await connectionFor(parts, own)
    called = true
    const to = { attempt: failed.attempts, connection }
    await callOperation(parts, own, to, (context) => back.call(spec, context, run.call.input, failure))
    tell(parts, run, 'compensated', { ok: true, certainty_before: failed.certainty, certainty: 'none' })
    return { ...failed, certainty: 'none', recovered_by: 'compensation' }
  } catch (thrown) {
    const error = called ? errorOfOperation(parts, own, thrown) : toMhvError(thrown)
    const untouched = !called || certaintyOf(error.code) === 'none'
    const certainty = untouched ? failed.certainty : 'unknown'
    const facts = { ...errorFacts(parts, error), certainty_before: failed.certainty, certainty }
    tell(parts, run, 'compensated', { ok: false, reason: 'failed', ...facts })
    return { ...failed, certainty }
  } finally {
    run.recovering(undefined)
    deadline.clear()
  }
}

function errorFacts({ redactor }: RuntimeParts, error: MhvError) {
  return { error_code: error.code, error: redactor.text(error.message) }
}

/** The recovery that the table asks for cannot be had, and the failure stands. */
function leave(
  parts: RuntimeParts,
  run: RunToAttempt,
  failed: FailedOutcome,
  type: RunEventType,
  reason: string,
): AttemptOutcome {
  tell(parts, run, type, { ok: false, reason })
  return failed
}

function tell(
  parts: RuntimeParts,
  run: RunToAttempt,
  type: RunEventType,
  data: { readonly ok: boolean; readonly [fact: string]: unknown },
): void {
  run.note({ type, at: parts.clock.now(), data })
  const strategy = type === 'fallback' ? 'fallback' : 'rollback'
  parts.metrics.recovered(run.call.operation.worker.name, strategy, data.ok)
  if (data.reason === 'failed') parts.log.error('a recovery failed', { run_id: run.run_id, strategy, ...data })
}

function tellSomebody(parts: RuntimeParts, run: RunToAttempt, error: MhvError, ended: AttemptOutcome): void {
  const { operation, target, principal } = run.call
  const where = target === null ? '' : ` on ${target.name}`
  const certainty = ended.certainty ?? 'unknown'
  try {
    parts.notifier.notify({
      kind: 'run_failed',
      // What may have half happened needs somebody to look.
      severity: certainty === 'unknown' && run.call.effect !== 'read' ? 'critical' : 'warning',
      title: `${operation.id}${where} failed: ${error.code}`,
      body: `${parts.redactor.text(error.message)}\n${error.remedy}`,
      facts: {
        run_id: run.run_id,
        operation: operation.id,
        target: target?.name ?? null,
        principal: principal.id,
        error_code: error.code,
        effect_certainty: certainty,
        attempts: ended.attempts,
        recovered_by: ended.recovered_by ?? null,
      },
      dedupe_key: `run_failed:${operation.id}:${target?.name ?? ''}:${error.code}`,
    })
    run.note({ type: 'notified', at: parts.clock.now(), data: { kind: 'run_failed', error_code: error.code } })
  } catch (thrown) {
    parts.log.error('nobody could be told of a failure', { run_id: run.run_id, error: thrown })
  }
}
