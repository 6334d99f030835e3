import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../../../core/clock.ts'
import { fromWire, type MhvError, mhvError } from '../../../core/errors.ts'
import { createFrameReader, FRAME, type Frame, frameHeader } from './frames.ts'
import {
  type ExitEvent,
  type FromHost,
  type HostedExit,
  type HostedSession,
  type HostLimits,
  type HostMethod,
  type HostMethods,
  PROTOCOL,
  type ToHost,
} from './protocol.ts'
import { connectHost, type HostConnection, startHost } from './start-host.ts'

/** How long the greeting may take, and a host may be busy with the one before that is ending, in milliseconds. */
const GREETING_MS = 10_000
const BUSY_MS = 3_000
const BUSY_POLL_MS = 50

/** What the host tells of one session, in order. */
export interface SessionSink {
  output(offset: number, bytes: Uint8Array): void
  exit(exit: HostedExit, end: number): void
  gone(): void
}

export interface ScrollbackRead {
  readonly offset: number
  readonly end: number
  readonly bytes: Uint8Array
}

/** The one connection of a controller to a PTY host. */
export interface HostClient {
  /** Process of the host. */
  readonly pid: number
  /** Sessions that were there when it connected. */
  readonly found: readonly HostedSession[]
  isOpen(): boolean
  /** Resolves when the connection has ended: by `disconnect`, or since the host has died. */
  readonly closed: Promise<void>
  call<M extends HostMethod>(
    method: M,
    params: Parameters<HostMethods[M]>[0],
  ): Promise<Awaited<ReturnType<HostMethods[M]>>>
  input(session: number, bytes: Uint8Array, isAnswer: boolean): Promise<void>
  read(session: number, offset: number, max: number): Promise<ScrollbackRead>
  credit(session: number, offset: number): void
  /** To be called before output can come: in the turn in which `start` was answered, or before `flow`. */
  listen(session: number, sink: SessionSink): void
  disconnect(): Promise<void>
}

interface Pending {
  resolve(value: unknown): void
  reject(error: unknown): void
}

/**
 * Connects to the host of a folder and becomes its controller. With `start: false`, null where no host is there.
 *
 * @throws MHV_TERMINAL_HOST_DOWN, MHV_TERMINAL_HOST_BUSY, MHV_TERMINAL_HOST_VERSION
 */
export async function controlHost(
  folder: string,
  limits: HostLimits,
  clock: Clock,
  start: false,
): Promise<HostClient | null>
export async function controlHost(folder: string, limits: HostLimits, clock: Clock, start: true): Promise<HostClient>
export async function controlHost(
  folder: string,
  limits: HostLimits,
  clock: Clock,
  start: boolean,
): Promise<HostClient | null> {
  const until = clock.monotonic() + BUSY_MS
  for (;;) {
    const connection = start ? await startHost(folder, clock) : await connectHost(folder)
    if (connection === null) return null
    try {
      return await greet(connection, limits)
    } catch (error) {
      // The controller before is dead, but the host was not told yet; or the token was that of the host before.
      const code = (error as MhvError).code
      const mayPass = code === 'MHV_TERMINAL_HOST_BUSY' || code === 'MHV_TERMINAL_HOST_DOWN'
      if (!mayPass || clock.monotonic() >= until) throw error
      await delay(BUSY_POLL_MS)
    }
  }
}

