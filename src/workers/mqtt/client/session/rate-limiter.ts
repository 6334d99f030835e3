import type { Clock } from '../../../../core/clock.ts'
import { createAbortGroup } from '../link/abort-group.ts'

/** Milliseconds that a timer may come before the moment it was set for. */
const EARLY_MS = 1e-3

export interface RateLimiter {
  /** Undefined where it may go at once; otherwise a promise of its turn, first come, first served. */
  take(signal: AbortSignal, owner?: object): Promise<void> | undefined
  /** Whoever still waits on behalf of `owner` gives up. */
  abandon(owner: object, reason: unknown): void
}

interface Waiter {
  readonly signal: AbortSignal
  readonly owner: object | undefined
  resolve(): void
  reject(reason: unknown): void
}

/**
 * `burst` at once, `perSecond` on average, in the order of the calls; 0 per second is no limit. Kept as the time at which
 * all of the burst would be there again: the generic cell rate algorithm (ITU-T I.371, annex A).
 */
export function createRateLimiter(perSecond: number, burst: number, clock: Clock): RateLimiter {
  if (perSecond === 0) return { take: () => undefined, abandon: () => undefined }
  const interval = 1000 / perSecond
  // A set keeps the order, and lets whoever gives up go at once.
  const queue = new Set<Waiter>()
  const aborts = createAbortGroup<Waiter>((waiter, reason) => {
    queue.delete(waiter)
    waiter.reject(reason)
    serve()
  })
  let fullAt = Number.NEGATIVE_INFINITY
  let timer: (() => void) | undefined

  function msUntilNext(now: number): number {
    return Math.max(0, fullAt - (burst - 1) * interval - now - EARLY_MS)
  }
  function spend(now: number): void {
    fullAt = Math.max(fullAt, now) + interval
  }
  function serve(): void {
    timer?.()
    timer = undefined
    for (const waiter of queue) {
      const now = clock.monotonic()
      const ms = msUntilNext(now)
      if (ms > 0) {
        timer = clock.after(Math.max(1, Math.ceil(ms)), serve)
        return
      }
      spend(now)
      queue.delete(waiter)
      aborts.remove(waiter.signal, waiter)
      waiter.resolve()
    }
  }

  return {
    take(signal, owner) {
      const now = clock.monotonic()
      if (queue.size === 0 && msUntilNext(now) === 0) {
        spend(now)
        return undefined
      }
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason)
        const waiter = { signal, owner, resolve, reject }
        aborts.add(signal, waiter)
        queue.add(waiter)
        if (queue.size === 1) serve()
      })
    },
    abandon(owner, reason) {
      for (const waiter of queue) {
        if (waiter.owner !== owner) continue
        queue.delete(waiter)
        aborts.remove(waiter.signal, waiter)
        waiter.reject(reason)
      }
      serve()
    },
  }
}
