import type { PtySession, PtySize } from './pty-session.ts'

/** A program in a terminal of this machine. */
export interface LocalStart extends PtySize {
  readonly owner: string
  readonly run_id: string
  /** Program and arguments; null for the login shell. */
  readonly command: readonly string[] | null
  readonly term: string
  /** Folder to start in: within the setting `directories`. */
  readonly cwd?: string
  /** Variables beside those that every session gets. */
  readonly env?: Readonly<Record<string, string>>
}

/** A terminal on a host of the inventory. */
export interface RemoteStart extends PtySize {
  readonly owner: string
  readonly run_id: string
  readonly target: string
  /** Command line for the far shell; null for the login shell. */
  readonly command: string | null
  readonly term: string
}

/** All sessions of this instance. */
export interface PtySessions {
  /**
   * @throws MHV_TERMINAL_LIMIT, MHV_TERMINAL_DIRECTORY, MHV_TERMINAL_ENVIRONMENT, MHV_TERMINAL_NOT_STARTED,
   *   MHV_TERMINAL_HOST_DOWN, MHV_TERMINAL_HOST_BUSY, MHV_TERMINAL_HOST_VERSION
   */
  startLocal(start: LocalStart): Promise<PtySession>
  /** @throws MHV_TERMINAL_LIMIT, MHV_PORT_MISSING, what the port throws, the signal's reason */
  startRemote(start: RemoteStart, signal: AbortSignal): Promise<PtySession>
  /**
   * Also sessions that have ended and were not closed: those are forgotten after the idle time.
   *
   * @throws MHV_TERMINAL_UNKNOWN
   */
  get(id: string): PtySession
  /** By their start. */
  list(): readonly PtySession[]
  /**
   * Is given each session that is there without having been started by this process: those that the PTY host kept while
   * Mahavishnu was away. Those found already are given at once. Their `cursor()` is the oldest byte that is left.
   */
  onFound(listener: (session: PtySession) => void): void
  stats(): Readonly<Record<string, number>>
  /** Lets go: local sessions go on in the PTY host and are found again, remote ones are closed. */
  disconnect(): Promise<void>
}
