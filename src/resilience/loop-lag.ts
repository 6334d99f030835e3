import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock } from '../core/clock.ts'
import { mhvError } from '../core/errors.ts'
import type { Admission } from './admission.ts'

/** How late this process comes to what it has to do. */
export interface LoopLag {
  /**
   * The delay of the event loop that half of its turns had at least, in milliseconds: of the last whole second or of the
   * one that has begun, whichever is less. One long stall, such as loading a module, is none.
   */
  ms(): number
  stop(): void
}

type LoopDelay = Pick<ReturnType<typeof monitorEventLoopDelay>, 'enable' | 'disable' | 'percentile' | 'count' | 'reset'>

const WINDOW_MS = 1_000

export function createLoopLag(clock: Pick<Clock, 'after'>, delay: LoopDelay = monitorEventLoopDelay()): LoopLag {
  delay.enable()
  let before = 0
  let cancel: () => void
  const median = () => delay.percentile(50) / 1e6
  const turn = () => {
    before = median()
    delay.reset()
    cancel = clock.after(WINDOW_MS, turn)
  }
  cancel = clock.after(WINDOW_MS, turn)
  return {
    // Right after a turn nothing has been measured yet.
    ms: () => (delay.count === 0 ? before : Math.min(before, median())),
    stop() {
      cancel()
      delay.disable()
    },
  }
}

/** Admission that takes no new runs of low priority while the event loop lags: what is there already goes first. */
export function shedOnLag(admission: Admission, lag: Pick<LoopLag, 'ms'>, limitMs: number | null): Admission {
  if (limitMs === null) return admission
  return {
    ...admission,
    enter(request) {
      // Asked for by few calls only: telling the lag takes longer than the rest of admission.
      if (request.priority !== 'low') return admission.enter(request)
      const behind = Math.round(lag.ms())
      if (behind <= limitMs) return admission.enter(request)
      throw mhvError(
        'MHV_ADMISSION_FULL',
        `the event loop is ${behind} ms behind; above ${limitMs} ms (admission.max_loop_lag_ms) no run of low priority is taken`,
        { retryAfter: 1, details: { limit: 'event_loop_lag', lag_ms: behind, max_ms: limitMs } },
      )
    },
  }
}
