import type { ClientChannel } from 'ssh2'
import type { Clock } from '../../core/clock.ts'
import type { SecretResolver, WorkerContext } from '../../core/context.ts'
import { type MhvError, mhvError } from '../../core/errors.ts'
import type { WorkerConnection } from '../../core/worker.ts'
import { connectSsh } from './connect.ts'
import { connectTimeout } from './connect-errors.ts'
import type { PtyRequest, SshConnection } from './connection.ts'
import type { LoginShell } from './login-shell.ts'
import { abortedWaiting, refusalToWait } from './pool/backpressure.ts'
import { createChannels } from './pool/channels.ts'
import { createConnectionSessions } from './pool/connection-sessions.ts'
import { type DrainRequest, type DrainResult, drain } from './pool/drain.ts'
import { createExpiry } from './pool/expiry.ts'
import { createExtras } from './pool/extras.ts'
import { createGroups, type Entry, type Group, isIdle, placesHeld } from './pool/groups.ts'
import { createGrowth } from './pool/growth.ts'
import { createLearntSessions } from './pool/learnt-sessions.ts'
import { type HostStatus, hostStatus, poolNumbers } from './pool/status.ts'
import { timed } from './pool/timed.ts'
import type { Waiter } from './pool/waiting.ts'
import { type PreparedConnection, prepareConnection } from './prepare-connection.ts'
import type { SshEndpoint } from './route/endpoint.ts'
import { findRoute } from './route/route.ts'
import type { SshSettings, SshTarget } from './settings.ts'
import type { SftpChannel } from './sftp-channel.ts'
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
  /** The same for an SFTP session; throws what `SshConnection.sftp` throws. */
  sftp(): Promise<SftpChannel>
  /** The same for a terminal; throws what `SshConnection.pty` throws. */
  pty(request: PtyRequest): Promise<ClientChannel>
  /** Gives the place back unused. */
  release(): void
  /**
   * After an error: milliseconds after which to ask for another place, where that makes sense. 0 after
   * MHV_SSH_CHANNEL_REFUSED, for the pool gives the next place when one may be free, and where the connection was gone
   * already when it was used. Undefined where nothing will change.
   */
  retryDelay(): number | undefined
}

export interface SshPool extends WorkerConnection {
  readonly clock: Clock
  /** Folder of the instance. */
  readonly folder: string
  /** What the worker has for as long as it lives; for the ports. */
  readonly context: WorkerContext<SshSettings>
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
  /** What there is of each host with a connection or a caller; only of the one that is named, if one is. */
  status(host?: string): readonly HostStatus[]
  /**
   * No new channels on the connections of these hosts; waits until what runs there has ended, at most so many
   * milliseconds, and closes them; with `force` those that are still in use then too. Rejects with the signal's reason.
   */
  drain(request: DrainRequest): Promise<DrainResult>
}

/** What makes connections; only tests compose other parts. */
export interface PoolParts {
  readonly connect: typeof connectSsh
  readonly route?: typeof findRoute
}

const NATIVE = { node: process.versions.node, remedy: 'docs/guides/ssh.md, "Speed"' }

/** Channels kept free on each connection for ending what runs there: 8 + 2 is OpenSSH's default for MaxSessions. */
const SPARE_CHANNELS = 2

