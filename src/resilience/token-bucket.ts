/** Milliseconds that a timer may come before the moment it was set for. */
const EARLY_MS = 1e-3

/**
 * A token bucket: `burst` at once, `perSecond` on average. Kept as the time at which it would be full again, which is
 * the generic cell rate algorithm (ITU-T I.371, annex A): two numbers, and no rounding that adds up.
 */
export interface TokenBucket {
  has(now: number): boolean
  take(now: number): void
  /** When there is a token next, in the same milliseconds as `now`. */
  nextAt(): number
  /** When it is full, and as good as new. */
  fullAt(): number
}

export function createTokenBucket(perSecond: number, burst: number): TokenBucket {
  const interval = 1000 / perSecond
  let fullAt = Number.NEGATIVE_INFINITY
  const nextAt = () => fullAt - (burst - 1) * interval
  return {
    has: (now) => now >= nextAt() - EARLY_MS,
    take(now) {
      fullAt = Math.max(fullAt, now) + interval
    },
    nextAt,
    fullAt: () => fullAt,
  }
}
