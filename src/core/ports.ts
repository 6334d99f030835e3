/**
 * Capabilities that one worker provides and others need, so that workers never import each other. Every argument and
 * answer is structured-cloneable, apart from the `AbortSignal` and the byte callbacks, which the boundary to another
 * process replaces by messages.
 */

export interface RemoteExecRequest {
  /** Name of the target in the inventory. */
  readonly target: string
  /** Shell command, run by a POSIX shell on the host. */
  readonly command: string
  readonly stdin?: Uint8Array
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Milliseconds since the epoch at which the far side is ended. */
  readonly deadline: number
  /** Most bytes kept of each stream; what is beyond is counted. */
  readonly maxBytes: number
}

export interface RemoteExecResult {
  readonly exit_code: number | null
  readonly signal: string | null
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
  readonly dropped_bytes: number
}

/** Runs one command on a host without a terminal. */
export interface RemoteExec {
  exec(request: RemoteExecRequest, signal: AbortSignal): Promise<RemoteExecResult>
}

export interface RemotePtyRequest {
  readonly target: string
  readonly command?: string
  readonly term: string
  readonly rows: number
  readonly cols: number
}

/** What may be sent to the foreground job of a terminal: names without `SIG`. */
export const REMOTE_PTY_SIGNALS = ['HUP', 'INT', 'QUIT', 'KILL', 'TERM', 'CONT', 'TSTP'] as const
export type RemotePtySignal = (typeof REMOTE_PTY_SIGNALS)[number]

/** Whether what is typed now would be shown: `hidden` where the terminal takes a line without an echo. */
export type RemotePtyEcho = 'hidden' | 'shown' | 'unknown'

export interface RemotePtySession {
  /** Resolves when the connection has taken all of it. Rejects where the connection was lost before. */
  write(bytes: Uint8Array): Promise<void>
  resize(rows: number, cols: number): Promise<void>
  /** To the process group in front of the terminal and to nothing else; rejects where that was not certainly done. */
  signal(name: RemotePtySignal): Promise<void>
  /** Asks the host for the settings of the terminal; never rejects. */
  echo(): Promise<RemotePtyEcho>
  /** Ends what runs in it (HUP, then KILL). Resolves when the host has nothing of it left, as far as it could be asked. */
  close(): Promise<void>
  /** Resolves when `exit` was told. Rejects where the provider is gone, so that it never will be. */
  ended(): Promise<void>
}

export interface RemotePtyEvents {
  data(bytes: Uint8Array): Promise<void>
  /** Told once, after all data was taken. Neither a code nor a signal: nobody knows how it ended, or whether. */
  exit(exit: { readonly exit_code: number | null; readonly signal: string | null }): void
}

/** Opens a terminal on a host. */
export interface RemotePty {
  open(request: RemotePtyRequest, events: RemotePtyEvents, signal: AbortSignal): Promise<RemotePtySession>
}

export interface RemoteFileStat {
  readonly path: string
  readonly kind: 'file' | 'directory' | 'symlink' | 'other'
  readonly bytes: number
  readonly mode: number
  /** Milliseconds since the epoch. */
  readonly modified: number
}

/** Files of a host. Reads and writes go by chunks; a whole file is never held. */
export interface RemoteFs {
  stat(target: string, path: string, signal: AbortSignal): Promise<RemoteFileStat>
  list(target: string, path: string, signal: AbortSignal): Promise<readonly RemoteFileStat[]>
  read(target: string, path: string, offset: number, bytes: number, signal: AbortSignal): Promise<Uint8Array>
  write(target: string, path: string, offset: number, chunk: Uint8Array, signal: AbortSignal): Promise<void>
  rename(target: string, from: string, to: string, signal: AbortSignal): Promise<void>
  remove(target: string, path: string, signal: AbortSignal): Promise<void>
}

/** A consistent dump of a database, as a stream of chunks. */
export interface DumpStream {
  dump(target: string, chunk: (bytes: Uint8Array) => Promise<void>, signal: AbortSignal): Promise<{ bytes: number }>
}

export interface TerminalSessionRequest {
  /** Id of the principal who may use the session, and nobody else. */
  readonly owner: string
  /** The run that asks for it. */
  readonly run_id: string
  readonly target: string
  /** Program and arguments, with quotes as in a shell. */
  readonly command: string
}

/** Sessions with a screen, a recording and an owner, that are gone on with by the operations of their worker. */
export interface TerminalSessions {
  /** Starts a program in a terminal on a host, with the limits and the list of programs of `terminal.*`. */
  start(
    request: TerminalSessionRequest,
    signal: AbortSignal,
  ): Promise<{ readonly session: string; readonly recording: string | null }>
}

/** Every port by its name. */
export interface Ports {
  RemoteExec: RemoteExec
  RemotePty: RemotePty
  RemoteFs: RemoteFs
  DumpStream: DumpStream
  TerminalSessions: TerminalSessions
}

export type PortName = keyof Ports
