import { createHash, timingSafeEqual } from 'node:crypto'
import { readdirSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Clock } from '../../../core/clock.ts'
import { type MhvError, mhvError, outOfDescriptors, toMhvError } from '../../../core/errors.ts'
import { createFrameReader, FRAME, type Frame, frameHeader } from './frames.ts'
import { createHostSession, type HostSession } from './hosted-session.ts'
import type { NativePty } from './native-pty.ts'
import { createOutputTurns } from './output-turns.ts'
import {
  type FromHost,
  type Hello,
  type HostLimits,
  type HostMethods,
  MAX_INPUT_BYTES,
  MAX_READ_BYTES,
  PROTOCOL,
  type StartParams,
  type ToHost,
} from './protocol.ts'
import { createQuietFirst } from './quiet-first.ts'

/** Longest first message, and how long it may take to come, before anybody has shown the token. */
const HELLO_BYTES = 4_096
const HELLO_MS = 5_000
/** Longest message of the controller: what is started, with its environment. */
const MESSAGE_BYTES = MAX_INPUT_BYTES
/** Memory of the host itself, beside the scrollback of its sessions. */
const OWN_BYTES = 64 * 1_048_576
/** How many sessions that have ended are kept until somebody has read what they left. */
const MAX_ENDED = 200

export interface HostParts {
  readonly native: NativePty
  readonly clock: Clock
  readonly token: string
  /** Everything has been ended and nobody is there any more. */
  over(): void
}

export interface PtyHost {
  /** A connection that somebody has made. */
  accept(socket: Socket): void
  /** To be called every second or so. `isWanted` is false when the folder of the instance is gone. */
  tick(isWanted: boolean): void
  shutdown(): Promise<void>
}

interface Controller {
  readonly socket: Socket
  send(message: FromHost): void
}