async function greet({ socket, token }: HostConnection, limits: HostLimits): Promise<HostClient> {
  const pending = new Map<number, Pending>()
  const sinks = new Map<number, SessionSink>()
  /** Ends that came with the answer to `start`, before anybody could listen. */
  const early = new Map<number, ExitEvent>()
  const welcomed = Promise.withResolvers<{ pid: number; sessions: readonly HostedSession[] }>()
  const closed = Promise.withResolvers<void>()
  let lastId = 0

  function settle(id: number): Pending | undefined {
    const found = pending.get(id)
    pending.delete(id)
    return found
  }

  function receive({ type, key, offset, payload }: Frame): void {
    if (type === FRAME.output) sinks.get(key)?.output(offset, payload)
    else if (type === FRAME.scrollback) {
      const end = new DataView(payload.buffer, payload.byteOffset).getFloat64(0)
      settle(key)?.resolve({ offset, end, bytes: payload.subarray(8) } satisfies ScrollbackRead)
    } else if (type === FRAME.control) take(JSON.parse(new TextDecoder().decode(payload)) as FromHost)
    else throw new RangeError(`a frame of type ${type}`)
  }

  function take(message: FromHost): void {
    if (message.kind === 'welcome') welcomed.resolve(message)
    else if (message.kind === 'refused') welcomed.reject(fromWire(message.error))
    else if (message.kind === 'result') settle(message.id)?.resolve(message.result)
    else if (message.kind === 'error') settle(message.id)?.reject(fromWire(message.error))
    else if (message.kind === 'exit') {
      const sink = sinks.get(message.session)
      if (sink === undefined) early.set(message.session, message)
      else sink.exit(message.exit, message.end)
    } else if (message.kind === 'gone') {
      sinks.get(message.session)?.gone()
      sinks.delete(message.session)
    }
  }

  const reader = createFrameReader(receive)
  socket.on('data', (bytes) => {
    try {
      reader.push(bytes)
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  })
  let cause: unknown
  socket.on('error', (error) => {
    cause = error
  })
  socket.once('close', () => {
    welcomed.reject(mhvError('MHV_TERMINAL_HOST_DOWN', 'the PTY host closed the connection', { cause, retryAfter: 1 }))
    const lost = mhvError('MHV_TERMINAL_LOST', 'the PTY host has died or closed the connection', { cause })
    for (const { reject } of pending.values()) reject(lost)
    pending.clear()
    closed.resolve()
  })

  function ask(send: (id: number) => void): Promise<unknown> {
    if (!socket.writable) return Promise.reject(mhvError('MHV_TERMINAL_LOST', 'the PTY host is gone'))
    lastId = (lastId % 0xffff_fffe) + 1
    const id = lastId
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject })
      send(id)
    })
  }

  function request(method: HostMethod, params: unknown): Promise<unknown> {
    return ask((id) => sendMessage(socket, { kind: 'request', id, method, params }))
  }

  sendMessage(socket, { kind: 'hello', protocol: PROTOCOL, token, limits })
  const timer = setTimeout(() => socket.destroy(), GREETING_MS)
  try {
    const { pid, sessions } = await welcomed.promise
    return {
      pid,
      found: sessions,
      isOpen: () => !socket.destroyed,
      closed: closed.promise,
      call: (method, params) => request(method, params) as never,
      input: async (session, bytes, isAnswer) => {
        await ask((id) => {
          socket.cork()
          socket.write(frameHeader(isAnswer ? FRAME.answer : FRAME.input, session, id, bytes.length))
          socket.write(bytes)
          socket.uncork()
        })
      },
      read: (session, offset, max) => request('read', { session, offset, max }) as Promise<ScrollbackRead>,
      credit(session, offset) {
        if (socket.writable) socket.write(frameHeader(FRAME.credit, session, offset, 0))
      },
      listen(session, sink) {
        sinks.set(session, sink)
        const ended = early.get(session)
        early.delete(session)
        if (ended !== undefined) sink.exit(ended.exit, ended.end)
      },
      async disconnect() {
        socket.destroy()
        await closed.promise
      },
    }
  } finally {
    clearTimeout(timer)
  }
}

function sendMessage(socket: Socket, message: ToHost): void {
  const body = Buffer.from(JSON.stringify(message))
  socket.cork()
  socket.write(frameHeader(FRAME.control, 0, 0, body.length))
  socket.write(body)
  socket.uncork()
}
