import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import type { SshConnection } from '../connection.ts'
import type { LoginShell } from '../login-shell.ts'
import type { PreparedConnection } from '../prepare-connection.ts'
import type { ConnectionSessions } from './connection-sessions.ts'
import { type Entry, type Group, type Host, isIdle, lasting } from './groups.ts'

/** Milliseconds without another attempt after one failed while other connections stand. */
const GROW_PAUSE_MS = 1_000
/** Milliseconds that a target without a connection lets the only one of another target work. */
const SLICE_MS = 1_000

export interface GrowthParts {
  readonly clock: Clock
  readonly log: Logger
  groups(): Iterable<Group>
  /** Finds out which host the group's calls go to, and over how many connections. */
  locate(group: Group): Promise<void>
  prepare(group: Group): Promise<PreparedConnection>
  /** Counts the sessions of a new connection of the group. */
  sessions(group: Group): ConnectionSessions
  /** Looks after a new connection; the returned function ends that. */
  watch(entry: Entry): () => void
  /** Gives the places of the group to those who wait for them. */
  pump(group: Group): void
}

/** How many connections there are, and who gets the next one. */
export interface Growth {
  /** Connections, those being made and those being closed too. */
  total(): number
  /** Those who wait in the group need one more connection than there is. */
  want(group: Group): void
  /** Connections that the group may still get without anybody losing one that is in use. */
  coming(group: Group): number
  /** Nothing runs on the connection any more: another target may need its place more. */
  idle(entry: Entry): void
  retire(entry: Entry): void
  /** The connection that is being made for the group, if any, is retired before anybody gets it. */
  renew(group: Group): void
  close(entry: Entry): void
  entryOf(connection: SshConnection): Entry | undefined
}

