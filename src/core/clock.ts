import { setTimeout as delay } from 'node:timers/promises'

/** Time, as everything here asks for it, so that tests can turn it. */
export interface Clock {
  /** Wall time in milliseconds since the epoch. */
  now(): number
  /** Milliseconds of a clock that never goes back; only differences mean something. */
  monotonic(): number
  /** Waits; rejects with the signal's reason when it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Calls back once after `ms`; the returned function cancels it. Does not keep the process alive. */
  after(ms: number, callback: () => void): () => void
}

/** Longest delay of a Node timer, in milliseconds; a longer one would fire at once, so it is waited for in steps. */
const MAX_TIMER_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  async sleep(ms, signal) {
    try {
      let left = atLeastZero(ms)
      for (; left > MAX_TIMER_MS; left -= MAX_TIMER_MS) await delay(MAX_TIMER_MS, undefined, { signal })
      await delay(left, undefined, { signal })
    } catch (error) {
      throw signal?.aborted ? signal.reason : error
    }
  },
  after(ms, callback) {
    let timer: NodeJS.Timeout
    const arm = (left: number) => {
      const step = left > MAX_TIMER_MS ? () => arm(left - MAX_TIMER_MS) : callback
      timer = setTimeout(step, Math.min(left, MAX_TIMER_MS)).unref()
    }
    arm(atLeastZero(ms))
    return () => clearTimeout(timer)
  },
}

/** What is late already comes at once: Node would say so on standard error, and wait for a millisecond. */
function atLeastZero(ms: number): number {
  return Math.max(0, ms || 0)
}

/** ISO 8601 in UTC with milliseconds, of milliseconds since the epoch. */
export function isoTime(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
