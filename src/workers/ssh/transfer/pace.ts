import type { Clock } from '../../../core/clock.ts'
import type { Bandwidth } from '../../../core/context.ts'

/** Lets bytes go at a rate. */
export interface Pace {
  /** Undefined where they may go at once. Rejects with the signal's reason. */
  take(bytes: number, signal: AbortSignal): Promise<void> | undefined
}

/** Part of a second's bytes that may go at once. */
const BURST_SECONDS = 0.25

/** The limit of the call, in bytes per second, within that of the worker and the target. */
export function createPace(limit: number | undefined, clock: Clock, bandwidth: Bandwidth): Pace {
  const outer = bandwidth.limit === 0 ? undefined : bandwidth
  if (limit === undefined) return { take: (bytes, signal) => outer?.take(bytes, signal) }
  /** When everything taken so far is paid for. */
  let paidAt = Number.NEGATIVE_INFINITY
  return {
    take(bytes, signal) {
      const now = clock.monotonic()
      paidAt = Math.max(paidAt, now - BURST_SECONDS * 1000) + (bytes / limit) * 1000
      const wait = paidAt - now
      if (wait <= 0) return outer?.take(bytes, signal)
      return clock.sleep(wait, signal).then(() => outer?.take(bytes, signal))
    },
  }
}
