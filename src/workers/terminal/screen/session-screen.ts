import type { PtyListener, PtySession } from '../sessions/pty-session.ts'
import { createScreen, type Screen } from './screen.ts'

/** Bytes of answers that may wait for the program: one that asks on and on and reads nothing gets no more. */
const MAX_UNREAD_ANSWERS = 4_096

export interface SessionScreenOptions {
  /** Rows of history. */
  readonly history?: number
  /** Cursor up to which the program's questions were answered already, by a process before this one. Default: 0. */
  readonly answeredTo?: number
  /** An answer that the program could not be given (it has ended, or reads nothing), or scrollback not to be had. */
  failed(error: unknown): void
}

/** The screen of a session; the only one, since it answers what the program asks its terminal. */
export interface SessionScreen extends Screen {
  readonly session: PtySession
  /** To the program and to the screen. @throws what the session throws; the screen has its old size then */
  resize(rows: number, cols: number): Promise<void>
}

/**
 * Follows a session from its first byte on. Where it was there before (after a restart of Mahavishnu), the scrollback
 * is read first: what the program asked in it was answered then, and is not answered again.
 */
export function followSession(session: PtySession, options: SessionScreenOptions): SessionScreen {
  let unread = 0
  const screen = createScreen({
    ...session.size(),
    ...(options.history === undefined ? {} : { history: options.history }),
    answer: (bytes) => {
      // What somebody types has to find room.
      if (unread > 0 && unread + bytes.length > MAX_UNREAD_ANSWERS) return
      unread += bytes.length
      session
        .write(bytes, true)
        .catch(options.failed)
        .finally(() => {
          unread -= bytes.length
        })
    },
  })
  const before = session.cursor()
  let replay: Promise<void> | undefined
  if (before > 0) {
    replay = replayTo(session, screen, before)
      .catch((error) => {
        screen.markIncomplete()
        options.failed(error)
      })
      .finally(() => {
        replay = undefined
      })
  }
  const listener: PtyListener = ({ bytes, offset }) => {
    const replayed = offset < (options.answeredTo ?? 0)
    return replay ? replay.then(() => screen.feed(bytes, offset, replayed)) : screen.feed(bytes, offset, replayed)
  }
  const stop = session.onData(listener)

  return {
    ...screen,
    session,
    // What is looked at must have what was there before.
    snapshot: async (wanted) => {
      await replay
      return screen.snapshot(wanted)
    },
    difference: async (since) => {
      await replay
      return screen.difference(since)
    },
    svg: async () => {
      await replay
      return screen.svg()
    },
    modes: async () => {
      await replay
      return screen.modes()
    },
    watch: async (watcher) => {
      await replay
      return screen.watch(watcher)
    },
    async resize(rows, cols) {
      await replay
      const old = session.size()
      // The screen first: what the program draws for the new size must not meet the old one.
      await screen.resize(rows, cols)
      try {
        await session.resize(rows, cols)
      } catch (error) {
        await screen.resize(old.rows, old.cols)
        throw error
      }
    },
    dispose() {
      stop()
      screen.dispose()
    },
  }
}

/** Feeds what the scrollback still has of the output up to a cursor. */
async function replayTo(session: PtySession, screen: Screen, end: number): Promise<void> {
  let at = 0
  while (at < end) {
    const { bytes, offset, lost_bytes } = await session.read(at, end - at)
    if (lost_bytes > 0) screen.markIncomplete()
    if (bytes.length === 0) return
    const wanted = bytes.subarray(0, Math.max(0, end - offset))
    await screen.feed(wanted, offset, true)
    at = offset + wanted.length
    if (wanted.length === 0) return
  }
}
