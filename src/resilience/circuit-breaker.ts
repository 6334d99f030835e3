import type { Clock } from '../core/clock.ts'
import { type MhvError, mhvError } from '../core/errors.ts'
import type { BreakerDefaults } from '../core/worker.ts'

export type BreakerState = 'closed' | 'open' | 'half-open'

/** A call that the breaker let through. Exactly one of the three is called, once. */
export interface BreakerPass {
  success(): void
  failure(): void
  /** The call ended in a way that says nothing about the target. */
  neutral(): void
}

/** One breaker per target: after some failures in a row calls are held back for a while. */
export interface CircuitBreaker {
  state(): BreakerState
  /** Throws MHV_BREAKER_OPEN with retry_after; changes nothing otherwise. */
  check(): void
  /** As `check`, and counts the call until its outcome is told. What was let in before a change is not counted after. */
  enter(): BreakerPass
}

/** Only what speaks against the target counts: the network between us and it. A command's exit code never does. */
export function speaksAgainstTarget(error: MhvError): boolean {
  return error.spec.category === 'network'
}

export function createCircuitBreaker(name: string, limits: BreakerDefaults, clock: Clock): CircuitBreaker {
  let failures = 0
  let openUntil: number | null = null
  let trials = 0
  /** Rises whenever it opens or closes: what a call from before then tells is out of date. */
  let era = 0

  function state(): BreakerState {
    if (openUntil === null) return 'closed'
    return clock.monotonic() < openUntil ? 'open' : 'half-open'
  }

  function check(): void {
    const now = state()
    if (now === 'closed' || (now === 'half-open' && trials < limits.half_open_max_calls)) return
    // While trials are under way nobody knows how long: one second is as good as any.
    const seconds = now === 'open' ? Math.ceil(((openUntil ?? 0) - clock.monotonic()) / 1000) : 1
    throw mhvError(
      'MHV_BREAKER_OPEN',
      `${name}: ${failures} failures in a row; calls are held back for another ${seconds} s`,
      { retryAfter: seconds, details: { target: name, failures, state: now } },
    )
  }

  function change(until: number | null): void {
    openUntil = until
    trials = 0
    era += 1
  }

  function succeed(): void {
    failures = 0
    if (openUntil !== null) change(null)
  }

  function fail(): void {
    failures += 1
    if (openUntil !== null || failures >= limits.failure_threshold) {
      change(clock.monotonic() + limits.recovery_timeout * 1000)
    }
  }

  return {
    state,
    check,
    enter() {
      check()
      const entered = era
      const trial = openUntil !== null
      if (trial) trials += 1
      let told = false
      const tell = (act: () => void) => () => {
        if (told) return
        told = true
        if (entered !== era) return
        if (trial) trials -= 1
        act()
      }
      return { success: tell(succeed), failure: tell(fail), neutral: tell(() => undefined) }
    },
  }
}

/** Breakers that are remembered; beyond that, those that are closed are forgotten. */
const MAX_BREAKERS = 10_000

/** The breakers of all targets, made on first use. */
export interface CircuitBreakers {
  of(worker: string, target: string, limits: BreakerDefaults): CircuitBreaker
  open(): readonly { readonly name: string; readonly state: BreakerState }[]
}

export function createCircuitBreakers(clock: Clock): CircuitBreakers {
  const breakers = new Map<string, CircuitBreaker>()

  function forgetClosed(): void {
    for (const [name, breaker] of breakers) if (breaker.state() === 'closed') breakers.delete(name)
  }

  return {
    of(worker, target, limits) {
      const name = `${worker}:${target}`
      let breaker = breakers.get(name)
      if (breaker === undefined) {
        if (breakers.size >= MAX_BREAKERS) forgetClosed()
        breaker = createCircuitBreaker(name, limits, clock)
        breakers.set(name, breaker)
      }
      return breaker
    },
    open: () =>
      [...breakers]
        .map(([name, breaker]) => ({ name, state: breaker.state() }))
        .filter((each) => each.state !== 'closed'),
  }
}
