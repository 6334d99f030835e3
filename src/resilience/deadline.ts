import type { Clock } from '../core/clock.ts'
import { type MhvError, mhvError } from '../core/errors.ts'

/** One abort signal for a run: its deadline, its cancellation, the end of the process. */
export interface Deadline {
  /** `reason` is always an MhvError. */
  readonly signal: AbortSignal
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Aborts now; the first reason stays. */
  abort(reason: MhvError): void
  /** Takes the timer away; call it when the run is over. */
  clear(): void
}

export function createDeadline(clock: Clock, at: number): Deadline {
  const controller = new AbortController()
  const cancelTimer = clock.after(at - clock.now(), () => {
    controller.abort(mhvError('MHV_RUN_TIMEOUT', 'the deadline of the run has passed'))
  })
  return {
    signal: controller.signal,
    at,
    abort: (reason) => controller.abort(reason),
    clear: cancelTimer,
  }
}
