const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** A cron expression as lists. */
export interface Fields {
  readonly minutes: readonly number[]
  readonly hours: readonly number[]
  /** Empty: every day. 0 is Sunday. */
  readonly weekdays: readonly number[]
}

export function patternOf({ minutes, hours, weekdays }: Fields): string {
  return `${minutes.join(',')} ${hours.join(',')} * * ${weekdays.length === 0 ? '*' : weekdays.join(',')}`
}

/**
 * The rule, worked out the slow way and without the library: walk through time minute by minute. A local minute that
 * fits counts the first time it is met; what the walk jumps over counts at the minute where it lands.
 */
export function slowOccurrences(
  { minutes, hours, weekdays }: Fields,
  zone: string,
  from: number,
  until: number,
): number[] {
  const text = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' })
  const localMinute = (at: number) => Date.parse(`${text.format(at).replace(' ', 'T')}:00Z`) / MINUTE
  const fits = (minute: number) => {
    const date = new Date(minute * MINUTE)
    return (
      minutes.includes(date.getUTCMinutes()) &&
      hours.includes(date.getUTCHours()) &&
      (weekdays.length === 0 || weekdays.includes(date.getUTCDay()))
    )
  }
  const found: number[] = []
  // Far enough before `from` that a repeated hour around it is known as one.
  let highest = localMinute(from - 3 * HOUR)
  for (let at = from - 3 * HOUR + MINUTE; at <= until; at += MINUTE) {
    const local = localMinute(at)
    let occurs = false
    for (; highest < local; highest++) occurs = fits(highest + 1) || occurs
    if (occurs && at > from) found.push(at)
  }
  return found
}

/** Zones whose clocks change differently: by an hour, by half an hour, on either side of the equator, and never. */
export const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'UTC'] as const
/** Days of 2026 on which clocks change in one of them, and an ordinary one. */
export const DAYS = [
  '2026-03-29',
  '2026-10-25',
  '2026-03-08',
  '2026-11-01',
  '2026-04-05',
  '2026-10-04',
  '2026-06-15',
] as const
