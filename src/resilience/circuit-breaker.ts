import type { Clock } from '../core/clock.ts'
import { type MhvError, mhvError } from '../core/errors.ts'
import { createOutcomeWindow } from './outcome-window.ts'

export const BREAKER_STATES = ['closed', 'open', 'half-open'] as const
export type BreakerState = (typeof BREAKER_STATES)[number]

/** What an operator may do with a breaker: hold it open or closed, or leave it to itself again. */
export const FORCED_STATES = ['open', 'closed', 'auto'] as const
export type ForcedState = (typeof FORCED_STATES)[number]

/** When calls to a target are held back. Seconds and counts; see the settings of the same names. */
export interface BreakerLimits {
  readonly failure_threshold: number
  readonly window_seconds: number
  readonly minimum_calls: number
  readonly failure_ratio: number
  readonly recovery_timeout: number
  readonly half_open_max_calls: number
  readonly success_threshold: number
}

/** A change of state, or of what an operator has decided. */
export interface BreakerChange {
  readonly from: BreakerState
  readonly to: BreakerState
  readonly forced: 'open' | 'closed' | null
  /** Failures and calls within the window that led to it. */
  readonly failures: number
  readonly calls: number
}

/** A call that the breaker let through. Exactly one of the three is called, once. */
export interface BreakerPass {
  /** Whether it is one of those that find out whether the target is back. */
  readonly trial: boolean
  /** The change that the outcome made; null for none. */
  success(): BreakerChange | null
  failure(): BreakerChange | null
  /** The call ended in a way that says nothing about the target. */
  neutral(): null
}

/** A breaker as people and programs see it. Times are milliseconds since the epoch. */
export interface BreakerView {
  readonly state: BreakerState
  readonly forced: 'open' | 'closed' | null
  readonly failures: number
  readonly calls: number
  /** Until when calls are held back; null where nobody knows or none are. */
  readonly open_until: number | null
}

/** What is kept of a breaker that is not simply closed. */
export interface BreakerRecord {
  readonly forced: 'open' | 'closed' | null
  /** Wall time in milliseconds since the epoch; null while it is only forced. */
  readonly open_until: number | null
  /** Failures that opened it. */
  readonly failures: number
}

/** One breaker per target: after too many failures within a window calls are held back for a while. */
export interface CircuitBreaker {
  view(): BreakerView
  /** Throws MHV_BREAKER_OPEN with retry_after; changes nothing otherwise. */
  check(): void
  /** As `check`, and counts the call until its outcome is told. What was let in before a change is not counted after. */
  enter(): BreakerPass
  force(state: ForcedState): BreakerChange | null
  /** Null for one that is closed and not forced: nothing needs to be kept. */
  record(): BreakerRecord | null
  restore(record: BreakerRecord): void
}

/** Only what speaks against the target counts: the network between us and it. A command's exit code never does. */
export function speaksAgainstTarget(error: MhvError): boolean {
  return error.spec.category === 'network'
}

/**
 * Closed, it opens when within the last `window_seconds` there were `failure_threshold` failures, `minimum_calls` calls,
 * and failures among at least `failure_ratio` of them. Open, it holds calls back for `recovery_timeout` seconds. Then it
 * is half-open: at most `half_open_max_calls` at once are let through; `success_threshold` successes close it, one
 * failure opens it again. Time passes by the monotonic clock: a wall clock that jumps changes nothing.
 */
