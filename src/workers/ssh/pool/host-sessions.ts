import type { Clock } from '../../../core/clock.ts'
import { createPace } from './pace.ts'

/**
 * Milliseconds between attempts to open one more than was learnt. What was learnt is proven, but for a host that took
 * longer than REAP_MS to be done with a session: so the first attempt comes soon, and those of a host that really allows
 * no more become rare.
 */
const PROBE = { first: 3_000, longest: 300_000 }

/** How many sessions a host allows on a connection (MaxSessions of sshd), as far as it has been proven. */
export interface HostSessions {
  /** At most so many; Infinity where it has refused none. */
  learnt(): number
  /** Whether one more than that may be tried now, on one connection at a time. */
  mayProbe(): boolean
  /** It is being tried; the returned function ends that. */
  probe(): () => void
  /** It allows no more than `limit`, which is less than what was learnt. */
  lower(limit: number): void
  /** One more than what was learnt was refused, and nothing else can be the reason. */
  confirm(): void
  /** It has allowed `count` at once; true where that is more than what was learnt. */
  raise(count: number): boolean
  /** Nothing is known any more. */
  forget(): void
}

/** `wake` is called when one more may be tried again. */
export function createHostSessions(clock: Clock, wake: () => void): HostSessions {
  const pace = createPace({ clock, ...PROBE, wake })
  let learnt = Number.POSITIVE_INFINITY
  let probing = false

  return {
    learnt: () => learnt,
    mayProbe: () => !probing && pace.ready(),
    probe() {
      probing = true
      return () => {
        probing = false
      }
    },
    lower(limit) {
      learnt = limit
      // A new lesson is doubted soon, one that was confirmed less and less often.
      pace.reset()
      pace.rest()
    },
    confirm: pace.rest,
    raise(count) {
      if (count <= learnt) return false
      learnt = count
      pace.reset()
      return true
    },
    forget() {
      learnt = Number.POSITIVE_INFINITY
      pace.reset()
    },
  }
}