export function createSshPool(
  context: WorkerContext<SshSettings>,
  parts: PoolParts = { connect: connectSsh },
): SshPool {
  const { clock, log } = context
  if (nativeCrypto === 'unsafe')
    log.debug('the native cryptography of ssh2 is not used: with this Node it would crash', NATIVE)
  const closing = new AbortController()
  const learnt = createLearntSessions(context)
  const groups = createGroups(clock, pump)
  const extras = createExtras()
  const counts = { given: 0, exhausted: 0 }

  const growth = createGrowth({
    clock,
    log,
    groups: groups.all,
    async locate(group) {
      const { target, settings } = group.call
      const route = await (parts.route ?? findRoute)(target, settings, context.folder)
      groups.locate(group, route.at(-1) as SshEndpoint, route.length)
    },
    prepare: (group) => prepare(group.call, group),
    sessions: (group) =>
      createConnectionSessions({
        clock,
        host: group.sessions,
        wake: () => pump(group),
        changed: () => learnt.keep(group),
      }),
    watch: (entry) => expiry.watch(entry),
    pump,
  })
  const expiry = createExpiry({ clock, log, retire: growth.retire, close: growth.close, answered: freed })
  const channels = createChannels({ clock, fit: expiry.fit, freed, pump, retire: growth.retire })

  async function prepare(call: PoolCall, group: Group): Promise<PreparedConnection> {
    await learnt.recall(group)
    const request = { ...call, folder: context.folder, clock, log }
    return timed(context, () => prepareConnection(request, group.shell, closing.signal, parts.connect))
  }

  /** Gives free places to those who wait, and more connections to those who still do. */
  function pump(group: Group): void {
    while (group.waiting.size > 0) {
      const entry = channels.free(group)
      if (entry === undefined) {
        // What is refused for a moment only is no reason for another connection, and still less for one in its place.
        if (placesHeld(group) === 0) growth.want(group)
        return
      }
      group.waiting.shift()?.give(entry)
    }
  }

  function freed(entry: Entry): void {
    if (entry.group.waiting.size > 0) pump(entry.group)
    if (isIdle(entry)) growth.idle(entry)
  }

  function give(entry: Entry): Lease {
    counts.given += 1
    return channels.lease(entry)
  }

  function wait(group: Group, call: PoolCall, again: boolean): Promise<Lease> {
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(counted(abortedWaiting(group, call, leave())))
      const stopListening = () => call.signal.removeEventListener('abort', onAbort)
      const waiter: Waiter = {
        give(entry) {
          stopListening()
          resolve(give(entry))
        },
        fail(error) {
          stopListening()
          reject(error)
        },
      }
      call.signal.addEventListener('abort', onAbort, { once: true })
      const leave = group.waiting.add(waiter, again)
      pump(group)
    })
  }

  function counted(error: MhvError): MhvError {
    if (error.code === 'MHV_SSH_POOL_EXHAUSTED') counts.exhausted += 1
    return error
  }

  return {
    clock,
    context,
    folder: context.folder,
    defaults: { settings: context.settings, secrets: context.secrets },
    acquire(call, again = false) {
      if (closing.signal.aborted) throw closing.signal.reason
      const group = groups.of(call)
      if (call.signal.aborted) throw counted(abortedWaiting(group, call, group.waiting.size + 1))
      if (again) return wait(group, call, true)
      const entry = group.waiting.size > 0 ? undefined : channels.free(group)
      if (entry !== undefined) return give(entry)
      const refusal = refusalToWait(group, () => growth.coming(group))
      if (refusal) throw counted(refusal)
      return wait(group, call, false)
    },
    spare(connection) {
      const entry = growth.entryOf(connection)
      const most = context.settings.max_channels_per_connection + SPARE_CHANNELS
      if (entry === undefined || !connection.alive() || entry.channels >= most) return undefined
      return channels.take(entry)
    },
    extra(call, timeoutMs, use) {
      const group = groups.of(call)
      return extras.run(group.host, clock, timeoutMs, async (leftMs) => {
        if (leftMs <= 0) throw connectTimeout(call.target, timeoutMs / 1000, 'tcp')
        const settings = { ...call.settings, connect_timeout: leftMs / 1000 }
        const made = await prepare({ ...call, settings }, group)
        if (made.shell.refusal !== undefined) {
          await made.connection.close()
          throw made.shell.refusal
        }
        return use(made.connection, made.shell).finally(() => made.connection.close())
      })
    },
    shellOf(connection) {
      const shell = growth.entryOf(connection)?.shell
      return shell?.refusal === undefined ? shell : undefined
    },
    forgetShell(call) {
      groups.of(call).shell = undefined
    },
    stats: () => ({
      ...poolNumbers(groups.all()),
      sockets: growth.total(),
      extra: extras.inUse(),
      max_connections: context.settings.max_connections,
      given_total: counts.given,
      exhausted_total: counts.exhausted,
      native_crypto: nativeCrypto === 'used',
    }),
    status: (host) => hostStatus(groups.hosts(), host, clock.monotonic()),
    drain: (request) => drain(request, groups.all(), growth, clock),
    async close() {
      closing.abort(mhvError('MHV_SHUTTING_DOWN', 'the ssh worker is closing its connections'))
      const all = [...groups.all()]
      for (const group of all) group.waiting.failAll(closing.signal.reason)
      await Promise.all(all.flatMap((group) => [...group.entries].map((entry) => entry.connection.close())))
      await learnt.flush()
    },
  }
}
