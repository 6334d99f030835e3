import type { Clock } from '../core/clock.ts'
import { type MhvError, mhvError } from '../core/errors.ts'

/** One abort signal for a run: its deadline, its cancellation, the end of the process. */
export interface Deadline {
  /** `reason` is always an MhvError. */
  readonly signal: AbortSignal
  /** Milliseconds since the epoch. */
  readonly at: number
  /** The same on the monotonic clock, which is the one that is watched. */
  readonly due: number
  /** Aborts now; the first reason stays. */
  abort(reason: MhvError): void
  /** Takes the timer away; call it when the run is over. */
  clear(): void
}

/**
 * A deadline whose time is watched from `arm` on. Signal and timer come into being when they are asked for: thousands of
 * runs may wait for their slot, where admission watches the time. A class for the same reason.
 */
export class RunDeadline implements Deadline {
  readonly at: number
  /** How long a run has does not change when the wall clock is set. */
  readonly due: number
  readonly #clock: Clock
  #controller: AbortController | undefined
  #reason: MhvError | undefined
  #cancelTimer: (() => void) | undefined

  constructor(clock: Clock, at: number) {
    this.#clock = clock
    this.at = at
    this.due = clock.monotonic() + (at - clock.now())
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** As `signal.aborted`, without making one. */
  get aborted(): boolean {
    return this.#reason !== undefined
  }

  arm(): void {
    const left = this.due - this.#clock.monotonic()
    const passed = () => this.abort(mhvError('MHV_RUN_TIMEOUT', 'the deadline of the run has passed'))
    // Not with a timer of no time: whoever arms it wants to know at once whether there is any left.
    if (left <= 0) passed()
    else this.#cancelTimer ??= this.#clock.after(left, passed)
  }

  abort(reason: MhvError): void {
    this.#reason ??= reason
    this.#controller?.abort(this.#reason)
  }

  clear(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
  }
}

/** A deadline that is watched from now on. */
export function createDeadline(clock: Clock, at: number): Deadline {
  const deadline = new RunDeadline(clock, at)
  deadline.arm()
  return deadline
}
