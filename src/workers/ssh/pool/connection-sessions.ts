import type { ClientChannel, SFTPWrapper } from 'ssh2'
import type { Clock } from '../../../core/clock.ts'
import type { HostSessions } from './host-sessions.ts'
import { createPace } from './pace.ts'

/** Milliseconds after its end within which sshd is done with a session: its process is gone and its place free. */
export const REAP_MS = 1_000
/**
 * Milliseconds between attempts to open as many as were open before, and to open more than that. A refusal may have met
 * a session that had just ended, and sshd often needs less than a millisecond more.
 */
const BELOW = { first: 1, longest: 256 }
const ABOVE = { first: 1, longest: 1_000 }
/** Ends that are remembered: so many within REAP_MS prove nothing, as there never are more channels on a connection. */
const MOST_ENDS = 66

/** A place for one more session. */
export interface Loan {
  /** It is one more than the host was known to allow. */
  readonly probes: boolean
  /** It was opened, refused or never asked for. */
  settle(): void
}

/** A session as this side sees it: from the request to the close. */
export interface Session {
  /** The host has confirmed it. */
  opened(channel?: ClientChannel | SFTPWrapper): void
  /**
   * The host had as many as it allows. `floor` is the most that were open at once on any connection that stands. Returns
   * whether asking again makes sense: not where it counted none of ours.
   */
  refused(floor: number): boolean
  /** It is over, whether it was ever opened or not; `runsOn`: what it started may still run, and count, for long. */
  ended(runsOn?: boolean): void
}

/**
 * The sessions of one connection, and how many the host seems to allow there. Certain is only this: so many as were open
 * at once it allows; and when it refuses one, it allows at most those before it and those that may linger, for sshd
 * counts a session until its process is reaped, after this side has seen its end. In between it is a suspicion, which
 * holds for this connection and for moments only: one more is tried again and again, one at a time.
 */
export interface ConnectionSessions {
  /** Whether one more than `used` may be opened now: surely or, one at a time, as an attempt. */
  room(used: number): 'yes' | 'attempt' | 'no'
  /** One more than `used` will be opened. */
  lend(used: number): Loan
  /** Asks for one now; without a loan, beside the places. */
  begin(loan?: Loan): Session
  /** Most that were open at once; one at least, without which there is nothing to try. */
  proven(): number
  /** One ended so recently that the host may still count it. */
  settling(): boolean
}

interface Count {
  readonly beganAt: number
  /** Refusals of those that were asked for before the first of them count as one. */
  readonly round: number
  readonly probes: boolean
  channel: { readonly incoming?: { readonly state: string } } | undefined
  opened: boolean
}

/** `wake` is called when one more may be tried again, `changed` when what the host is known to allow has changed. */
export function createConnectionSessions(parts: {
  readonly clock: Clock
  readonly host: HostSessions
  wake(): void
  changed(): void
}): ConnectionSessions {
  const { clock, host, wake, changed } = parts
  /** In the order of the requests, which is the one in which the host sees them. */
  const sessions = new Set<Count>()
  /** When the last ones ended; one that runs on has no time. The question for the login shell may have been the first. */
  const ends: (number | undefined)[] = [clock.monotonic()]
  const below = createPace({ clock, ...BELOW, wake })
  const above = createPace({ clock, ...ABOVE, wake })
  let suspected = Number.POSITIVE_INFINITY
  let attempting = false
  let proven = 1
  let round = 0

  const pace = () => (suspected < proven ? below : above)

  function end(count: Count, runsOn: boolean): void {
    if (!sessions.delete(count)) return
    ends.push(runsOn ? undefined : clock.monotonic())
    if (ends.length > MOST_ENDS) ends.shift()
  }

  function opened(count: Count, channel: Count['channel']): void {
    count.opened = true
    count.channel = channel
    let now = 0
    // One that the host has closed may still be read here.
    for (const other of sessions) if (other.opened && other.channel?.incoming?.state !== 'closed') now += 1
    if (now > proven) {
      proven = now
      above.reset()
    }
    suspected = Math.max(suspected, now)
    below.reset()
    if (host.raise(now)) changed()
  }

  function refused(count: Count, floor: number): boolean {
    let before = 0
    for (const other of sessions) {
      if (other === count) break
      before += 1
    }
    sessions.delete(count)
    const lingering = ends.filter((at) => at === undefined || count.beganAt - at < REAP_MS).length
    const most = before + lingering
    suspected = Math.min(suspected, before)
    if (most === 0) return false
    if (count.round === round) {
      round += 1
      pace().rest()
    }
    // Fewer than were open at once before: something lingers for longer than it should, and nothing is proven.
    if (most < floor) return true
    if (most < host.learnt()) {
      host.lower(most)
      changed()
    } else if (count.probes && most === host.learnt()) host.confirm()
    return true
  }

  return {
    room(used) {
      const learnt = host.learnt()
      if (used < suspected && used < learnt) return 'yes'
      if (used >= suspected && (attempting || !pace().ready())) return 'no'
      if (used > learnt || (used === learnt && !host.mayProbe())) return 'no'
      return 'attempt'
    },
    lend(used) {
      const attempts = used >= suspected
      const probes = used >= host.learnt()
      const endProbe = probes ? host.probe() : undefined
      if (attempts) attempting = true
      return {
        probes,
        settle() {
          if (attempts) attempting = false
          endProbe?.()
        },
      }
    },
    begin(loan) {
      const probes = loan?.probes === true
      const count: Count = { beganAt: clock.monotonic(), round, probes, channel: undefined, opened: false }
      sessions.add(count)
      return {
        opened: (channel) => opened(count, channel as Count['channel']),
        refused: (floor) => refused(count, floor),
        ended: (runsOn = false) => end(count, runsOn),
      }
    },
    proven: () => proven,
    settling() {
      const since = clock.monotonic() - REAP_MS
      return ends.some((at) => at !== undefined && at > since)
    },
  }
}
