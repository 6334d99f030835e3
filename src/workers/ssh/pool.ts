import type { ClientChannel } from 'ssh2'
import type { Clock } from '../../core/clock.ts'
import type { SecretResolver, WorkerContext } from '../../core/context.ts'
import { MhvError, mhvError } from '../../core/errors.ts'
import type { WorkerConnection } from '../../core/worker.ts'
import { connectSsh } from './connect.ts'
import { connectTimeout } from './connect-errors.ts'
import type { SshConnection } from './connection.ts'
import { createLanes, type Lanes } from './lanes.ts'
import type { LoginShell } from './login-shell.ts'
import { poolNumbers, timed } from './pool-facts.ts'
import { type PreparedConnection, prepareConnection } from './prepare-connection.ts'
import type { SshSettings, SshTarget } from './settings.ts'
import { nativeCrypto } from './ssh2-library.ts'

/** Who asks for a channel, and by which settings. */
export interface PoolCall {
  readonly target: SshTarget
  readonly settings: SshSettings
  readonly secrets: SecretResolver
  readonly signal: AbortSignal
}

/** A place for one channel on a connection. */
export interface Lease {
  readonly connection: SshConnection
  readonly shell: LoginShell
  /** Runs a line; the place is free again when its channel has closed, or at once when this rejects. */
  exec(line: string): Promise<ClientChannel>
  /** Gives the place back unused. */
  release(): void
  /**
   * After MHV_SSH_CHANNEL_REFUSED: milliseconds after which to ask again, where that makes sense: 0 while others hold
   * channels there (the next place is given when one of them closes), a moment after the last one has closed (sshd
   * counts a session until its process is reaped); undefined where nothing will change.
   */
  retryDelay(): number | undefined
}

export interface SshPool extends WorkerConnection {
  readonly clock: Clock
  /** Settings and secrets of the worker, for calls that bring none of their own. */
  readonly defaults: Pick<PoolCall, 'settings' | 'secrets'>
  /**
   * Waits for a place, first come first served; `again` goes to the front. Nothing is sent before it resolves, so every
   * error is one before any effect: those of `connectSsh`, MHV_SSH_SHELL_UNSUPPORTED, MHV_SSH_POOL_EXHAUSTED,
   * MHV_SSH_CONNECT_TIMEOUT (the signal's deadline came while connecting), MHV_RUN_CANCELLED_QUEUED.
   */
  acquire(call: PoolCall, again?: boolean): Lease | Promise<Lease>
  /** Takes one of the channels beyond the places of a connection, kept for ending what runs on it; gives its return. */
  spare(connection: SshConnection): (() => void) | undefined
  /** Lends a connection of its own beyond all limits, for ending what runs on one that broke, and closes it. */
  extra<T>(
    call: PoolCall,
    timeoutMs: number,
    use: (connection: SshConnection, shell: LoginShell) => Promise<T>,
  ): Promise<T>
  /** The login shell of a connection of the pool. */
  shellOf(connection: SshConnection): LoginShell | undefined
  /** Something answered as no shell of the target would: the next connection asks again what it has. */
  forgetShell(call: PoolCall): void
  stats(): Readonly<Record<string, number | boolean>>
}

/** What makes connections; only tests compose other parts. */
export interface PoolParts {
  readonly connect: typeof connectSsh
}

interface Entry {
  readonly connection: SshConnection
  readonly shell: LoginShell
  /** Channels open or being opened. */
  channels: number
  /** When the last channel closed, by the monotonic clock. */
  idleSince: number
}

interface Waiter {
  readonly give: (entry: Entry) => void
  readonly fail: (error: unknown) => void
}

/** Everything of one target: same host, same user, same credentials. */
interface Group {
  call: PoolCall
  readonly entries: Entry[]
  connecting: number
  waiters: Waiter[]
  shell: LoginShell | undefined
  /** Channels per connection that the host is believed to allow: lowered by a refusal, raised again by good luck. */
  learnt: number
  opened: number
  growAfter: number
  readonly extras: Lanes
}

const NATIVE = { node: process.versions.node, remedy: 'docs/guides/ssh.md, "Speed"' }

/** Channels kept free on each connection for ending what runs there: 8 + 2 is OpenSSH's default for MaxSessions. */
const SPARE_CHANNELS = 2
/** Extra connections to one target at once; OpenSSH begins to drop unauthenticated ones at 10 (MaxStartups). */
const EXTRA_LANES = 4
/** Channels opened without a refusal after which one more is tried. */
const RAISE_AFTER = 200
/** Milliseconds in which a channel that has closed may still count for the host, and between questions meanwhile. */
const REAP_MS = 1_000
const REAP_PAUSE_MS = 20
/** Milliseconds without another attempt after one failed while other connections stand. */
const GROW_PAUSE_MS = 1_000
/** Seconds after which a call that found no room may come back. */
const RETRY_AFTER = 5

