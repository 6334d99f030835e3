import type { Clock } from '../../../core/clock.ts'
import { mhvError } from '../../../core/errors.ts'
import type { PtySignal } from '../sessions/pty-session.ts'
import { endMembers } from './end-session.ts'
import { createInputQueue } from './input-queue.ts'
import { type LocalPty, startLocalPty } from './local-pty.ts'
import type { NativePty } from './native-pty.ts'
import { foregroundGroup, sendSignal } from './process-groups.ts'
import { type HostedExit, type HostedSession, type StartParams, WINDOW_BYTES } from './protocol.ts'
import type { QuietFirst } from './quiet-first.ts'
import { createRing } from './ring.ts'

export interface HostedSessionEvents {
  /** There is output to send. */
  output(): void
  /** The program has ended. */
  exit(exit: HostedExit, end: number): void
}

/** A session in the PTY host: a terminal, its scrollback, and how far the controller is. */
export interface HostSession {
  readonly number: number
  /** Bytes of scrollback that it may come to have. */
  readonly reserved: number
  describe(): HostedSession
  isOver(): boolean
  /** Whether it has ended and nobody has asked for what it left for the idle time. */
  isForgettable(now: number): boolean
  /** Why it has to end now, if it has to. */
  overdue(now: number): 'idle' | 'lifetime' | null

  /** @param isAnswer the terminal itself answers what the program has asked it: nobody types */
  write(bytes: Uint8Array, isAnswer: boolean, done: (error?: Error) => void): void
  resize(rows: number, cols: number): void
  signal(name: PtySignal): Promise<void>
  read(offset: number, max: number): { readonly offset: number; readonly end: number; readonly bytes: Uint8Array }

  /** From now on output is for the controller, from this cursor on. @returns where it begins */
  flow(from: number): number
  /** The next piece to send, valid until the controller has taken it; empty when there is none, or no window. */
  next(max: number): { readonly offset: number; readonly bytes: Uint8Array }
  /** Bytes that `next` has not given yet, whether there is a window for them or not. */
  unsent(): number
  /** The controller has taken everything before this cursor. */
  credit(offset: number): void
  /** Nobody is there to wait for: what does not fit the scrollback is let go. */
  letGo(): void

  /** Ends what runs in it. Resolves when it is gone; more calls wait for the same. */
  end(reason: 'closed' | 'idle' | 'lifetime'): Promise<void>
}

export interface HostedSessionParts {
  readonly native: NativePty
  readonly clock: Clock
  readonly number: number
  readonly graceMs: number
  readonly quietFirst: QuietFirst
  readonly events: HostedSessionEvents
}

