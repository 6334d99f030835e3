import { type Entry, type Group, type Host, isHost, lasting } from './groups.ts'

/** The pool in numbers. `busy` and `idle` are connections with and without a channel. */
export function poolNumbers(groups: Iterable<Group>) {
  const numbers = { targets: 0, connections: 0, busy: 0, idle: 0, connecting: 0, channels: 0, waiting: 0 }
  for (const group of groups) {
    numbers.targets += 1
    numbers.connecting += group.connecting ? 1 : 0
    numbers.waiting += group.waiting.size
    for (const { channels } of group.entries) {
      numbers.connections += 1
      numbers[channels > 0 ? 'busy' : 'idle'] += 1
      numbers.channels += channels
    }
  }
  return numbers
}

/** What there is of one host and port. */
export interface HostStatus {
  /** `host:port`. */
  readonly host: string
  /** Connections that are open, whatever for. */
  readonly connections: number
  readonly busy: number
  readonly idle: number
  readonly connecting: number
  /** Of `connections`: those that take nothing new. */
  readonly ending: number
  /** Connections beyond the limits, for ending commands. */
  readonly extra: number
  readonly channels: number
  readonly waiting: number
  /** Channels per connection that the host is believed to allow, where it has refused one; else null. */
  readonly max_sessions: number | null
  /** Seconds since the oldest and the newest connection was made; null without any. */
  readonly oldest_seconds: number | null
  readonly newest_seconds: number | null
}

/** `wanted`: only the host of this name; `now` by the monotonic clock. */
export function hostStatus(hosts: Iterable<Host>, wanted: string | undefined, now: number): readonly HostStatus[] {
  const all: HostStatus[] = []
  for (const host of hosts) {
    const groups = [...host.groups].filter((group) => wanted === undefined || isHost(group, wanted))
    if (groups.length === 0) continue
    const entries = groups.flatMap((group) => [...group.entries])
    const waiting = groups.reduce((sum, group) => sum + group.waiting.size, 0)
    if (entries.length + waiting + host.open + host.extra > 0) all.push(statusOf(host, groups, entries, waiting, now))
  }
  return all.sort((one, other) => (one.host < other.host ? -1 : 1))
}

function statusOf(
  host: Host,
  groups: readonly Group[],
  entries: readonly Entry[],
  waiting: number,
  now: number,
): HostStatus {
  const busy = entries.filter(({ channels }) => channels > 0).length
  const learnt = Math.min(...groups.map((group) => group.sessions.learnt()))
  const ages = entries.map(({ madeAt }) => Math.round((now - madeAt) / 1000))
  return {
    host: host.name,
    connections: entries.length,
    busy,
    idle: entries.length - busy,
    connecting: host.connecting ? 1 : 0,
    ending: entries.length - groups.reduce((sum, group) => sum + lasting(group), 0),
    extra: host.extra,
    channels: entries.reduce((sum, { channels }) => sum + channels, 0),
    waiting,
    max_sessions: Number.isFinite(learnt) ? learnt : null,
    oldest_seconds: ages.length === 0 ? null : Math.max(...ages),
    newest_seconds: ages.length === 0 ? null : Math.min(...ages),
  }
}