export function createSshPool(
  context: WorkerContext<SshSettings>,
  parts: PoolParts = { connect: connectSsh },
): SshPool {
  const { clock, log } = context
  if (nativeCrypto === 'unsafe')
    log.debug('the native cryptography of ssh2 is not used: with this Node it would crash', NATIVE)
  const groups = new Map<string, Group>()
  const keys = new WeakMap<SshTarget | SshSettings, string>()
  const byConnection = new WeakMap<SshConnection, Entry>()
  const closing = new AbortController()
  let total = 0

  function keyOf<T extends SshTarget | SshSettings>(part: T, facts: (part: T) => unknown): string {
    let key = keys.get(part)
    if (key === undefined) {
      key = JSON.stringify(facts(part))
      keys.set(part, key)
    }
    return key
  }

  /** Calls share connections where everything that decides about a connection is the same. */
  function groupOf(call: PoolCall): Group {
    const trust = keyOf(call.settings, (settings) => [settings.host_key_policy, settings.known_hosts, settings.ciphers])
    const key = keyOf(call.target, (target) => target) + trust
    let group = groups.get(key)
    if (group === undefined) {
      group = newGroup(call)
      groups.set(key, group)
    }
    group.call = call
    return group
  }

  const limitOf = (group: Group) => Math.min(group.call.settings.max_channels_per_connection, group.learnt)

  /** The least busy connection with room, the oldest of equals, so that one that is not needed falls idle. */
  function free(group: Group): Entry | undefined {
    const limit = limitOf(group)
    let best: Entry | undefined
    for (const entry of group.entries) {
      if (entry.channels < limit && (best === undefined || entry.channels < best.channels)) best = entry
    }
    return best
  }

  function lease(group: Group, entry: Entry): Lease {
    entry.channels += 1
    let retryDelay: number | undefined
    return {
      connection: entry.connection,
      shell: entry.shell,
      async exec(line) {
        try {
          const channel = await entry.connection.exec(line)
          channel.once('close', () => release(group, entry))
          noteOpened(group)
          return channel
        } catch (error) {
          entry.channels -= 1
          if (error instanceof MhvError && error.code === 'MHV_SSH_CHANNEL_REFUSED') {
            if (entry.channels > 0) retryDelay = 0
            else if (clock.monotonic() - entry.idleSince < REAP_MS) retryDelay = REAP_PAUSE_MS
            group.learnt = Math.max(1, entry.channels)
            group.opened = 0
          } else if (error instanceof MhvError && error.code === 'MHV_SSH_SHELL_UNSUPPORTED') {
            // ssh2 leaves the refused channel open and gives no handle to close it.
            void entry.connection.close()
          }
          pump(group)
          throw error
        }
      },
      release() {
        release(group, entry)
      },
      retryDelay: () => (entry.connection.alive() ? retryDelay : undefined),
    }
  }

  function noteOpened(group: Group): void {
    if (group.learnt === Number.POSITIVE_INFINITY || ++group.opened < RAISE_AFTER) return
    group.opened = 0
    group.learnt += 1
  }

  function release(group: Group, entry: Entry): void {
    entry.channels -= 1
    entry.idleSince = clock.monotonic()
    if (group.waiters.length > 0) pump(group)
  }

  /** Gives free places to those who wait, and more connections to those who still do. */
  function pump(group: Group): void {
    while (group.waiters.length > 0) {
      const entry = free(group)
      if (entry === undefined) break
      group.waiters.shift()?.give(entry)
    }
    grow(group)
  }

  function grow(group: Group): void {
    if (group.waiters.length === 0 || group.connecting > 0) return
    const { max_connections, max_connections_per_host } = group.call.settings
    const stuck = group.entries.length === 0
    if (group.entries.length >= max_connections_per_host) return
    if (total >= max_connections) {
      if (stuck) failAll(group, exhausted(`all ${max_connections} connections are in use by other targets`))
      return
    }
    // One at a time: what the first finds out (a wrong key, a changed host) the others need not find out too.
    if (stuck || clock.monotonic() >= group.growAfter) void open(group)
  }

  async function open(group: Group): Promise<void> {
    group.connecting += 1
    total += 1
    try {
      const { connection, shell } = await prepare(group.call, group.shell)
      group.shell = shell
      adopt(group, connection, shell)
    } catch (error) {
      total -= 1
      if (group.entries.length === 0) failAll(group, error)
      else pauseGrowth(group, error)
    } finally {
      group.connecting -= 1
      pump(group)
    }
  }

  function pauseGrowth(group: Group, error: unknown): void {
    log.warn('another connection could not be made', { error: error instanceof Error ? error.message : '' })
    group.growAfter = clock.monotonic() + GROW_PAUSE_MS
    clock.after(GROW_PAUSE_MS, () => {
      // Not by the clock: a timer may fire a little before its time, and nothing would look again.
      group.growAfter = 0
      pump(group)
    })
  }

  function adopt(group: Group, connection: SshConnection, shell: LoginShell): void {
    const entry: Entry = { connection, shell, channels: 0, idleSince: clock.monotonic() }
    group.entries.push(entry)
    byConnection.set(connection, entry)
    const cancelEviction = evictWhenIdle(group, entry)
    connection.onLost(() => {
      cancelEviction()
      group.entries.splice(group.entries.indexOf(entry), 1)
      total -= 1
      pump(group)
    })
  }

  /** Looks again when the time could be up, instead of setting a timer anew after every command. */
  function evictWhenIdle(group: Group, entry: Entry): () => void {
    let cancel: () => void
    const look = () => {
      const ttl = group.call.settings.connection_ttl * 1000
      const idle = entry.channels > 0 ? 0 : clock.monotonic() - entry.idleSince
      if (idle >= ttl) void entry.connection.close()
      else cancel = clock.after(ttl - idle, look)
    }
    cancel = clock.after(group.call.settings.connection_ttl * 1000, look)
    return () => cancel()
  }

  function prepare(call: PoolCall, known: LoginShell | undefined): Promise<PreparedConnection> {
    const request = { ...call, folder: context.folder, clock, log }
    return timed(context, () => prepareConnection(request, known, closing.signal, parts.connect))
  }

  function wait(group: Group, call: PoolCall, again: boolean): Promise<Lease> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        group.waiters = group.waiters.filter((other) => other !== waiter)
        reject(abortedWaiting(group, call))
      }
      const waiter: Waiter = {
        give(entry) {
          call.signal.removeEventListener('abort', onAbort)
          resolve(lease(group, entry))
        },
        fail(error) {
          call.signal.removeEventListener('abort', onAbort)
          reject(error)
        },
      }
      call.signal.addEventListener('abort', onAbort, { once: true })
      if (again) group.waiters.unshift(waiter)
      else group.waiters.push(waiter)
      pump(group)
    })
  }

  return {
    clock,
    defaults: { settings: context.settings, secrets: context.secrets },
    acquire(call, again = false) {
      if (closing.signal.aborted) throw closing.signal.reason
      const group = groupOf(call)
      if (call.signal.aborted) throw abortedWaiting(group, call)
      const entry = again || group.waiters.length > 0 ? undefined : free(group)
      if (entry !== undefined) return lease(group, entry)
      return wait(group, call, again)
    },
    spare(connection) {
      const entry = byConnection.get(connection)
      const most = context.settings.max_channels_per_connection + SPARE_CHANNELS
      if (entry === undefined || !connection.alive() || entry.channels >= most) return undefined
      entry.channels += 1
      return () => {
        entry.channels -= 1
        entry.idleSince = clock.monotonic()
      }
    },
    extra(call, timeoutMs, use) {
      const { extras, shell } = groupOf(call)
      return extras.run(clock, timeoutMs, async (leftMs) => {
        if (leftMs <= 0) throw connectTimeout(call.target, timeoutMs / 1000, 'tcp')
        const settings = { ...call.settings, connect_timeout: leftMs / 1000 }
        const made = await prepare({ ...call, settings }, shell)
        return use(made.connection, made.shell).finally(() => made.connection.close())
      })
    },
    shellOf: (connection) => byConnection.get(connection)?.shell,
    forgetShell(call) {
      groupOf(call).shell = undefined
    },
    stats: () => ({ ...poolNumbers([...groups.values()]), native_crypto: nativeCrypto === 'used' }),
    async close() {
      closing.abort(mhvError('MHV_SHUTTING_DOWN', 'the ssh worker is closing its connections'))
      for (const group of groups.values()) failAll(group, closing.signal.reason)
      const entries = [...groups.values()].flatMap((group) => group.entries)
      await Promise.all(entries.map((entry) => entry.connection.close()))
    },
  }
}

