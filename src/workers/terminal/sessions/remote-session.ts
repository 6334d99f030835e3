import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import type { RemotePty, RemotePtyEcho, RemotePtySession, RemotePtySignal } from '../../../core/ports.ts'
import { MAX_INPUT_BYTES, MAX_READ_BYTES, WINDOW_BYTES } from '../host/protocol.ts'
import { createRing } from '../host/ring.ts'
import type { SessionAttention } from './attention.ts'
import { createListeners } from './listeners.ts'
import type { PtyEnd, PtyExit, PtyInfo, PtySession, PtySize } from './pty-session.ts'

export interface RemoteSessionParts {
  readonly port: RemotePty
  readonly clock: Clock
  readonly log: Logger
  readonly attention: SessionAttention
  readonly scrollback_bytes: number
  /** Milliseconds. */
  readonly idle_ms: number
  readonly lifetime_ms: number
  /** The session was forgotten: closed, or left unread for the idle time after its end. */
  forgotten(): void
}

/** A session of another host: what hides the keys there is asked of that host. */
export interface RemoteSession extends PtySession {
  readonly echo: () => Promise<RemotePtyEcho>
}

/**
 * Opens a terminal on another host. Its scrollback is here, and it ends with this process.
 *
 * @throws what the port throws; the signal's reason
 */
