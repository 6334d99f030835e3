import type { WorkerContext } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import { newId } from '../../../core/ids.ts'
import { controlHost, type HostClient } from '../host/host-client.ts'
import { hostFolder } from '../host/host-folder.ts'
import type { HostedSession, HostLimits } from '../host/protocol.ts'
import type { TerminalSettings } from '../settings.ts'
import { createAttention } from './attention.ts'
import { sessionEnvironment } from './environment.ts'
import { createLocalSession } from './local-session.ts'
import type { PtySession } from './pty-session.ts'
import type { LocalStart, PtySessions, RemoteStart } from './pty-sessions.ts'
import { openRemoteSession } from './remote-session.ts'
import { startFolder, startProgram } from './start-place.ts'

const MEBIBYTE = 1_048_576

/** What of a worker's context the sessions need. */
export type SessionsContext = Pick<WorkerContext<TerminalSettings>, 'settings' | 'folder' | 'clock' | 'log' | 'need'>

function limitsOf(settings: TerminalSettings): HostLimits {
  return {
    max_sessions: settings.max_sessions,
    memory_bytes: settings.memory_limit_mb * MEBIBYTE,
    idle_ms: settings.host_idle_timeout * 1000,
    close_grace_ms: settings.close_grace * 1000,
  }
}

/**
 * The sessions of an instance. Those that a PTY host has kept are found at once; where none runs, one is started with
 * the first local session, and again after it has died.
 *
 * @throws MHV_TERMINAL_HOST_BUSY, MHV_TERMINAL_HOST_VERSION, MHV_TERMINAL_HOST_DOWN
 */