function newGroup(call: PoolCall): Group {
  return {
    call,
    entries: [],
    connecting: 0,
    waiters: [],
    shell: undefined,
    learnt: Number.POSITIVE_INFINITY,
    opened: 0,
    growAfter: 0,
    extras: createLanes(EXTRA_LANES),
  }
}

function failAll(group: Group, error: unknown): void {
  for (const waiter of group.waiters.splice(0)) waiter.fail(error)
}

function exhausted(why: string): MhvError {
  return mhvError('MHV_SSH_POOL_EXHAUSTED', why, { retryAfter: RETRY_AFTER })
}

/** The deadline or the cancellation came before anything was sent; the error says what was waited for. */
function abortedWaiting(group: Group, { target, settings, signal }: PoolCall): MhvError {
  const reason: unknown = signal.reason
  if (!(reason instanceof MhvError) || reason.code !== 'MHV_RUN_TIMEOUT') {
    return mhvError('MHV_RUN_CANCELLED_QUEUED', 'cancelled before the command was sent', { cause: reason })
  }
  if (group.entries.length === 0) {
    return mhvError('MHV_SSH_CONNECT_TIMEOUT', `no connection to ${target.host} before the deadline of the run`)
  }
  return exhausted(
    `no free channel to ${target.host} before the deadline; max_connections_per_host is ${settings.max_connections_per_host}`,
  )
}