export async function openRemoteSession(
  info: PtyInfo & { readonly target: string },
  size: PtySize,
  command: string | null,
  parts: RemoteSessionParts,
  signal: AbortSignal,
): Promise<RemoteSession> {
  const { clock, log, attention } = parts
  const ring = createRing(Math.max(parts.scrollback_bytes, WINDOW_BYTES))
  let { rows, cols } = size
  const exited = Promise.withResolvers<PtyExit>()
  /** Cursor before which the listeners were given everything, and before which they have taken it. */
  let cursor = 0
  let taken = 0
  let used = clock.now()
  let isFlowing = false
  let ended: PtyExit | undefined
  let exit: PtyExit | null = null
  let why: PtyEnd = 'exited'
  let closing: Promise<void> | undefined
  /** The port waits for it before it reads more from the far host. */
  let room: PromiseWithResolvers<void> | undefined

  const listeners = createListeners(log, (upTo) => {
    taken = upTo
    passOn()
  })

  /** Gives the listeners what they have not had, as far as the window allows, and lets the far host go on. */
  function passOn(): void {
    while (isFlowing && cursor < ring.end() && cursor - taken < WINDOW_BYTES) {
      const offset = cursor
      // A copy: the listener owns what it is given, and the ring is written to again.
      const bytes = ring.copy(offset, Math.min(ring.end() - offset, WINDOW_BYTES - (offset - taken)))
      cursor += bytes.length
      listeners.deliver({ offset, bytes })
    }
    if (ring.end() - taken < WINDOW_BYTES) {
      room?.resolve()
      room = undefined
    }
    const isLeft = cursor < ring.end() && (isFlowing || ended?.reason !== 'lost')
    if (ended !== undefined && !isLeft) tellEnd(ended)
  }

  function tellEnd(known: PtyExit): void {
    void listeners.settled().then(() => finish(known))
  }

  function finish(known: PtyExit): void {
    exit ??= known
    exited.resolve(exit)
  }

  function end(exit_code: number | null, name: string | null): void {
    if (ended !== undefined) return
    const signalName = name === null ? null : `SIG${name.replace(/^SIG/, '')}`
    // Neither code nor signal: the connection ended before anything was told.
    const reason = why === 'exited' && exit_code === null && signalName === null ? 'lost' : why
    used = clock.now()
    ended = { exit_code, signal: signalName, reason, at: used }
    room?.resolve()
    passOn()
    stopWatching()
    stopWatching = clock.after(parts.idle_ms, () => void close())
  }

  async function data(bytes: Uint8Array): Promise<void> {
    used = clock.now()
    // Cut, so that what nobody has taken yet is never overwritten, however much comes at once.
    for (let at = 0; at < bytes.length; ) {
      const free = ring.capacity - (ring.end() - taken)
      if (free <= 0) {
        await waitForRoom()
        continue
      }
      ring.push(bytes.subarray(at, at + free))
      at += Math.min(free, bytes.length - at)
      passOn()
    }
    const rest = attention.gave(bytes.length)
    if (ring.end() - taken >= WINDOW_BYTES) await waitForRoom()
    if (rest > 0 && ended === undefined && closing === undefined) await clock.sleep(rest)
  }

  function waitForRoom(): Promise<void> {
    if (closing !== undefined) {
      taken = ring.end()
      return Promise.resolve()
    }
    room ??= Promise.withResolvers<void>()
    return room.promise
  }

  const started = clock.now()
  let stopWatching: () => void = () => undefined
  /** Looks again when the session would be idle, or at the end of its life, whichever is first. */
  function watch(): void {
    const left = Math.min(used + parts.idle_ms, started + parts.lifetime_ms) - clock.now()
    stopWatching = clock.after(Math.max(1, left), () => {
      if (ended !== undefined) return
      const now = clock.now()
      if (now - started >= parts.lifetime_ms) why = 'lifetime'
      else if (now - used >= parts.idle_ms) why = 'idle'
      if (why === 'exited') watch()
      else void endFar()
    })
  }

  async function endFar(): Promise<void> {
    try {
      await far.close()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      log.warn('a terminal session of another host could not be closed', { session: info.id, error: message })
    }
    end(null, null)
  }

  const request = { target: info.target, term: info.term, rows, cols, ...(command === null ? {} : { command }) }
  const far: RemotePtySession = await parts.port.open(
    request,
    { data, exit: ({ exit_code, signal: name }) => end(exit_code, name) },
    signal,
  )
  watch()
  // The worker that has the connection is gone: nobody will ever tell how this ended.
  far.ended().catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error)
    log.warn('the connection of a terminal session is gone', { session: info.id, error: message })
    end(null, null)
  })

  /** Bytes that the far host has not taken yet. */
  let typing = 0

  async function write(bytes: Uint8Array): Promise<void> {
    if (typing + bytes.length > MAX_INPUT_BYTES) {
      const message = `${typing} bytes of input wait already, and ${MAX_INPUT_BYTES} may`
      throw mhvError('MHV_TERMINAL_INPUT_FULL', message)
    }
    typing += bytes.length
    try {
      await far.write(bytes)
    } catch (error) {
      // Told before the end of the session is, where both come of the same.
      if (ended === undefined) throw lost(error)
      mustRun()
      throw error
    } finally {
      typing -= bytes.length
    }
    if (ended?.reason === 'lost') mustRun()
  }

  function lost(cause?: unknown) {
    const message = `the connection of session ${info.id} was lost`
    return mhvError('MHV_TERMINAL_LOST', message, cause === undefined ? {} : { cause })
  }

  function mustRun(): void {
    if (ended?.reason === 'lost') throw lost()
    if (ended !== undefined || closing !== undefined) {
      throw mhvError('MHV_TERMINAL_ENDED', `the program of session ${info.id} has ended`)
    }
  }

  async function closeNow(): Promise<void> {
    if (ended === undefined) {
      why = 'closed'
      taken = ring.end()
      room?.resolve()
      await endFar()
    }
    stopWatching()
    finish(ended as unknown as PtyExit)
    parts.forgotten()
  }

  function close(): Promise<void> {
    closing ??= closeNow()
    return closing
  }

  return {
    info,
    size: () => ({ rows, cols }),
    cursor: () => cursor,
    lastUsed: () => used,
    exited: exited.promise,
    exit: () => exit,
    async write(bytes, isAnswer = false) {
      mustRun()
      used = clock.now()
      if (!isAnswer) attention.typed()
      await write(bytes)
    },
    async resize(newRows, newCols) {
      mustRun()
      await far.resize(newRows, newCols)
      rows = newRows
      cols = newCols
    },
    async signal(name) {
      mustRun()
      await far.signal(name.slice('SIG'.length) as RemotePtySignal)
    },
    async read(offset, max = MAX_READ_BYTES) {
      const from = Math.min(Math.max(offset, ring.start()), ring.end())
      const bytes = ring.copy(from, Math.min(max, MAX_READ_BYTES))
      return { offset: from, bytes, lost_bytes: Math.max(0, from - offset), end: ring.end() }
    },
    onData(listener) {
      const remove = listeners.add(listener)
      if (!isFlowing) {
        isFlowing = true
        passOn()
      }
      return remove
    },
    close,
    echo: async () => (ended === undefined ? far.echo() : 'unknown'),
  }
}