/** @throws what startLocalPty does */
export function createHostSession(params: StartParams, parts: HostedSessionParts): HostSession {
  const { clock, number, events, quietFirst } = parts
  const ring = createRing(Math.max(params.scrollback_bytes, WINDOW_BYTES))
  const size = { rows: params.rows, cols: params.cols }
  /** Output for which the scrollback has no room before the controller has taken more. At most what one read gives, or the rest at the exit. */
  const held: Uint8Array[] = []
  let heldBytes = 0
  /** Cursor before which everything was taken, and before which everything was sent. */
  let taken = 0
  let sent = 0
  /** Whether the controller waits for output; until its first `flow` of a new session, it is waited for as well. */
  let isFlowing = false
  let isWaitedFor = true
  let isPaused = false
  /** It is the turn of others. */
  let isResting = false
  let used = clock.now()
  let exit: HostedExit | null = null
  let why: HostedExit['reason'] = 'exited'
  let ending: Promise<void> | undefined
  /** Set when the program has ended: what else ran in its terminal is being ended. */
  let leftovers: Promise<unknown> | undefined
  const ended = Promise.withResolvers<void>()

  const windowLeft = () => (isWaitedFor ? WINDOW_BYTES - (ring.end() - taken) : Number.POSITIVE_INFINITY)
  const fits = (count: number) => !isWaitedFor || ring.end() + count - taken <= ring.capacity

  const pty: LocalPty = startLocalPty(parts.native, params, {
    data(bytes) {
      used = clock.now()
      if (held.length === 0 && fits(bytes.length)) ring.push(bytes)
      else {
        held.push(Uint8Array.prototype.slice.call(bytes))
        heldBytes += bytes.length
      }
      if (isFlowing) events.output()
      isPaused = held.length > 0 || windowLeft() <= 0
      quietFirst.gave(number, bytes.length)
      rest(quietFirst.rest(number, bytes.length))
      return !isPaused && !isResting
    },
    exit(code, signal) {
      input.end(endedError())
      leftovers = endMembers(pty.pid, parts.graceMs)
      exit = { exit_code: code, signal, reason: why, at: clock.now() }
      used = exit.at
      ended.resolve()
      events.exit(exit, ring.end() + heldBytes)
    },
  })
  const input = createInputQueue((bytes) => pty.write(bytes))
  const info = { ...params.info, pid: pty.pid }

  /** Takes up again what was held back, as far as there is room now. */
  function goOn(): void {
    while (held.length > 0 && fits((held[0] as Uint8Array).length)) {
      const bytes = held.shift() as Uint8Array
      heldBytes -= bytes.length
      ring.push(bytes)
    }
    if (isFlowing) events.output()
    if (isPaused && held.length === 0 && windowLeft() > 0) {
      isPaused = false
      if (!isResting) pty.resume()
    }
  }

  function rest(ms: number): void {
    if (ms <= 0 || isResting) return
    isResting = true
    clock.after(ms, () => {
      isResting = false
      if (!isPaused) pty.resume()
    })
  }

  function endedError() {
    return mhvError('MHV_TERMINAL_ENDED', `the program of session ${params.info.id} has ended`)
  }

  function mustRun(): void {
    if (exit !== null || ending !== undefined) throw endedError()
  }

  async function endAll(): Promise<void> {
    if (exit === null) {
      const members = endMembers(pty.pid, parts.graceMs)
      pty.destroy()
      await members
      // Told by the addon, a moment after the process is gone; one that the kernel does not let go is not waited for.
      await Promise.race([ended.promise, clock.sleep(1_000)])
    }
    await leftovers
    pty.destroy()
  }

  return {
    number,
    reserved: ring.capacity,
    describe: () => ({
      number,
      info,
      ...size,
      start: ring.start(),
      end: ring.end() + heldBytes,
      last_used: used,
      exit,
    }),
    isOver: () => exit !== null,
    isForgettable: (now) => exit !== null && now - used >= params.idle_ms,
    overdue(now) {
      if (exit !== null || ending !== undefined) return null
      if (now - info.started_at >= params.lifetime_ms) return 'lifetime'
      return now - used >= params.idle_ms ? 'idle' : null
    },

    write(bytes, isAnswer, done) {
      used = clock.now()
      if (!isAnswer) quietFirst.typed(number)
      if (exit !== null || ending !== undefined) done(endedError())
      else input.push(bytes, done)
    },
    resize(rows, cols) {
      mustRun()
      pty.resize(rows, cols)
      Object.assign(size, { rows, cols })
    },
    async signal(name) {
      mustRun()
      const group = await foregroundGroup(pty.pid)
      mustRun()
      if (group !== null && sendSignal(-group, name)) return
      throw mhvError('MHV_TERMINAL_NO_FOREGROUND', `session ${params.info.id} has no foreground job`)
    },
    read(offset, max) {
      if (exit !== null) used = clock.now()
      const from = Math.min(Math.max(offset, ring.start()), ring.end())
      return { offset: from, end: ring.end() + heldBytes, bytes: ring.copy(from, max) }
    },

    flow(from) {
      const begin = Math.min(Math.max(from, ring.start()), ring.end())
      isFlowing = true
      isWaitedFor = true
      taken = begin
      sent = begin
      goOn()
      return begin
    },
    next(max) {
      if (!isFlowing) return { offset: sent, bytes: ring.view(ring.end(), 0) }
      const offset = sent
      const bytes = ring.view(offset, Math.min(max, taken + WINDOW_BYTES - offset))
      sent += bytes.length
      return { offset, bytes }
    },
    unsent: () => ring.end() - sent,
    credit(offset) {
      if (!isFlowing || offset <= taken || offset > sent) return
      taken = offset
      goOn()
    },
    letGo() {
      isFlowing = false
      isWaitedFor = false
      goOn()
    },

    end(reason) {
      if (ending === undefined) {
        if (exit === null) why = reason
        input.end(endedError())
        ending = endAll()
      }
      return ending
    },
  }
}
