import { type MhvError, mhvError } from '../core/errors.ts'
import { type EffectCertainty, isFinal, isTransition, type RunStatus } from '../core/run-status.ts'
import type { CreateOutcome, IdempotencyClaim, NewRun, RunChange } from './store.ts'

/** What every implementation of the store decides alike. Nothing here reads or writes. */

/** The state of a run that decides what may become of it. `effect_certainty` is null while it goes on. */
export interface RunState {
  readonly status: RunStatus
  readonly effect_certainty: EffectCertainty | null
}

/** A run that an idempotency key leads to. */
export interface HeldKey extends RunState {
  readonly digest: string
  /** Milliseconds since the epoch. */
  readonly expires_at: number
}

/** The most runs that one page of `listRuns` has. */
const MAX_PAGE = 1000

/** Idempotency keys that one step of `expireKeys` removes. */
export const KEYS_AT_ONCE = 500

function checkEnd(what: string, status: RunStatus, end: { readonly status: RunStatus } | undefined): void {
  if (isFinal(status) === (end !== undefined) && (end === undefined || end.status === status)) return
  const has = end === undefined ? 'no end' : `an end with status ${end.status}`
  throw mhvError('MHV_INTERNAL', `${what}: status ${status} with ${has}`)
}

/** Throws MHV_INTERNAL for a run that may not begin as it is. */
export function checkNewRun(run: NewRun): void {
  const what = `run ${run.facts.run_id}`
  if (!isTransition(null, run.status)) throw mhvError('MHV_INTERNAL', `${what} cannot begin as ${run.status}`)
  checkEnd(what, run.status, run.end)
}

/** Throws MHV_INTERNAL for a change whose end does not fit its status. */
export function checkChange(change: RunChange): void {
  checkEnd(`change of run ${change.run_id}`, change.to, change.end)
}

/** Whether a finished run may be taken up again: it ended badly, and it is certain that it changed nothing. */
function mayReopen(state: RunState): boolean {
  return state.status !== 'completed' && isFinal(state.status) && state.effect_certainty === 'none'
}

/** What becomes of a new run whose key may be held by an earlier one (undefined: by none). */
export function decideClaim(
  held: HeldKey | undefined,
  claim: Pick<IdempotencyClaim, 'digest'>,
  now: number,
): CreateOutcome['kind'] {
  if (held === undefined || held.expires_at <= now) return 'created'
  if (held.digest !== claim.digest) return 'mismatch'
  // A read comes with its result at once; its second attempt passes through `running` within the same transaction.
  return mayReopen(held) ? 'reopened' : 'attached'
}

/** How long a key is kept after its run was reopened: never shorter than before. */
export function keptUntil(held: Pick<HeldKey, 'expires_at'>, claim: Pick<IdempotencyClaim, 'expires_at'>): number {
  return Math.max(held.expires_at, claim.expires_at)
}

/**
 * Whether a change takes place. False where the run is in no status of `from`, or is not there.
 *
 * @throws MHV_INTERNAL where it is, but the state machine has no such transition, or it would take up again a run
 *   that may have changed something
 */
export function decideChange(state: RunState | undefined, run_id: string, from: readonly RunStatus[], to: RunStatus) {
  if (state === undefined || !from.includes(state.status)) return false
  if (!isTransition(state.status, to)) {
    throw mhvError('MHV_INTERNAL', `run ${run_id} cannot go from ${state.status} to ${to}`)
  }
  if (isFinal(state.status) && !mayReopen(state)) {
    throw mhvError('MHV_INTERNAL', `run ${run_id} ended with certainty ${state.effect_certainty}: it stays ended`)
  }
  return true
}

/** A number of rows: whole and not negative; none for what is no number. */
export function rowLimit(limit: number): number {
  return Math.min(Math.max(Math.floor(limit) || 0, 0), Number.MAX_SAFE_INTEGER)
}

/** Runs of a page: at most 1,000. */
export function pageSize(limit: number): number {
  return Math.min(rowLimit(limit), MAX_PAGE)
}

export function unknownRun(run_id: string): MhvError {
  return mhvError('MHV_RUN_UNKNOWN', `the journal has no run ${run_id}`)
}

export function runExists(run_id: string): MhvError {
  return mhvError('MHV_INTERNAL', `the journal already has a run ${run_id}`)
}

export function storeClosed(): MhvError {
  return mhvError('MHV_JOURNAL_UNAVAILABLE', 'the journal is closed')
}
