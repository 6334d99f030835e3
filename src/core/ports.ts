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

export interface RemotePtySession {
  write(bytes: Uint8Array): Promise<void>
  resize(rows: number, cols: number): Promise<void>
  signal(name: string): Promise<void>
  close(): Promise<void>
}

export interface RemotePtyEvents {
  data(bytes: Uint8Array): Promise<void>
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

/** Every port by its name. */
export interface Ports {
  RemoteExec: RemoteExec
  RemotePty: RemotePty
  RemoteFs: RemoteFs
  DumpStream: DumpStream
}

export type PortName = keyof Ports