export async function createPtySessions(context: SessionsContext): Promise<PtySessions> {
  const { settings, clock, log } = context
  const folder = hostFolder(context.folder)
  const limits = limitsOf(settings)
  const sessions = new Map<string, PtySession>()
  const foundListeners = new Set<(session: PtySession) => void>()
  const found = new Set<string>()
  /** Sessions that are being started, by owner: they count before they are there. */
  const starting: string[] = []
  const attention = createAttention(clock, (typed) => {
    // Where there is no host nothing local floods; where it is gone its sessions are told so.
    if (current?.isOpen()) current.call('attend', { typed }).catch(() => undefined)
  })
  let current: HostClient | null = null
  let client: Promise<HostClient | null> = controlHost(folder, limits, clock, false)
  take(await client)

  /** The host, which is started where it does not run. Calls at the same time share it. */
  async function host(): Promise<HostClient> {
    const known = await client
    if (known?.isOpen()) return known
    const next = controlHost(folder, limits, clock, true)
    client = next.catch(() => null)
    const connected = await next
    take(connected)
    return connected
  }
  let connecting: Promise<HostClient> | undefined
  function sharedHost(): Promise<HostClient> {
    connecting ??= host().finally(() => {
      connecting = undefined
    })
    return connecting
  }

  function take(connected: HostClient | null): void {
    current = connected
    for (const hosted of connected?.found ?? []) {
      const session = addLocal(connected as HostClient, hosted)
      found.add(hosted.info.id)
      for (const listener of foundListeners) listener(session)
    }
  }

  function addLocal(owner: HostClient, hosted: HostedSession): PtySession {
    const { id } = hosted.info
    const session = createLocalSession(hosted, {
      client: owner,
      clock,
      log,
      attention: attention.local(id),
      forgotten: () => forget(id),
    })
    add(session)
    return session
  }

  function add(session: PtySession): void {
    const { id } = session.info
    sessions.set(id, session)
    void session.exited.then(({ reason }) => {
      if (reason !== 'lost') return
      log.warn('a terminal session was lost', { session: id })
      clock.after(settings.idle_timeout * 1000, () => forget(id, session))
    })
  }

  /** With `session`, only where it is that one: a session may have been found again under its id. */
  function forget(id: string, session?: PtySession): void {
    if (session !== undefined && sessions.get(id) !== session) return
    sessions.delete(id)
    found.delete(id)
    attention.forget(id)
  }

  /** Counts a session that is about to start. */
  async function counted<T>(owner: string, start: () => Promise<T>): Promise<T> {
    const live = [...sessions.values()].filter((session) => session.exit() === null)
    const all = live.length + starting.length
    if (all >= settings.max_sessions) throw full(`${all} sessions are open`, 'max_sessions', settings.max_sessions)
    const own =
      live.filter(({ info }) => info.owner === owner).length + starting.filter((each) => each === owner).length
    if (own >= settings.max_sessions_per_owner) {
      throw full(`${own} sessions of ${owner} are open`, 'max_sessions_per_owner', settings.max_sessions_per_owner)
    }
    starting.push(owner)
    try {
      return await start()
    } finally {
      starting.splice(starting.indexOf(owner), 1)
    }
  }

  async function startLocal(start: LocalStart): Promise<PtySession> {
    const { owner, run_id, command, term, rows, cols } = start
    const env = sessionEnvironment({ term, passed: settings.environment, given: start.env ?? {} })
    const cwd = await startFolder(start.cwd, settings.directories, context.folder)
    const program = await startProgram(command, env, cwd)
    const now = clock.now()
    const connected = await sharedHost()
    const hosted = await connected.call('start', {
      info: { id: newId(clock), kind: 'local', owner, run_id, target: null, command, term, started_at: now },
      ...program,
      env: { ...env, PWD: cwd },
      cwd,
      rows,
      cols,
      scrollback_bytes: settings.scrollback_bytes,
      idle_ms: settings.idle_timeout * 1000,
      lifetime_ms: settings.max_lifetime * 1000,
    })
    return addLocal(connected, hosted)
  }

  async function startRemote(start: RemoteStart, signal: AbortSignal): Promise<PtySession> {
    const { owner, run_id, target, command, term, rows, cols } = start
    const id = newId(clock)
    const port = await context.need('RemotePty')
    const info = {
      id,
      kind: 'remote' as const,
      owner,
      run_id,
      target,
      command: command === null ? null : [command],
      term,
      started_at: clock.now(),
      pid: null,
    }
    const parts = {
      port,
      clock,
      log,
      attention: attention.remote(id),
      forgotten: () => forget(id),
      scrollback_bytes: settings.scrollback_bytes,
      idle_ms: settings.idle_timeout * 1000,
      lifetime_ms: settings.max_lifetime * 1000,
    }
    // The program itself leads the session then, as a local one does, and no shell that waits for it.
    const line = command === null ? null : `exec ${command}`
    const session = await openRemoteSession(info, { rows, cols }, line, parts, signal)
    add(session)
    return session
  }

  return {
    startLocal: (start) => counted(start.owner, () => startLocal(start)),
    startRemote: (start, signal) => counted(start.owner, () => startRemote(start, signal)),
    get(id) {
      const session = sessions.get(id)
      if (session === undefined) throw mhvError('MHV_TERMINAL_UNKNOWN', `there is no session ${id}`)
      return session
    },
    list: () => [...sessions.values()].sort((a, b) => (a.info.id < b.info.id ? -1 : 1)),
    onFound(listener) {
      foundListeners.add(listener)
      for (const session of sessions.values()) if (found.has(session.info.id)) listener(session)
    },
    stats() {
      const all = [...sessions.values()]
      const live = all.filter((session) => session.exit() === null)
      const remote = live.filter(({ info }) => info.kind === 'remote').length
      return { sessions: live.length, local: live.length - remote, remote, ended: all.length - live.length }
    },
    async disconnect() {
      const remote = [...sessions.values()].filter(({ info }) => info.kind === 'remote')
      await Promise.all(remote.map((session) => session.close()))
      const known = await client.catch(() => null)
      await known?.disconnect()
    },
  }
}

function full(what: string, setting: string, limit: number) {
  return mhvError('MHV_TERMINAL_LIMIT', `${what}, and terminal.${setting} is ${limit}`)
}
