import type { Principal, WorkerContext } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import type { Masker } from '../../../core/masker.ts'
import type { WorkerConnection } from '../../../core/worker.ts'
import { repaint } from '../attach/repaint.ts'
import { createStreamServer, type StreamServer } from '../attach/stream-server.ts'
import { createRecorder, type Recorder } from '../recording/recorder.ts'
import {
  createRecordingFiles,
  RECORDING_FORMAT,
  type RecordingFacts,
  type RecordingFiles,
} from '../recording/recording-files.ts'
import type { TerminalSettings } from '../settings.ts'
import { createLiveSession, type LiveSession } from './live-session.ts'
import { createPtySessions } from './manage-sessions.ts'
import { maskedSnapshot } from './masked-screen.ts'
import type { PtySession } from './pty-session.ts'
import type { LocalStart, RemoteStart } from './pty-sessions.ts'
import { createShellFiles, type ShellFiles, type StartedShell } from './shell-files.ts'

/** What the worker holds between calls: all sessions with their screens, recordings and watchers. */
export interface TerminalConnection extends WorkerConnection {
  /** @param shell the shell that was prepared to make marks: its files are removed with the session, also where it does not start */
  startLocal(start: LocalStart, shell: StartedShell | null): Promise<LiveSession>
  startRemote(start: RemoteStart, signal: AbortSignal): Promise<LiveSession>
  /**
   * A session of this principal. One of somebody else is not there for him.
   *
   * @throws MHV_TERMINAL_UNKNOWN
   */
  session(id: string, principal: Principal): LiveSession
  /** Those of this principal, by their start. */
  list(principal: Principal): readonly LiveSession[]
  readonly streams: StreamServer
  readonly recordings: RecordingFiles
  readonly shells: ShellFiles
  readonly masker: Masker
  /** Programs that sessions may start: the setting `commands`. */
  readonly commands: readonly string[]
  /** Folder of the instance. */
  readonly folder: string
  /** Writes out what is to be recorded of a session that goes on. */
  flush(id: string): Promise<void>
}

/** How long the output of sessions that were found may take to come, in milliseconds, and how often to look. */
const CATCH_UP_MS = 2_000
const CATCH_UP_LOOK_MS = 2

type Context = WorkerContext<TerminalSettings>

