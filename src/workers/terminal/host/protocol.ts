import type { WireError } from '../../../core/errors.ts'
import type { PtyEnd, PtyInfo, PtySignal, PtySize } from '../sessions/pty-session.ts'

/** Version of frames.ts and of the messages below. Both sides have to have the same. */
export const PROTOCOL = 1

/**
 * Bytes of one session that may be under way to the controller, or be with its listeners. Beyond them the host reads no
 * more from the terminal. Large enough that the two processes need not wait for each other, small enough that what one
 * session floods is no long queue for the others.
 */
export const WINDOW_BYTES = 262_144
/** Bytes of input of one session that may wait for its terminal. */
export const MAX_INPUT_BYTES = 1_048_576
/** Bytes that one `read` answers with at most. */
export const MAX_READ_BYTES = 1_048_576

/** What holds for the host as a whole; the controller tells it when it connects. */
export interface HostLimits {
  readonly max_sessions: number
  readonly memory_bytes: number
  /** Milliseconds that the host stays with neither controller nor session. */
  readonly idle_ms: number
  /** Milliseconds between HUP and KILL. */
  readonly close_grace_ms: number
}

/** A session to start. Environment and folder have been checked by the controller; nothing of the host's own is added. */
export interface StartParams extends PtySize {
  readonly info: Omit<PtyInfo, 'pid'>
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly scrollback_bytes: number
  /** Milliseconds. */
  readonly idle_ms: number
  readonly lifetime_ms: number
}

/** A session as the host has it. */
export interface HostedSession extends PtySize {
  /** What stands for it in the frames, within the life of this host. */
  readonly number: number
  readonly info: PtyInfo
  /** Cursor of the oldest byte of the scrollback, and the one after the newest. */
  readonly start: number
  readonly end: number
  /** Milliseconds since the epoch. */
  readonly last_used: number
  readonly exit: HostedExit | null
}

export interface HostedExit {
  readonly exit_code: number | null
  readonly signal: string | null
  readonly reason: Exclude<PtyEnd, 'lost'>
  readonly at: number
}

/** What the controller asks for, with what the host answers. */
export interface HostMethods {
  start(params: StartParams): HostedSession
  /** Output is sent from this cursor on, or from the oldest byte that is there. */
  flow(params: { readonly session: number; readonly from: number }): { readonly from: number }
  resize(params: PtySize & { readonly session: number }): null
  signal(params: { readonly session: number; readonly signal: PtySignal }): Promise<null>
  /** Answered by a scrollback frame. */
  read(params: { readonly session: number; readonly offset: number; readonly max: number }): null
  /** Answers when nothing is left of it. */
  close(params: { readonly session: number }): Promise<null>
  /** A session of another host was typed into, or has printed a little: local floods give way to it for a moment. */
  attend(params: { readonly typed: boolean }): null
  stats(): { readonly sessions: number; readonly rss_bytes: number; readonly descriptors: number; readonly pid: number }
  /** Ends everything, and the host with it. */
  shutdown(): Promise<null>
}

export type HostMethod = keyof HostMethods

/** First message of the controller. */
export interface Hello {
  readonly kind: 'hello'
  readonly protocol: number
  readonly token: string
  readonly limits: HostLimits
}

/** The host's answer. After a refusal it closes the connection. */
export type Welcome =
  | {
      readonly kind: 'welcome'
      readonly protocol: number
      readonly pid: number
      readonly sessions: readonly HostedSession[]
    }
  | { readonly kind: 'refused'; readonly protocol: number; readonly pid: number; readonly error: WireError }

export interface HostRequest {
  readonly kind: 'request'
  readonly id: number
  readonly method: HostMethod
  readonly params: unknown
}

export type HostReply =
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: WireError }

/** The program has ended; `end` is the cursor after all of its output, which may still be to come. */
export interface ExitEvent {
  readonly kind: 'exit'
  readonly session: number
  readonly end: number
  readonly exit: HostedExit
}

/** The session was forgotten: closed, or left unread for the idle time after its end. */
export interface GoneEvent {
  readonly kind: 'gone'
  readonly session: number
}

export type FromHost = Welcome | HostReply | ExitEvent | GoneEvent
export type ToHost = Hello | HostRequest
