/** Milliseconds: the first step and the ceiling of the exponential backoff. */
export interface Backoff {
  readonly base_ms: number
  readonly cap_ms: number
}

export const DEFAULT_BACKOFF: Backoff = { base_ms: 200, cap_ms: 10_000 }

/**
 * Full jitter: a random wait between 0 and min(cap, base x 2^(attempt - 1)), so that callers who failed together do not
 * come back together. Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
 *
 * `attempt` is the one that just failed, from 1. `random` gives a number from 0 to below 1.
 */
export function fullJitter(
  attempt: number,
  { base_ms, cap_ms }: Backoff = DEFAULT_BACKOFF,
  random: () => number = Math.random,
): number {
  const ceiling = Math.min(cap_ms, base_ms * 2 ** Math.min(attempt - 1, 30))
  return Math.floor(random() * ceiling)
}
