import { type MhvError, mhvError } from '../core/errors.ts'
import { type EffectCertainty, isFinal, isTransition, type RunStatus } from '../core/run-status.ts'
import { type DeadLetterState, PINNING_STATES } from './dead-letter.ts'
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
  /** Of its run's dead letter; null where it has none. */
  readonly letter: DeadLetterState | null
}

/** Which letters give way first where there is no room: those that are done with, and the open ones last. */
export const DROP_ORDER = ['replayed', 'archived', 'poison', 'open'] as const satisfies readonly DeadLetterState[]

/** The most runs that one page of `listRuns` has. */
const MAX_PAGE = 1000

/** Idempotency keys that one step of `expireKeys` removes. */
export const KEYS_AT_ONCE = 500

function checkLetter(what: string, { dead_letter, end }: Pick<NewRun, 'dead_letter' | 'end'>): void {
  if (dead_letter === undefined || (end !== undefined && end.status !== 'completed')) return
  throw mhvError('MHV_INTERNAL', `${what}: a dead letter for a run that has not failed`)
}

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
  checkLetter(what, run)
}

/** Throws MHV_INTERNAL for a change whose end does not fit its status. */
export function checkChange(change: RunChange): void {
  checkEnd(`change of run ${change.run_id}`, change.to, change.end)
  checkLetter(`change of run ${change.run_id}`, change)
}

/** Whether a finished run may be taken up again: it ended badly, and it is certain that it changed nothing. */
export function mayReopen(state: RunState): boolean {
  return state.status !== 'completed' && isFinal(state.status) && state.effect_certainty === 'none'
}

/** What becomes of a new run whose key may be held by an earlier one (undefined: by none). */
export function decideClaim(
  held: HeldKey | undefined,
  claim: Pick<IdempotencyClaim, 'digest'>,
  now: number,
): CreateOutcome['kind'] {
  if (held === undefined || (held.expires_at <= now && !isPinned(held.letter))) return 'created'
  if (held.digest !== claim.digest) return 'mismatch'
  // A replay of its letter is its next attempt: opened again beside that, it would be done twice.
  if (held.letter === 'replaying' || held.letter === 'replayed') return 'attached'
  // A read comes with its result at once; its second attempt passes through `running` within the same transaction.
  return mayReopen(held) ? 'reopened' : 'attached'
}

/** A key is kept as long as its run's letter is still to be dealt with. */
export function isPinned(letter: DeadLetterState | null): boolean {
  return letter !== null && (PINNING_STATES as readonly DeadLetterState[]).includes(letter)
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
