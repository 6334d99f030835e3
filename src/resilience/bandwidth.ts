import type { Clock } from '../core/clock.ts'
import type { Bandwidth } from '../core/context.ts'

/** Part of a second's bytes that may go at once: what was not used for longer than that is lost. */
const BURST_SECONDS = 0.25
/** Least bytes that may go at once: pieces of a transfer are usually 32 KiB, and none of those waits for itself. */
const MIN_BURST_BYTES = 65_536

/** Bytes that may go at once under a rate in bytes per second. */
export function burstOf(bytesPerSecond: number): number {
  return Math.max(MIN_BURST_BYTES, bytesPerSecond * BURST_SECONDS)
}

const AT_ONCE = Promise.resolve()

/** No limit: nothing is counted, and nothing waits. */
export const UNLIMITED: Bandwidth = {
  limit: 0,
  take: (bytes, signal) => refusalOf(bytes, signal) ?? AT_ONCE,
}

/** Somebody who waits, in the order of the calls. */
interface Waiting {
  readonly bytes: number
  grant(): void
}

/**
 * A token bucket of bytes: over any time of `t` seconds it lets go of at most `limit × t` bytes and a burst, where the
 * burst is a quarter of a second's bytes, at least 64 KiB, or one whole piece that is larger than that. Strictly first
 * come, first served. Kept as the moment at which it was empty, with one timer for whoever is first, and none while
 * nobody waits.
 */
export function createBandwidth(bytesPerSecond: number, clock: Clock): Bandwidth {
  if (bytesPerSecond === 0) return UNLIMITED
  const perMs = bytesPerSecond / 1000
  const burst = burstOf(bytesPerSecond)
  // A set keeps the order, and lets whoever gives up go at once.
  const queue = new Set<Waiting>()
  let emptyAt = Number.NEGATIVE_INFINITY
  let cancelTimer: (() => void) | undefined

  /** Takes that many, or tells how many milliseconds they are away; there can be `most` saved up by now. */
  function msUntil(bytes: number, most: number): number {
    const now = clock.monotonic()
    let saved = (now - emptyAt) * perMs
    if (saved > most) {
      // Counted in bytes: as a moment, `most` can round to a hair less than itself, each time the timer looks again.
      saved = most
      emptyAt = now - most / perMs
    }
    if (saved < bytes) return (bytes - saved) / perMs
    emptyAt = now - (saved - bytes) / perMs
    return 0
  }

  /** Lets go whoever may, and sets the timer for the next. */
  function serve(): void {
    cancelTimer?.()
    cancelTimer = undefined
    for (const first of queue) {
      // A piece beyond the burst is saved up for from when it is first.
      const ms = msUntil(first.bytes, Math.max(burst, first.bytes))
      if (ms > 0) {
        // Timers have whole milliseconds; one that comes early sets another.
        cancelTimer = clock.after(Math.max(1, Math.ceil(ms)), serve)
        return
      }
      queue.delete(first)
      first.grant()
    }
  }

  return {
    limit: bytesPerSecond,
    take(bytes, signal) {
      const refusal = refusalOf(bytes, signal)
      if (refusal !== undefined) return refusal
      if (queue.size === 0 && msUntil(bytes, burst) === 0) return AT_ONCE
      return new Promise((resolve, reject) => {
        const waiting: Waiting = {
          bytes,
          grant() {
            signal.removeEventListener('abort', onAbort)
            resolve()
          },
        }
        const onAbort = () => {
          queue.delete(waiting)
          reject(signal.reason)
          serve()
        }
        signal.addEventListener('abort', onAbort, { once: true })
        queue.add(waiting)
        if (queue.size === 1) serve()
      })
    },
  }
}

/** A rejection where the call itself is not in order. */
function refusalOf(bytes: number, signal: AbortSignal): Promise<never> | undefined {
  if (signal.aborted) return Promise.reject(signal.reason)
  if (Number.isSafeInteger(bytes) && bytes >= 0) return undefined
  return Promise.reject(new RangeError(`a number of bytes is a whole one from 0 up, not ${bytes}`))
}

/** The bandwidth of every worker, and of every target that has a limit of its own. */
export interface Bandwidths {
  /** What a run of this worker on this target gets; null for a run without a target. */
  of(worker: string, target: string | null): Bandwidth
}

export interface BandwidthParts {
  readonly clock: Clock
  /** Bytes per second, 0 for no limit: of the worker, or with the target's override. */
  limitOf(worker: string, target: string | null): number
}

/**
 * The worker's limit holds for all its runs together, and a target's own one within that: one that is higher or 0 does
 * not raise the worker's. Buckets are made on first use.
 */
export function createBandwidths({ clock, limitOf }: BandwidthParts): Bandwidths {
  const known = new Map<string, Bandwidth>()

  function bucket(key: string, limit: number): Bandwidth {
    if (limit === 0) return UNLIMITED
    let found = known.get(key)
    if (found === undefined) {
      found = createBandwidth(limit, clock)
      known.set(key, found)
    }
    return found
  }

  return {
    of(worker, target) {
      const limit = limitOf(worker, null)
      const whole = bucket(worker, limit)
      const own = target === null ? limit : limitOf(worker, target)
      if (target === null || own === 0 || (limit !== 0 && own >= limit)) return whole
      const part = bucket(`${worker} ${target}`, own)
      return limit === 0 ? part : both(part, whole)
    },
  }
}

/** Within both: whoever waits for the first, the narrower one, holds nothing of the second. */
function both(part: Bandwidth, whole: Bandwidth): Bandwidth {
  return {
    limit: Math.min(part.limit, whole.limit),
    async take(bytes, signal) {
      await part.take(bytes, signal)
      await whole.take(bytes, signal)
    },
  }
}
