/** Milliseconds: the first step and the ceiling of the exponential backoff. */
export const BACKOFF_BASE_MS = 200
export const BACKOFF_CAP_MS = 10_000

/**
 * Full jitter: a random wait between 0 and min(cap, base x 2^(attempt - 1)), so that callers who failed together do not
 * come back together. Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
 *
 * `attempt` is the one that just failed, from 1. `random` gives a number from 0 to below 1.
 */
export function fullJitter(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(attempt - 1, 30))
  return Math.floor(random() * ceiling)
}
