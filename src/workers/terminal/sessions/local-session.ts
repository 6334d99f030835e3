import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import { type MhvError, mhvError } from '../../../core/errors.ts'
import type { HostClient } from '../host/host-client.ts'
import { type HostedSession, MAX_INPUT_BYTES, MAX_READ_BYTES, WINDOW_BYTES } from '../host/protocol.ts'
import type { SessionAttention } from './attention.ts'
import { createListeners } from './listeners.ts'
import type { PtyExit, PtyListener, PtySession } from './pty-session.ts'

/** The controller tells how far it is each time a quarter of the window was taken. */
const CREDIT_BYTES = WINDOW_BYTES / 4

export interface LocalSessionParts {
  readonly client: HostClient
  readonly clock: Clock
  readonly log: Logger
  readonly attention: SessionAttention
  /** The session was forgotten: it cannot be asked for anything any more. */
  forgotten(): void
}

/** A session in the PTY host, as it is now. */
export function createLocalSession(hosted: HostedSession, parts: LocalSessionParts): PtySession {
  const { client, clock, log, attention } = parts
  const { number, info } = hosted
  const size = { rows: hosted.rows, cols: hosted.cols }
  const exited = Promise.withResolvers<PtyExit>()
  let cursor = hosted.start
  let credited = cursor
  let used = hosted.last_used
  let isFlowing = false
  let ended: { readonly exit: PtyExit; readonly end: number } | undefined
  let exit: PtyExit | null = null
  let closing: Promise<void> | undefined

  const listeners = createListeners(log, (taken) => {
    if (taken - credited < CREDIT_BYTES) return
    credited = taken
    client.credit(number, taken)
  })

  /** When the listeners have everything, the end is told: not before somebody listens, if there is anything. */
  function tellEnd(): void {
    if (ended === undefined || exit !== null || cursor < ended.end) return
    const { exit: known } = ended
    void listeners.settled().then(() => finish(known))
  }

  function finish(known: PtyExit): void {
    exit ??= known
    exited.resolve(exit)
  }

  client.listen(number, {
    output(offset, bytes) {
      cursor = offset + bytes.length
      used = clock.now()
      attention.gave(bytes.length)
      listeners.deliver({ offset, bytes })
      if (ended !== undefined) tellEnd()
    },
    exit(known, end) {
      ended = { exit: known, end }
      tellEnd()
    },
    gone() {
      if (ended !== undefined) finish(ended.exit)
      parts.forgotten()
    },
  })
  if (hosted.exit !== null) {
    ended = { exit: hosted.exit, end: hosted.end }
    tellEnd()
  }
  void client.closed.then(() => {
    if (ended === undefined) ended = { exit: lostExit(clock), end: cursor }
    finish(ended.exit)
  })

  function startFlow(): void {
    isFlowing = true
    // Where it fails the host is gone, or the session was closed, and that is told otherwise.
    client.call('flow', { session: number, from: cursor }).catch(() => undefined)
  }

  /** What the host says of a session that it does not have any more means what it says of one that has ended. */
  function named(error: unknown): never {
    const code = (error as MhvError).code
    if (code === 'MHV_TERMINAL_UNKNOWN') throw mhvError('MHV_TERMINAL_ENDED', `session ${info.id} was closed`)
    throw error
  }

  async function closeNow(): Promise<void> {
    if (client.isOpen()) {
      await client.call('close', { session: number }).catch((error: MhvError) => {
        // Closed already; or the host has died, and nothing can be known or done.
        if (error.code !== 'MHV_TERMINAL_UNKNOWN' && error.code !== 'MHV_TERMINAL_LOST') throw error
      })
    }
    finish(ended?.exit ?? { ...lostExit(clock), reason: 'closed' })
    parts.forgotten()
  }

  return {
    info,
    size: () => ({ ...size }),
    cursor: () => cursor,
    lastUsed: () => used,
    exited: exited.promise,
    exit: () => exit,
    async write(bytes, isAnswer = false) {
      used = clock.now()
      if (!isAnswer) attention.typed()
      if (bytes.length > MAX_INPUT_BYTES) {
        throw mhvError(
          'MHV_TERMINAL_INPUT_FULL',
          `${bytes.length} bytes are more than the ${MAX_INPUT_BYTES} that may wait`,
        )
      }
      await client.input(number, bytes, isAnswer).catch(named)
    },
    async resize(rows, cols) {
      await client.call('resize', { session: number, rows, cols }).catch(named)
      Object.assign(size, { rows, cols })
    },
    async signal(name) {
      await client.call('signal', { session: number, signal: name }).catch(named)
    },
    async read(offset, max = MAX_READ_BYTES) {
      const answer = await client.read(number, offset, max).catch(named)
      return { ...answer, lost_bytes: Math.max(0, answer.offset - offset) }
    },
    onData(listener: PtyListener) {
      const remove = listeners.add(listener)
      if (!isFlowing) startFlow()
      return remove
    },
    close() {
      closing ??= closeNow()
      return closing
    },
  }
}

function lostExit(clock: Clock): PtyExit {
  return { exit_code: null, signal: null, reason: 'lost', at: clock.now() }
}