export function createGrowth(parts: GrowthParts): Growth {
  const { clock, log, pump } = parts
  const byConnection = new WeakMap<SshConnection, Entry>()
  /** Groups that wait for a connection, first come first served. */
  const wants = new Set<Group>()
  /** The connection that ends so that a group may have one. */
  const ending = new Map<Group, Entry>()
  /** Groups whose connection in the making is to be used by nobody. */
  const stale = new Set<Group>()
  let total = 0
  let looksAgain = false

  /** Connections to jump hosts count in all, but not where their host has places of its own. */
  function count(host: Host, by: number, sockets: number): void {
    total += by * sockets
    host.open += by
  }

  function close(entry: Entry): void {
    if (entry.closing) return
    entry.closing = true
    void entry.connection.close()
  }

  function retire(entry: Entry): void {
    entry.retired = true
    if (entry.channels === 0) close(entry)
  }

  const hostIsFull = ({ host, call }: Group) => host.open >= call.settings.max_connections_per_host
  const allIsFull = ({ call, sockets }: Group) => total + sockets > call.settings.max_connections

  function attempt(group: Group): void {
    if (group.waiting.size === 0) {
      forget(group)
      return
    }
    if (group.located !== 'yes') {
      void locate(group)
      return
    }
    if (group.host.connecting || someAreAsked(group)) return
    if (lasting(group) > 0 && clock.monotonic() < group.growAfter) return
    if (hostIsFull(group)) {
      makeRoom(group, entriesOf(group.host.groups))
      return
    }
    if (allIsFull(group)) {
      makeRoom(group, entriesOf(parts.groups()))
      return
    }
    forget(group)
    void open(group)
  }

  function forget(group: Group): void {
    wants.delete(group)
    ending.delete(group)
  }

  function serve(): void {
    for (const group of [...wants]) attempt(group)
  }

  /** Ends the connection that was idle for longest, or where none is, one of those who have more than their share. */
  function makeRoom(group: Group, entries: readonly Entry[]): void {
    if (ending.has(group)) return
    const idle = leastRecentlyUsed(entries)
    if (idle) {
      ending.set(group, idle)
      close(idle)
      return
    }
    const yields = mostToSpare(entries, lasting(group), clock.monotonic())
    if (yields) {
      ending.set(group, yields)
      retire(yields)
      return
    }
    if (lasting(group) === 0) lookAgain()
  }

  function lookAgain(): void {
    if (looksAgain) return
    looksAgain = true
    clock.after(SLICE_MS, () => {
      looksAgain = false
      serve()
    })
  }

  async function locate(group: Group): Promise<void> {
    if (group.located === 'soon') return
    group.located = 'soon'
    try {
      await parts.locate(group)
      group.located = 'yes'
    } catch (error) {
      group.located = 'no'
      group.waiting.failAll(error)
    }
    attempt(group)
  }

  async function open(group: Group): Promise<void> {
    const { host, sockets } = group
    group.connecting = host.connecting = true
    count(host, 1, sockets)
    try {
      const { connection, shell } = await parts.prepare(group)
      // One that is refused is asked for again: the account may be given one.
      group.shell = shell.refusal === undefined ? shell : undefined
      adopt(group, connection, shell, sockets)
    } catch (error) {
      count(host, -1, sockets)
      if (group.entries.size === 0) group.located = 'no'
      if (lasting(group) === 0) group.waiting.failAll(error)
      else pauseGrowth(group, error)
    } finally {
      group.connecting = host.connecting = false
      // It may be another host by now, too.
      if (stale.delete(group) && lasting(group) === 0) group.located = 'no'
      pump(group)
      serve()
    }
  }

  function pauseGrowth(group: Group, error: unknown): void {
    log.warn('another connection could not be made', { error: error instanceof Error ? error.message : '' })
    group.growAfter = clock.monotonic() + GROW_PAUSE_MS
    clock.after(GROW_PAUSE_MS, () => {
      // Not by the clock: a timer may fire a little before its time, and nothing would look again.
      group.growAfter = 0
      pump(group)
      attempt(group)
    })
  }

  function adopt(group: Group, connection: SshConnection, shell: LoginShell, sockets: number): void {
    const { host } = group
    const now = clock.monotonic()
    const times = { madeAt: now, idleSince: now, heardAt: now }
    const entry: Entry = {
      connection,
      shell,
      group,
      channels: 0,
      sessions: parts.sessions(group),
      ...times,
      retired: stale.has(group),
      closing: false,
      asked: false,
    }
    group.entries.add(entry)
    byConnection.set(connection, entry)
    const cancel = parts.watch(entry)
    connection.onLost(() => {
      cancel()
      entry.closing = true
      group.entries.delete(entry)
      pump(group)
    })
    // Only now: until its socket has closed, the host counts it too.
    void connection.gone.then(() => {
      count(host, -1, sockets)
      if (group.entries.size === 0 && !group.connecting) group.located = 'no'
      for (const [other, ended] of ending) if (ended === entry) ending.delete(other)
      serve()
    })
    if (entry.retired) close(entry)
  }

  return {
    total: () => total,
    want(group) {
      if (wants.has(group)) return
      wants.add(group)
      attempt(group)
    },
    coming(group) {
      const { max_connections, max_connections_per_host } = group.call.settings
      const others = wants.size - (wants.has(group) ? 1 : 0)
      const here = max_connections_per_host - group.host.open + soonFree(entriesOf(group.host.groups), group)
      const all = max_connections - total - others + soonFree(entriesOf(parts.groups()), group)
      const rooms = Math.min(here, Math.floor(all / group.sockets))
      return Math.max(0, rooms) + (group.connecting ? 1 : 0)
    },
    idle(entry) {
      if (entry.retired) return close(entry)
      for (const group of wants) {
        if (group === entry.group || group.waiting.size === 0) continue
        if (ending.get(group)?.closing || group.host.connecting) continue
        const helps = hostIsFull(group) ? entry.group.host === group.host : allIsFull(group)
        if (!helps) continue
        ending.set(group, entry)
        return close(entry)
      }
    },
    retire,
    renew(group) {
      group.shell = undefined
      if (group.connecting) stale.add(group)
    },
    close,
    entryOf: (connection) => byConnection.get(connection),
  }
}

function entriesOf(groups: Iterable<Group>): Entry[] {
  const entries: Entry[] = []
  for (const group of groups) entries.push(...group.entries)
  return entries
}

function someAreAsked(group: Group): boolean {
  for (const entry of group.entries) if (entry.asked) return true
  return false
}

/** Connections of others that are idle or on their way out. */
function soonFree(entries: readonly Entry[], group: Group): number {
  return entries.filter((entry) => entry.closing || (entry.group !== group && isIdle(entry))).length
}

function leastRecentlyUsed(entries: readonly Entry[]): Entry | undefined {
  return entries
    .filter(isIdle)
    .reduce<Entry | undefined>((best, entry) => (best && best.idleSince <= entry.idleSince ? best : entry), undefined)
}

/**
 * A connection of the group that has most, where it has at least two more than the group that asks; and where that one
 * has none, also the only one of another, once it had its time. Of equals, the one with the fewest channels.
 */
function mostToSpare(entries: readonly Entry[], has: number, now: number): Entry | undefined {
  let best: { readonly entry: Entry; readonly share: number } | undefined
  for (const entry of entries) {
    if (entry.retired || entry.closing || entry.asked) continue
    const share = lasting(entry.group)
    const spares = share > has + 1 || (has === 0 && now - entry.madeAt >= SLICE_MS)
    if (!spares) continue
    if (best && (best.share > share || (best.share === share && best.entry.channels <= entry.channels))) continue
    best = { entry, share }
  }
  return best?.entry
}
