import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'

export interface FakeClock extends Clock {
  /**
   * Moves the time on, and runs what falls due on the way in the order of its time, each at its own time and with
   * everything that follows from it at once. What is set meanwhile and falls due as well runs too.
   */
  advance(ms: number): Promise<void>
}

interface Timer {
  readonly due: number
  readonly callback: () => void
}

/** A clock that stands still until it is moved. Starts at `startMs` milliseconds since the epoch. */
export function createFakeClock(startMs: number): FakeClock {
  const timers = new Set<Timer>()
  let elapsed = 0

  function set(ms: number, callback: () => void): () => void {
    const timer = { due: elapsed + Math.max(ms, 0), callback }
    timers.add(timer)
    return () => timers.delete(timer)
  }
  /** The earliest one due by then; of several at the same time, the one that was set first. */
  function nextDue(until: number): Timer | undefined {
    let next: Timer | undefined
    for (const timer of timers) {
      if (timer.due <= until && (next === undefined || timer.due < next.due)) next = timer
    }
    return next
  }
  return {
    now: () => startMs + elapsed,
    monotonic: () => elapsed,
    sleep(ms, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const abort = (): void => {
          cancel()
          reject(signal?.reason)
        }
        const cancel = set(ms, () => {
          signal?.removeEventListener('abort', abort)
          resolve()
        })
        signal?.addEventListener('abort', abort, { once: true })
      })
    },
    after: set,
    async advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`a clock does not go back: ${ms}`)
      const until = elapsed + ms
      await nextTurn()
      for (let timer = nextDue(until); timer !== undefined; timer = nextDue(until)) {
        timers.delete(timer)
        elapsed = Math.max(elapsed, timer.due)
        timer.callback()
        await nextTurn()
      }
      elapsed = until
    },
  }
}
