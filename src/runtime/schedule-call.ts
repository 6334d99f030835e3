import type { Schedule } from '../config/schedules.ts'
import { isoTime } from '../core/clock.ts'
import type { Principal } from '../core/context.ts'
import type { EnvelopeInput } from '../core/envelope.ts'

/**
 * The key makes the occurrence one run, whoever fires it and however often. It is given by the name and the nominal time
 * alone: neither jitter nor delay is part of it.
 */
export function occurrenceKey(name: string, occurrence: number): string {
  return `schedule:${name}:${isoTime(occurrence)}`
}

/** As whom a schedule acts: policies name it. */
export function schedulePrincipal(name: string): Principal {
  return { id: `schedule:${name}`, kind: 'schedule' }
}

/** The call that an occurrence makes; without one, the call that the schedule would make now. */
export function callOf(schedule: Schedule, occurrence?: number) {
  const { operation, input, target, timeout, priority, reason, name } = schedule
  const envelope: EnvelopeInput = {
    priority,
    ...(target === null ? {} : { target }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(reason === undefined ? {} : { reason }),
    ...(occurrence === undefined ? {} : { idempotency_key: occurrenceKey(name, occurrence) }),
  }
  return { operation, input, envelope }
}