/** The PTY host: sessions, and one controller at a time. */
export function createPtyHost({ native, clock, token, over }: HostParts): PtyHost {
  const sessions = new Map<number, HostSession>()
  let controller: Controller | null = null
  let limits: HostLimits = { max_sessions: 0, memory_bytes: 0, idle_ms: 60_000, close_grace_ms: 2_000 }
  let lastNumber = 0
  let unusedSince = clock.now()
  let isEnding = false

  const turns = createOutputTurns(() => controller?.socket, clock)
  const quietFirst = createQuietFirst(clock)

  function find(number: number): HostSession {
    const session = sessions.get(number)
    if (session === undefined) throw mhvError('MHV_TERMINAL_UNKNOWN', `the PTY host has no session ${number}`)
    return session
  }

  function live(): HostSession[] {
    return [...sessions.values()].filter((session) => !session.isOver())
  }

  function checkRoom({ scrollback_bytes }: StartParams): void {
    const count = live().length
    if (count >= limits.max_sessions) {
      throw mhvError(
        'MHV_TERMINAL_LIMIT',
        `${count} sessions are open, and terminal.max_sessions is ${limits.max_sessions}`,
      )
    }
    forgetEnded()
    const reserved = [...sessions.values()].reduce((sum, session) => sum + session.reserved, 0)
    const wanted = OWN_BYTES + reserved + scrollback_bytes
    if (wanted <= limits.memory_bytes) return
    throw mhvError(
      'MHV_TERMINAL_LIMIT',
      `the scrollback of ${sessions.size} sessions and this one may take ${wanted} bytes, and terminal.memory_limit_mb allows ${limits.memory_bytes}`,
    )
  }

  /** Those that ended first make room. */
  function forgetEnded(): void {
    const ended = [...sessions.values()].filter((session) => session.isOver())
    for (const session of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) forget(session)
  }

  function forget(session: HostSession): void {
    if (!sessions.delete(session.number)) return
    turns.forget(session)
    quietFirst.forget(session.number)
    controller?.send({ kind: 'gone', session: session.number })
  }

  function start(params: StartParams) {
    checkRoom(params)
    lastNumber += 1
    const number = lastNumber
    try {
      const session = createHostSession(params, {
        native,
        clock,
        number,
        graceMs: limits.close_grace_ms,
        quietFirst,
        events: {
          output: () => turns.offer(session),
          exit: (exit, end) => controller?.send({ kind: 'exit', session: number, end, exit }),
        },
      })
      sessions.set(number, session)
      return session.describe()
    } catch (error) {
      const why = toMhvError(error)
      throw outOfDescriptors(error, 'a terminal') ?? (why.code === 'MHV_INTERNAL' ? notStarted(why) : why)
    }
  }

  const methods = {
    start,
    flow: ({ session, from }) => ({ from: find(session).flow(from) }),
    resize({ session, rows, cols }) {
      find(session).resize(rows, cols)
      return null
    },
    async signal({ session, signal }) {
      await find(session).signal(signal)
      return null
    },
    async close({ session }) {
      const found = find(session)
      await found.end('closed')
      forget(found)
      return null
    },
    attend({ typed }) {
      quietFirst.elsewhere(typed)
      return null
    },
    stats: () => ({
      sessions: live().length,
      rss_bytes: process.memoryUsage.rss(),
      descriptors: descriptorCount(),
      pid: process.pid,
    }),
    async shutdown() {
      // The answer goes out first.
      setImmediate(() => void shutdown())
      return null
    },
  } satisfies Partial<HostMethods> as unknown as Record<string, (params: unknown) => unknown>

  async function shutdown(): Promise<void> {
    if (isEnding) return
    isEnding = true
    await Promise.all([...sessions.values()].map((session) => session.end('closed')))
    sessions.clear()
    controller?.socket.destroy()
    over()
  }

  function read(to: Controller, id: number, params: Parameters<HostMethods['read']>[0]): void {
    const { offset, end, bytes } = find(params.session).read(params.offset, Math.min(params.max, MAX_READ_BYTES))
    const header = frameHeader(FRAME.scrollback, id, offset, 8 + bytes.length)
    const tail = Buffer.allocUnsafe(8)
    tail.writeDoubleBE(end)
    to.socket.cork()
    for (const part of [header, tail, bytes]) to.socket.write(part)
    to.socket.uncork()
  }

  async function answer(to: Controller, id: number, method: string, params: unknown): Promise<void> {
    try {
      if (method === 'read') return read(to, id, params as Parameters<HostMethods['read']>[0])
      const call = Object.hasOwn(methods, method) ? methods[method] : undefined
      if (call === undefined) throw new RangeError(`the PTY host has no method ${method}`)
      to.send({ kind: 'result', id, result: await call(params) })
    } catch (error) {
      to.send({ kind: 'error', id, error: toMhvError(error).toWire() })
    }
  }

  function receive(from: Controller, { type, key, offset, payload }: Frame): void {
    if (type === FRAME.credit) {
      sessions.get(key)?.credit(offset)
      return
    }
    if (type === FRAME.input || type === FRAME.answer) {
      const done = (error?: Error) =>
        from.send(
          error
            ? { kind: 'error', id: offset, error: toMhvError(error).toWire() }
            : { kind: 'result', id: offset, result: null },
        )
      const session = sessions.get(key)
      if (session === undefined) done(mhvError('MHV_TERMINAL_UNKNOWN', `the PTY host has no session ${key}`))
      else session.write(payload, type === FRAME.answer, done)
      return
    }
    const message = messageOf(type, payload)
    if (message.kind !== 'request') throw new RangeError(`a message ${message.kind}`)
    void answer(from, message.id, message.method, message.params)
  }

  /** @returns why not */
  function refusal(hello: ToHost): MhvError | null {
    if (hello.kind !== 'hello') return mhvError('MHV_TERMINAL_HOST_DOWN', 'the first message was no greeting')
    if (!isSame(hello.token, token)) return mhvError('MHV_TERMINAL_HOST_DOWN', 'the token is not that of this host')
    if (hello.protocol !== PROTOCOL) return versionError(hello)
    if (controller === null) return null
    return mhvError('MHV_TERMINAL_HOST_BUSY', `the PTY host (process ${process.pid}) has another controller`, {
      retryAfter: 1,
    })
  }

  function greet(next: Controller, hello: ToHost): boolean {
    const error = refusal(hello)
    if (error !== null) {
      next.send({ kind: 'refused', protocol: PROTOCOL, pid: process.pid, error: error.toWire() })
      next.socket.end()
      return false
    }
    limits = (hello as Hello).limits
    controller = next
    const found = [...sessions.values()].map((session) => session.describe())
    next.send({ kind: 'welcome', protocol: PROTOCOL, pid: process.pid, sessions: found })
    return true
  }

  function isUsed(): boolean {
    return controller !== null || live().length > 0
  }

  return {
    accept(socket) {
      const next: Controller = { socket, send: (message) => sendMessage(socket, message) }
      let isGreeted = false
      const late = setTimeout(() => socket.destroy(), HELLO_MS)
      const reader = createFrameReader((frame) => {
        if (isGreeted) return receive(next, frame)
        if (socket.writableEnded) return
        clearTimeout(late)
        isGreeted = greet(next, messageOf(frame.type, frame.payload))
        if (isGreeted) reader.limit(MESSAGE_BYTES)
      }, HELLO_BYTES)
      socket.on('data', (bytes) => {
        try {
          reader.push(bytes)
        } catch {
          // It speaks something else. As when it dies: its sessions go on.
          socket.destroy()
        }
      })
      socket.on('drain', turns.goOn)
      socket.on('error', () => undefined)
      socket.once('close', () => {
        clearTimeout(late)
        if (controller !== next) return
        controller = null
        turns.clear()
        unusedSince = clock.now()
        for (const session of sessions.values()) session.letGo()
      })
    },
    tick(isWanted) {
      const now = clock.now()
      for (const session of sessions.values()) {
        const reason = session.overdue(now)
        if (reason !== null) void session.end(reason)
        if (session.isForgettable(now)) forget(session)
      }
      if (isUsed()) unusedSince = now
      if (controller !== null) return
      if (!isWanted || now - unusedSince >= limits.idle_ms) void shutdown()
    },
    shutdown,
  }
}

function sendMessage(socket: Socket, message: FromHost): void {
  if (!socket.writable) return
  const body = Buffer.from(JSON.stringify(message))
  socket.cork()
  socket.write(frameHeader(FRAME.control, 0, 0, body.length))
  socket.write(body)
  socket.uncork()
}

/** @throws what is no message of the controller */
function messageOf(type: number, payload: Uint8Array): ToHost {
  if (type !== FRAME.control) throw new RangeError(`a frame of type ${type}`)
  const message: unknown = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString())
  if (typeof message !== 'object' || message === null || !('kind' in message)) throw new RangeError('no message')
  return message as ToHost
}

function isSame(one: unknown, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return typeof one === 'string' && timingSafeEqual(digest(one), digest(other))
}

function versionError({ protocol }: Hello): MhvError {
  const message = `the PTY host (process ${process.pid}) speaks version ${PROTOCOL} of the protocol, this program ${protocol}`
  return mhvError('MHV_TERMINAL_HOST_VERSION', message)
}

function notStarted(error: MhvError): MhvError {
  return mhvError('MHV_TERMINAL_NOT_STARTED', `the terminal could not be made: ${error.message}`, { cause: error })
}

/** 0 where /proc does not tell. */
function descriptorCount(): number {
  try {
    // One of them is the listing itself.
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    return 0
  }
}