export function createCircuitBreaker(name: string, limits: BreakerLimits, clock: Clock): CircuitBreaker {
  const window = createOutcomeWindow(limits.window_seconds * 1000, clock.monotonic)
  let openUntil: number | null = null
  let openedBy = 0
  let forced: 'open' | 'closed' | null = null
  let trials = 0
  let successes = 0
  /** Rises whenever it opens, closes or is forced: what a call from before then tells is out of date. */
  let era = 0

  function state(): BreakerState {
    if (forced !== null) return forced
    if (openUntil === null) return 'closed'
    return clock.monotonic() < openUntil ? 'open' : 'half-open'
  }

  function counted(): { readonly calls: number; readonly failures: number } {
    const counts = window.counts()
    return openUntil === null ? counts : { ...counts, failures: openedBy }
  }

  function check(): void {
    const now = state()
    if (now === 'closed' || (now === 'half-open' && trials < limits.half_open_max_calls)) return
    throw heldBack(name, now, forced, counted().failures, secondsLeft(now))
  }

  /** While trials are under way nobody knows how long: one second is as good as any. */
  function secondsLeft(now: BreakerState): number | undefined {
    if (forced !== null) return undefined
    return now === 'open' ? Math.ceil(((openUntil ?? 0) - clock.monotonic()) / 1000) : 1
  }

  function change(act: () => void): BreakerChange {
    const from = state()
    const { failures, calls } = counted()
    act()
    trials = 0
    successes = 0
    era += 1
    return { from, to: state(), forced, failures, calls }
  }

  function opened(): void {
    openedBy = counted().failures
    openUntil = clock.monotonic() + limits.recovery_timeout * 1000
    window.clear()
  }

  function closed(): void {
    openUntil = null
    window.clear()
  }

  function succeed(trial: boolean): BreakerChange | null {
    if (!trial) {
      window.add(false)
      return null
    }
    successes += 1
    return successes < limits.success_threshold ? null : change(closed)
  }

  function fail(trial: boolean): BreakerChange | null {
    if (trial) return change(opened)
    window.add(true)
    const { failures, calls } = window.counts()
    const { failure_threshold, minimum_calls, failure_ratio } = limits
    const tooMany = failures >= failure_threshold && calls >= minimum_calls && failures >= failure_ratio * calls
    return tooMany && forced === null ? change(opened) : null
  }

  return {
    view() {
      const now = state()
      const until = now === 'open' && forced === null && openUntil !== null ? openUntil : null
      const open_until = until === null ? null : clock.now() + (until - clock.monotonic())
      return { state: now, forced, ...counted(), open_until }
    },
    check,
    enter() {
      check()
      const entered = era
      const trial = state() === 'half-open'
      if (trial) trials += 1
      let told = false
      const tell =
        <T>(act: (trial: boolean) => T) =>
        () => {
          if (told) return null
          told = true
          if (entered !== era) return null
          if (trial) trials -= 1
          return act(trial)
        }
      return { trial, success: tell(succeed), failure: tell(fail), neutral: tell(() => null) }
    },
    force(to) {
      const wanted = to === 'auto' ? null : to
      if (forced === wanted) return null
      return change(() => {
        forced = wanted
        // Whoever forced it knows better than what was counted before.
        closed()
      })
    },
    record() {
      if (forced === null && openUntil === null) return null
      const open_until = openUntil === null ? null : clock.now() + (openUntil - clock.monotonic())
      return { forced, open_until, failures: counted().failures }
    },
    restore(record) {
      forced = record.forced
      openedBy = record.failures
      if (record.open_until === null) return
      // The wall clock may have been set meanwhile: never longer than a breaker that opened just now.
      const left = Math.min(record.open_until - clock.now(), limits.recovery_timeout * 1000)
      openUntil = clock.monotonic() + Math.max(0, left)
    },
  }
}

function heldBack(
  name: string,
  state: BreakerState,
  forced: 'open' | 'closed' | null,
  failures: number,
  seconds: number | undefined,
): MhvError {
  const details = { target: name, failures, state, forced: forced !== null }
  if (seconds === undefined) {
    return mhvError('MHV_BREAKER_OPEN', `${name}: an operator holds calls back`, {
      details,
      remedy: 'Ask why; `mahavishnu breakers force TARGET --worker WORKER --state auto` lets calls through again.',
    })
  }
  const why = state === 'open' ? `${failures} failures lately` : 'it is being tried whether the target is back'
  return mhvError('MHV_BREAKER_OPEN', `${name}: ${why}; calls are held back for another ${seconds} s`, {
    retryAfter: seconds,
    details,
  })
}
