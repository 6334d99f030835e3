import type { Clock } from '../../../../core/clock.ts'
import type { Logger } from '../../../../core/context.ts'
import type { IncomingMessage } from '../mqtt-session.ts'
import { identityProblem } from './identity.ts'
import type { IdentitySettings } from './identity-settings.ts'

/** Least time between two warnings: an impostor shall not fill the log. */
const WARN_EVERY_MS = 60_000

/** Looks at every message before anybody gets it. */
export interface IdentityCheck {
  /** The message, marked where it has to be; undefined where nobody may get it. */
  check(message: IncomingMessage): IncomingMessage | undefined
  readonly impostors: () => number
}

export function createIdentityCheck(
  { mismatch, sender_property }: IdentitySettings,
  clock: Clock,
  log: Logger,
): IdentityCheck {
  let impostors = 0
  let warnedAt = Number.NEGATIVE_INFINITY
  return {
    impostors: () => impostors,
    check(message) {
      if (mismatch === 'ignore') return message
      const problem = identityProblem(message, sender_property)
      if (problem === undefined) return message
      if (clock.monotonic() - warnedAt >= WARN_EVERY_MS) {
        warnedAt = clock.monotonic()
        const { topic, endpoint } = message
        log.warn('mqtt: a message is not from the device of its topic', { topic, endpoint, problem, mismatch })
      }
      if (mismatch === 'mark') return { ...message, identity_problem: problem }
      impostors += 1
      return undefined
    },
  }
}
