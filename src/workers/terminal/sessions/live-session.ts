import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import type { Masker } from '../../../core/masker.ts'
import type { Recorder } from '../recording/recorder.ts'
import { followSession, type SessionScreen } from '../screen/session-screen.ts'
import { type EchoState, echoState, looksLikePasswordPrompt } from './echo-state.ts'
import type { PtyOutput, PtySession } from './pty-session.ts'
import { HIDDEN } from './typed-lines.ts'

/** A session with all that hangs on it: its screen, its recording, whoever watches. */
export interface LiveSession {
  readonly pty: PtySession
  readonly screen: SessionScreen
  /** The word of the marks that its shell was started with; null where it was not, or not by this process. */
  readonly nonce: string | null
  /** Output as it comes, to whoever is attached. What it throws ends the watching. */
  watch(watcher: (output: PtyOutput) => void): () => void
  watchers(): number
  /**
   * Types.
   *
   * @param shown what the recording says was typed; default: the bytes as text, or a word for them where the terminal does
   *   not show what is typed
   */
  type(bytes: Uint8Array, shown?: string): Promise<void>
  /** Whether what is typed now is hidden: by the terminal's settings, or as far as one can tell by what it shows. */
  isHidden(): Promise<boolean>
  echo(): Promise<EchoState>
  resize(rows: number, cols: number): Promise<void>
  /** From now on the secret of this name may come. */
  secret(name: string): Promise<void>
  /** Resolves when the program has ended and its recording is complete. */
  readonly ended: Promise<void>
  /** Writes out what there is to record. */
  flush(): Promise<void>
  /** The same, and records no more; the session goes on. */
  leave(): Promise<void>
  /** Whether it is recorded, and still can be. */
  recorded(): boolean
}

export interface LiveSessionParts {
  readonly clock: Clock
  readonly log: Logger
  readonly masker: Masker
  /** Null where the session is not recorded. */
  readonly recorder: Recorder | null
  /** Cursor up to which the program's questions to its terminal were answered already, by a process before this one. */
  readonly answeredTo: number
  readonly nonce: string | null
}

export function createLiveSession(pty: PtySession, parts: LiveSessionParts): LiveSession {
  const { recorder, log } = parts
  const session = pty.info.id
  // The program has ended, or reads nothing: then nobody waits for the answer.
  const screen = followSession(pty, { failed: () => undefined, answeredTo: parts.answeredTo })
  const watchers = new Set<(output: PtyOutput) => void>()

  function tell(output: PtyOutput): void {
    for (const watcher of watchers) {
      try {
        watcher(output)
      } catch (error) {
        watchers.delete(watcher)
        log.warn('a watcher of a terminal session failed', { session, error })
      }
    }
  }

  pty.onData((output) => {
    const recorded = recorder?.output(output.offset, output.bytes)
    tell(output)
    return recorded
  })
  const ended = pty.exited.then(() => recorder?.close(true))

  async function isHidden(): Promise<boolean> {
    const state = await echoState(pty)
    if (state !== 'unknown') return state === 'hidden'
    const { lines, cursor } = await screen.snapshot()
    return looksLikePasswordPrompt((lines[cursor.row] ?? '').slice(0, cursor.col))
  }

  return {
    pty,
    screen,
    nonce: parts.nonce,
    recorded: () => recorder?.works() ?? false,
    watch(watcher) {
      watchers.add(watcher)
      return () => void watchers.delete(watcher)
    },
    watchers: () => watchers.size,
    async type(bytes, shown) {
      const text = shown ?? ((await isHiddenFor(bytes)) ? HIDDEN : Buffer.from(bytes).toString('utf8'))
      await pty.write(bytes)
      recorder?.input(text)
    },
    isHidden,
    echo: () => pty.echo?.() ?? echoState(pty),
    async resize(rows, cols) {
      await screen.resize(rows, cols)
      recorder?.resize(rows, cols)
    },
    async secret(name) {
      await recorder?.secret(name)
    },
    ended,
    flush: async () => recorder?.flush(),
    leave: async () => recorder?.close(false),
  }

  /** Controls alone give nothing away: asking for them would cost more than it is worth. */
  async function isHiddenFor(bytes: Uint8Array): Promise<boolean> {
    return (
      recorder !== null && bytes.some((byte) => byte >= 0x20 && byte !== 0x7f && byte !== 0x5b) && (await isHidden())
    )
  }
}
