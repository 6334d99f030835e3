import type { Clock } from '../core/clock.ts'

/** Keys that are remembered at once; beyond it the oldest are forgotten, which at worst tells something twice. */
const MAX_KEYS = 10_000

/** What was told lately. */
export interface DedupeWindow {
  /** Whether the key was not told within the window; from now on it was. */
  first(key: string): boolean
  /** It was not told after all. */
  forget(key: string): void
}

export function createDedupeWindow(clock: Pick<Clock, 'monotonic'>, seconds: number): DedupeWindow {
  /** In the order in which they were told: a Map keeps that. */
  const told = new Map<string, number>()
  return {
    first(key) {
      const now = clock.monotonic()
      for (const [each, at] of told) {
        if (now - at < seconds * 1000 && told.size <= MAX_KEYS) break
        told.delete(each)
      }
      if (told.has(key)) return false
      told.set(key, now)
      return true
    },
    forget: (key) => void told.delete(key),
  }
}

/** So many per minute, and that many at once at most. What is over it is counted. */
export interface RateLimit {
  take(): boolean
  /** How many were refused since the last call of this. */
  refused(): number
}

export function createRateLimit(clock: Pick<Clock, 'monotonic'>, perMinute: number): RateLimit {
  let tokens = perMinute
  let filledAt = clock.monotonic()
  let refused = 0
  return {
    take() {
      const now = clock.monotonic()
      tokens = Math.min(perMinute, tokens + ((now - filledAt) * perMinute) / 60_000)
      filledAt = now
      if (tokens < 1) {
        refused += 1
        return false
      }
      tokens -= 1
      return true
    },
    refused() {
      const count = refused
      refused = 0
      return count
    },
  }
}
