import type { EffectCertainty, FinalStatus } from '../core/result.ts'

/**
 * The rules of dead letters, apart from where they are kept. A replay is claimed (`open` to `replaying`, with its number
 * and the id of its run), runs on the one path like any other call, and is settled by how that run ended. Whoever dies
 * in between leaves a claim: the run that it names tells whether anything was done.
 *
 *     open, archived, poison --claim--> replaying --completed--> replayed
 *                                       replaying --failed-----> open, or poison after the last replay
 *                                       replaying --no run-----> what it was before (nothing was done, nothing counts)
 */

export interface ReplayDelays {
  readonly delay_seconds: number
  readonly max_delay_seconds: number
}

export type ReplayPolicyName = 'never' | 'linear' | 'exponential' | 'immediate'

/**
 * Milliseconds before the next replay that is made by itself: none for `immediate`; `linear` grows by the delay each
 * time, `exponential` doubles it; both up to the longest delay. `replays` is how many there were. Null: never.
 */
export function replayDelayMs(policy: ReplayPolicyName, replays: number, delays: ReplayDelays): number | null {
  const { delay_seconds, max_delay_seconds } = delays
  if (policy === 'never') return null
  if (policy === 'immediate') return 0
  const factor = policy === 'linear' ? replays + 1 : 2 ** Math.min(replays, 40)
  return Math.round(Math.min(delay_seconds * factor, max_delay_seconds) * 1000)
}

/** What is asked of a letter before it is replayed. */
export interface ReplayQuestion {
  readonly idempotent: boolean
  /** Of the failed run, and of the replays since. */
  readonly effect_certainty: EffectCertainty
}

/** Doing it again may do it twice: only somebody who has looked can say that it is right. */
export function needsAcknowledgement({ idempotent, effect_certainty }: ReplayQuestion): boolean {
  return !idempotent && effect_certainty !== 'none'
}

/** What is known of the effect of several runs together: one that may have acted makes it unknown. */
export function togetherCertain(one: EffectCertainty, other: EffectCertainty): EffectCertainty {
  const order: readonly EffectCertainty[] = ['none', 'applied', 'unknown']
  return order.indexOf(one) > order.indexOf(other) ? one : other
}

export interface LetterBeforeSettling {
  readonly replays: number
  readonly max_replays: number
  readonly policy: ReplayPolicyName
  readonly effect_certainty: EffectCertainty
}

export interface SettledLetter {
  readonly to: 'replayed' | 'open' | 'poison'
  readonly effect_certainty: EffectCertainty
  /** Milliseconds until it is replayed by itself; null: only when somebody asks. */
  readonly next_in_ms: number | null
}

/** What becomes of a letter by the end of its replay's run. */
export function settleReplay(
  letter: LetterBeforeSettling,
  run: { readonly status: FinalStatus; readonly effect_certainty: EffectCertainty },
  { idempotent, delays }: { readonly idempotent: boolean; readonly delays: ReplayDelays },
): SettledLetter {
  const effect_certainty = togetherCertain(letter.effect_certainty, run.effect_certainty)
  if (run.status === 'completed') return { to: 'replayed', effect_certainty, next_in_ms: null }
  if (letter.replays >= letter.max_replays) return { to: 'poison', effect_certainty, next_in_ms: null }
  // Somebody stopped it: then it does not come back by itself.
  const byItself = run.status !== 'cancelled' && !needsAcknowledgement({ idempotent, effect_certainty })
  return {
    to: 'open',
    effect_certainty,
    next_in_ms: byItself ? replayDelayMs(letter.policy, letter.replays, delays) : null,
  }
}
