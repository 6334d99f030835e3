import { Cron } from 'croner'

/**
 * When something recurs. Times are milliseconds since the epoch; an occurrence is a point in time, the same for everyone
 * who computes it, whatever the clock of this machine says.
 */
export interface Recurrence {
  /** The first occurrence later than `after`; null where there is none any more. */
  next(after: number): number | null
  /** Occurrences in (after, until], oldest first; where there are more than `max`, the last `max` of them. */
  latest(after: number, until: number, max: number): Occurrences
}

export interface Occurrences {
  readonly times: readonly number[]
  /** Whether earlier ones were left out. */
  readonly more: boolean
}

/** Nothing occurs before `start`, nor at or after `end`. */
export interface Bounds {
  readonly start?: number | undefined
  readonly end?: number | undefined
}

const DAY_MS = 86_400_000

/** Short names of cron expressions, as cron(8) has them. */
export const CRON_NICKNAMES = ['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly'] as const

/** Whether it is a cron expression of five fields or a nickname, and there is a date that fits it. */
export function isCron(pattern: string): boolean {
  try {
    return wallClock(pattern)(Date.UTC(2000, 0, 1)) !== null
  } catch {
    return false
  }
}

/** Whether it is the name of a time zone that this Node knows, such as `Europe/Berlin`. */
export function isTimeZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: zone })
    return !/^[+-]/.test(zone)
  } catch {
    return false
  }
}

/**
 * A cron expression in the local time of a zone. Every local time that fits occurs exactly once:
 *
 * - a local time that is skipped when clocks go forward occurs at the first instant after the gap; several such times,
 *   and one that fits at the end of the gap anyway, are one occurrence;
 * - a local time that comes twice when clocks go back occurs the first time.
 *
 * croner answers on a plain calendar without daylight saving; its own rules for the gap and the repeated hour are not
 * used, so that the rule is this one for every expression. Throws on what `isCron` and `isTimeZone` refuse.
 */
export function cronRecurrence(pattern: string, zone: string, bounds: Bounds = {}): Recurrence {
  const nextWall = wallClock(pattern)
  const local = localTime(zone)
  return bounded(bounds, (after) => {
    // Local times up to that of `after` have occurred by then, also where `after` is in the repeated hour.
    for (let wall = nextWall(local.wallAt(after)); wall !== null; wall = nextWall(wall)) {
      const instant = local.instantOf(wall)
      if (instant > after) return instant
    }
    return null
  })
}

/**
 * Every so many milliseconds, counted from `start`, else from the epoch: steady over restarts, and untouched by daylight
 * saving.
 */
export function intervalRecurrence(everyMs: number, bounds: Bounds = {}): Recurrence {
  const anchor = bounds.start ?? 0
  return bounded(bounds, (after) => anchor + (Math.floor((after - anchor) / everyMs) + 1) * everyMs)
}

function bounded({ start, end }: Bounds, nextOf: (after: number) => number | null): Recurrence {
  function next(after: number): number | null {
    const found = nextOf(start === undefined ? after : Math.max(after, start - 1))
    return found === null || (end !== undefined && found >= end) ? null : found
  }

  function between(after: number, until: number): number[] {
    const times: number[] = []
    for (let time = next(after); time !== null && time <= until; time = next(time)) times.push(time)
    return times
  }

  return {
    next,
    latest(after, until, max) {
      // Looks back over ever longer times, so that years without a process do not cost years of occurrences.
      const first = next(after)
      if (first === null || first > until) return { times: [], more: false }
      for (let span = DAY_MS / 24; ; span *= 4) {
        const from = Math.max(after, until - span)
        const times = between(from, until)
        if (times.length > max) return { times: times.slice(-max), more: true }
        if (from === after) return { times, more: false }
        if (times.length === max && max > 0) return { times, more: (times[0] as number) > first }
      }
    },
  }
}

/** The next time on a calendar without zones: local times, as milliseconds as if they were UTC. */
function wallClock(pattern: string): (after: number) => number | null {
  if (!/^@[a-z]+$|^\S+(?: \S+){4}$/.test(pattern.trim().replaceAll(/\s+/g, ' '))) throw new Error('not five fields')
  // `?` stands for the time at which croner reads it: two processes would disagree.
  if (pattern.includes('?')) throw new Error('not a fixed time')
  const cron = new Cron(pattern, { mode: '5-part', utcOffset: 0, paused: true })
  return (after) => cron.nextRun(new Date(after))?.getTime() ?? null
}

interface LocalTime {
  wallAt(instant: number): number
  instantOf(wall: number): number
}

function localTime(zone: string): LocalTime {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })

  function wallAt(instant: number): number {
    const part = Object.fromEntries(format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]))
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part
    return Date.UTC(year, month - 1, day, hour, minute, second) + (((instant % 1000) + 1000) % 1000)
  }

  const offsetAt = (instant: number) => wallAt(instant) - instant

  function instantOf(wall: number): number {
    // A day to either side is beyond every offset, and no zone changes its offset twice in so short a time.
    const before = offsetAt(wall - DAY_MS)
    const after = offsetAt(wall + DAY_MS)
    const early = wall - Math.max(before, after)
    const late = wall - Math.min(before, after)
    if (wallAt(early) === wall) return early
    if (wallAt(late) === wall) return late
    return firstAfterGap(early, late, wall)
  }

  /** The instant at which local time jumps over `wall`: it is before it at `early`, and after it at `late`. */
  function firstAfterGap(early: number, late: number, wall: number): number {
    let low = early
    let high = late
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (wallAt(middle) > wall) high = middle
      else low = middle
    }
    return high
  }

  return { wallAt, instantOf }
}
