/**
 * One terminal with a program in it, the same for a local one (owned by the PTY host) and one on another host (behind
 * the port RemotePty). It is bytes and nothing else: the screen, keys, waiting and recording are built on it.
 *
 * - **cursor**: how many bytes the program had written before this point: a byte offset into all of its output. It is
 *   never reset, also not by a restart of Mahavishnu.
 * - **scrollback**: the last bytes of that output, kept for `read`. What is older is gone, and a read says how much.
 */

/** Signals that may be sent to the foreground job. */
export const PTY_SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGKILL', 'SIGTERM', 'SIGCONT', 'SIGTSTP'] as const
export type PtySignal = (typeof PTY_SIGNALS)[number]

export interface PtySize {
  readonly rows: number
  readonly cols: number
}

/**
 * Why a session is over.
 *
 * - `exited`: its program ended, by itself or by a signal that somebody sent.
 * - `closed`: `close` ended it.
 * - `idle`, `lifetime`: nothing was typed or written for too long; it was there for as long as it may be.
 * - `lost`: the PTY host or the connection to the far host died; whether the program still runs is not known.
 */
export const PTY_ENDS = ['exited', 'closed', 'idle', 'lifetime', 'lost'] as const
export type PtyEnd = (typeof PTY_ENDS)[number]

/** How a session's program ended. Look at `signal` first: a program that a signal ended has no exit code. */
export interface PtyExit {
  /** Null where a signal ended it and where nobody knows. */
  readonly exit_code: number | null
  /** `SIGKILL`; null where it ended by itself and where nobody knows. */
  readonly signal: string | null
  readonly reason: PtyEnd
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** What is known about a session from its start on; structured-cloneable. */
export interface PtyInfo {
  /** Unique for good: a ULID. */
  readonly id: string
  readonly kind: 'local' | 'remote'
  /** Id of the principal who started it; nobody else may touch it. */
  readonly owner: string
  /** The run that started it. */
  readonly run_id: string
  /** Name of the target; null for a local one. */
  readonly target: string | null
  /** Program and arguments, or the far host's command line; null for the login shell. */
  readonly command: readonly string[] | null
  /** Value of TERM. */
  readonly term: string
  /** Milliseconds since the epoch. */
  readonly started_at: number
  /** Of the local program; null for a remote one. */
  readonly pid: number | null
}

/** A piece of output. */
export interface PtyOutput {
  /** Cursor of its first byte. */
  readonly offset: number
  /** Owned by the receiver: it is not written to afterwards. */
  readonly bytes: Uint8Array
}

/** An answer of `read`. */
export interface PtyRead extends PtyOutput {
  /** Bytes between the cursor that was asked for and `offset` that the scrollback does not have any more. */
  readonly lost_bytes: number
  /** Cursor after the last byte of the whole output so far; `offset + bytes.length` where all of it is here. */
  readonly end: number
}

/**
 * Is given every byte once, in order. What it returns is waited for before more is read from the program than fits the
 * window (256 KiB): this is the backpressure. What it throws is logged and ends the listener, never the session.
 */
export type PtyListener = (output: PtyOutput) => void | Promise<void>

export interface PtySession {
  readonly info: PtyInfo
  /** The size as it was set last. */
  size(): PtySize
  /** Cursor after the last byte that the listeners were given. */
  cursor(): number
  /** Milliseconds since the epoch of the last input or output. */
  lastUsed(): number

  /**
   * Types. Resolves when the terminal has taken all of it.
   *
   * @param isAnswer the terminal itself answers what the program has asked it: nobody types, and no other session gives way
   * @throws MHV_TERMINAL_INPUT_FULL when the program reads nothing and the terminal takes no more; nothing of these
   *   bytes was typed then. MHV_TERMINAL_ENDED, MHV_TERMINAL_LOST
   */
  write(bytes: Uint8Array, isAnswer?: boolean): Promise<void>
  /** Resolves when the terminal has the size and the program was told. @throws MHV_TERMINAL_ENDED, MHV_TERMINAL_LOST */
  resize(rows: number, cols: number): Promise<void>
  /**
   * To the foreground job's process group, and to nothing else.
   *
   * @throws MHV_TERMINAL_NO_FOREGROUND where there is none; MHV_TERMINAL_ENDED, MHV_TERMINAL_LOST
   */
  signal(name: PtySignal): Promise<void>

  /** Of a session on another host: whether what is typed now would be shown. Never rejects. */
  echo?(): Promise<'hidden' | 'shown' | 'unknown'>

  /**
   * Output from a cursor on, as far as the scrollback has it. Works after the end, until `close`.
   *
   * @param max most bytes of the answer; by default 1 MiB, and never more
   * @throws MHV_TERMINAL_LOST
   */
  read(offset: number, max?: number): Promise<PtyRead>
  /**
   * Output as it comes. The first listener starts the flow at `cursor()`: nothing is read away before (the program
   * waits once the window is full). One that comes later is given what comes from then on, and can `read` the rest.
   *
   * @returns ends the listening
   */
  onData(listener: PtyListener): () => void

  /** Null while the program runs or output is still to be delivered to the listeners. */
  exit(): PtyExit | null
  /**
   * Resolves, never rejects, when the program has ended and the listeners have taken all of its output: where nobody
   * listens and there is some, not before the session is closed, forgotten or lost.
   */
  readonly exited: Promise<PtyExit>

  /**
   * Ends what runs in it (HUP, then KILL) and forgets the session with its scrollback. Resolves when it is gone; may be
   * called at any time and more than once.
   */
  close(): Promise<void>
}
