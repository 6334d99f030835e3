import type { Clock } from '../../../core/clock.ts'
import { endpointName } from '../connect-errors.ts'
import type { SshConnection } from '../connection.ts'
import type { LoginShell } from '../login-shell.ts'
import type { PoolCall } from '../pool.ts'
import type { SshSettings, SshTarget } from '../settings.ts'
import type { ConnectionSessions } from './connection-sessions.ts'
import { createHostSessions, type HostSessions } from './host-sessions.ts'
import { poolSettings } from './settings.ts'
import { createWaiting, type Waiting } from './waiting.ts'

/** One connection of the pool. */
export interface Entry {
  readonly connection: SshConnection
  readonly shell: LoginShell
  readonly group: Group
  /** Channels open or being opened. */
  channels: number
  /** The same as the host may see them. */
  readonly sessions: ConnectionSessions
  /** By the monotonic clock: when it was made, when its last channel closed, when the host was last heard on it. */
  readonly madeAt: number
  idleSince: number
  heardAt: number
  /** It takes nothing new, and is closed when its last channel has ended. */
  retired: boolean
  /** It is on its way out, and counts until its socket has closed. */
  closing: boolean
  /** The host is being asked whether it is still there; until it answers, nobody gets the connection. */
  asked: boolean
}

/** Everything that may share a connection: same host, same user, same credentials, same trust. */
export interface Group {
  readonly key: string
  /** By the name of the target, and once it is `located`, as ssh_config resolves it. */
  host: Host
  user: string
  /** Connections that one of them is: itself and those to its jump hosts. */
  sockets: number
  located: 'no' | 'soon' | 'yes'
  call: PoolCall
  /** Those that live, retired ones too. */
  readonly entries: Set<Entry>
  readonly waiting: Waiting
  /** A connection is being made. */
  connecting: boolean
  shell: LoginShell | undefined
  /** Channels per connection that the host is known to allow. */
  readonly sessions: HostSessions
  /** Until then, by the monotonic clock, no further connection is tried: the last attempt failed. */
  growAfter: number
}

/** A host and port, whoever logs in there. */
export interface Host {
  /** `host:port`. */
  readonly name: string
  readonly groups: Set<Group>
  /** Connections, those being made and those being closed too. */
  open: number
  /** One handshake at a time: what the first finds out (a wrong key, a full sshd) the others need not find out too. */
  connecting: boolean
  /** Connections beyond the limits, for ending commands. */
  extra: number
}

export interface Groups {
  /** The group's calls go to this host, as this user, over so many connections. */
  locate(
    group: Group,
    endpoint: { readonly host: string; readonly port: number; readonly user: string },
    sockets: number,
  ): void
  /** Calls share connections where everything that decides about a connection is the same. */
  of(call: PoolCall): Group
  all(): Iterable<Group>
  hosts(): Iterable<Host>
}

/** `pump` gives the places of a group to those who wait: there may be room without that anything was given back. */
export function createGroups(clock: Clock, pump: (group: Group) => void): Groups {
  const groups = new Map<string, Group>()
  const hosts = new Map<string, Host>()
  const keys = new WeakMap<SshTarget | SshSettings, string>()
  /** The last answer for a pair of objects: calls to one target come with the same ones. */
  const recent = new WeakMap<SshTarget, { readonly settings: SshSettings; readonly group: Group }>()

  function keyOf<T extends SshTarget | SshSettings>(part: T, facts: (part: T) => unknown): string {
    let key = keys.get(part)
    if (key === undefined) {
      key = JSON.stringify(facts(part))
      keys.set(part, key)
    }
    return key
  }

  function hostOf(name: string): Host {
    let host = hosts.get(name)
    if (host === undefined) {
      host = { name, groups: new Set(), open: 0, connecting: false, extra: 0 }
      hosts.set(name, host)
    }
    return host
  }

  function find(call: PoolCall): Group {
    const trust = keyOf(call.settings, connectionFacts)
    const key = keyOf(call.target, (target) => target) + trust
    let group = groups.get(key)
    if (group === undefined) {
      const wake = () => pump(group as Group)
      group = newGroup(key, hostOf(hostName(call.target)), call, createHostSessions(clock, wake))
      group.host.groups.add(group)
      groups.set(key, group)
    }
    return group
  }

  return {
    of(call) {
      const known = recent.get(call.target)
      const group = known?.settings === call.settings ? known.group : find(call)
      if (known?.group !== group || known.settings !== call.settings) {
        recent.set(call.target, { settings: call.settings, group })
      }
      group.call = call
      return group
    },
    locate(group, endpoint, sockets) {
      group.host.groups.delete(group)
      group.host = hostOf(hostName(endpoint))
      group.host.groups.add(group)
      group.user = endpoint.user
      group.sockets = sockets
    },
    all: () => groups.values(),
    hosts: () => hosts.values(),
  }
}

/** Settings that say nothing about how a connection is made; by all others, calls that differ share none. */
const NOT_OF_A_CONNECTION: ReadonlySet<string> = new Set([
  ...Object.keys(poolSettings),
  'command_timeout',
  'connect_timeout',
  'kill_grace',
])

function connectionFacts(settings: SshSettings): unknown {
  return Object.entries(settings).filter(([name]) => !NOT_OF_A_CONNECTION.has(name))
}

function hostName({ host, port = 22 }: { readonly host: string; readonly port?: number | undefined }): string {
  return endpointName({ host, port }).toLowerCase()
}

function newGroup(key: string, host: Host, call: PoolCall, sessions: HostSessions): Group {
  return {
    key,
    host,
    user: call.target.user ?? '',
    sockets: 1,
    located: 'no',
    call,
    entries: new Set(),
    waiting: createWaiting(),
    connecting: false,
    shell: undefined,
    sessions,
    growAfter: 0,
  }
}

/** Channels that one connection of the group can have, as far as it is known. */
export function limitOf({ call, sessions }: Group): number {
  return Math.min(call.settings.max_channels_per_connection, sessions.learnt())
}

/** Most channels that were open at once on a connection that stands: the host certainly allows so many. */
export function provenOf(group: Group): number {
  let most = 0
  for (const { sessions } of group.entries) most = Math.max(most, sessions.proven())
  return most
}

/** Places that the host has given before on connections that stand, and may refuse for a moment, until it is done there. */
export function placesHeld(group: Group): number {
  const limit = limitOf(group)
  let places = 0
  for (const entry of group.entries) {
    if (isUsable(entry) && entry.sessions.settling())
      places += Math.max(0, Math.min(limit, entry.sessions.proven()) - entry.channels)
  }
  return places
}

/** Takes new channels, as far as its limit allows. */
export function isUsable(entry: Entry): boolean {
  return !entry.retired && !entry.closing && !entry.asked
}

/** Could be closed now without taking anything from anybody. */
export function isIdle(entry: Entry): boolean {
  return entry.channels === 0 && !entry.closing && !entry.asked
}

/** Connections that take calls, or will when the host has answered. */
export function lasting(group: Group): number {
  let count = 0
  for (const entry of group.entries) if (!entry.retired && !entry.closing) count += 1
  return count
}

/** Whether a group's host is the one that somebody names: a host, or a host and port. */
export function isHost({ host, call }: Group, wanted: string): boolean {
  const name = wanted.toLowerCase()
  return [host.name, host.name.replace(/:\d+$/, ''), call.target.host.toLowerCase()].includes(name)
}