export async function createTerminalHub(context: Context): Promise<TerminalConnection> {
  const { settings, folder, log, clock, masker } = context
  const sessions = await createPtySessions(context)
  const recordings = createRecordingFiles(folder)
  const shells = createShellFiles(folder, clock)
  const streams = createStreamServer({ folder, clock, log })
  const live = new Map<string, LiveSession>()
  /** Recordings whose files are being opened: nothing of their sessions is lost meanwhile, the program waits. */
  const opening = new Set<Promise<unknown>>()
  const totals = { started: 0, lost: 0 }

  function add(
    pty: PtySession,
    recorder: Recorder | null,
    more: { answeredTo: number; nonce: string | null },
  ): LiveSession {
    const { id } = pty.info
    const session = createLiveSession(pty, { clock, log, masker, recorder, ...more })
    live.set(id, session)
    void pty.exited.then(({ reason }) => {
      if (reason === 'lost') totals.lost += 1
    })
    return session
  }

  async function recorderFor(pty: PtySession, known: RecordingFacts | null): Promise<Recorder | null> {
    if (!settings.recording) return null
    const screen = async () => {
      const session = live.get(pty.info.id)
      return session === undefined
        ? ''
        : repaint(await maskedSnapshot(session.screen, masker, { runs: true }), await session.screen.modes())
    }
    const parts = { files: recordings, clock, log, masker, maxBytes: settings.recording_bytes, screen }
    try {
      return await createRecorder(parts, known ?? factsOf(pty))
    } catch (error) {
      // A session that should be recorded and cannot be does not go on unseen.
      throw mhvError('MHV_TERMINAL_NOT_STARTED', `the recording cannot be written: ${(error as Error).message}`, {
        cause: error,
      })
    }
  }

  async function started(pty: PtySession, nonce: string | null): Promise<LiveSession> {
    totals.started += 1
    try {
      const recorder = await recorderFor(pty, null)
      void recordings.prune(settings.recordings_bytes).catch((error: unknown) => {
        log.warn('old terminal recordings could not be removed', { error })
      })
      pruneShells()
      return add(pty, recorder, { answeredTo: 0, nonce })
    } catch (error) {
      await pty.close()
      throw error
    }
  }

  function pruneShells(): void {
    void shells.prune().catch((error: unknown) => log.warn('old files of shells could not be removed', { error }))
  }
  pruneShells()

  async function startMarked(start: LocalStart, shell: StartedShell): Promise<LiveSession> {
    const tidy = () =>
      shells.remove(shell).catch((error: unknown) => log.warn('files of a shell could not be removed', { error }))
    try {
      const session = await started(await sessions.startLocal(start), shell.nonce)
      // One that is lost may go on, and its shell has perhaps read nothing yet.
      void session.pty.exited.then(({ reason }) => (reason === 'lost' ? undefined : tidy()))
      return session
    } catch (error) {
      await tidy()
      throw error
    }
  }

  /** One that went on while Mahavishnu was away: its secrets are known again before its output is looked at. */
  async function found(pty: PtySession): Promise<void> {
    const facts = await recordings.facts(pty.info.id)
    // Which were typed is in the recording; without one it may be any of them.
    for (const name of facts?.secrets ?? Object.keys(settings.secrets)) {
      const reference = settings.secrets[name]
      try {
        if (reference !== undefined) await context.secrets.resolve(reference)
      } catch (error) {
        log.warn('a secret that was typed into a terminal cannot be masked any longer', { secret: name, error })
      }
    }
    const { end } = await pty.read(pty.cursor(), 1)
    const session = add(pty, await recorderFor(pty, facts), { answeredTo: facts?.recorded_to ?? end, nonce: null })
    // Whoever looks first is to see what is there already.
    const until = clock.monotonic() + CATCH_UP_MS
    while (session.screen.end() < end && clock.monotonic() < until) await clock.sleep(CATCH_UP_LOOK_MS)
  }

  sessions.onFound((pty) => {
    const work = found(pty).catch((error: unknown) => {
      log.error('a terminal session that was found could not be taken up', { session: pty.info.id, error })
    })
    opening.add(work)
    void work.finally(() => opening.delete(work))
  })
  await Promise.all(opening)

  /** Sessions that were closed or forgotten are not there any longer. */
  function current(): readonly LiveSession[] {
    return sessions.list().flatMap((pty) => {
      const session = live.get(pty.info.id)
      return session?.pty === pty ? session : []
    })
  }

  function forgetGone(): void {
    const there = new Set(current())
    for (const [id, session] of live) {
      if (there.has(session)) continue
      live.delete(id)
      session.screen.dispose()
    }
  }

  return {
    recordings,
    shells,
    streams,
    masker,
    commands: settings.commands,
    folder,
    flush: async (id) => live.get(id)?.flush(),
    startLocal: async (start, shell) => {
      forgetGone()
      return shell === null ? started(await sessions.startLocal(start), null) : startMarked(start, shell)
    },
    startRemote: async (start, signal) => {
      forgetGone()
      return started(await sessions.startRemote(start, signal), null)
    },
    session(id, principal) {
      const session = current().find(({ pty }) => pty.info.id === id && pty.info.owner === principal.id)
      // Whose it is, and whether it is, is told to nobody else.
      if (session === undefined) throw mhvError('MHV_TERMINAL_UNKNOWN', 'there is no such session of this principal')
      return session
    },
    list: (principal) => current().filter(({ pty }) => pty.info.owner === principal.id),
    stats() {
      const watchers = current().reduce((sum, session) => sum + session.watchers(), 0)
      return { ...sessions.stats(), watchers, started_total: totals.started, lost_total: totals.lost }
    },
    async close() {
      await streams.close()
      await Promise.all([...live.values()].map((session) => session.leave()))
      for (const session of live.values()) session.screen.dispose()
      await sessions.disconnect()
    },
  }

  function factsOf({ info, size }: PtySession): RecordingFacts {
    return {
      format: RECORDING_FORMAT,
      session: info.id,
      run_id: info.run_id,
      owner: info.owner,
      target: info.target,
      command: info.command === null ? null : masker.text(info.command.join(' ')),
      term: info.term,
      ...size(),
      started_at: info.started_at,
      ended_at: null,
      recorded_to: 0,
      file_bytes: 0,
      cut: false,
      secrets: [],
    }
  }
}
