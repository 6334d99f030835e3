import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import {
  createFrameReader,
  frameBytes,
  STREAM_FORMAT,
  type StreamFrame,
  type StreamHello,
  streamKeyDigest,
  streamSocketFolder,
  streamSocketPath,
} from '../../../core/terminal-stream.ts'

/** How long a run waits for whoever asked for it, and a connection for its run, in milliseconds. */
const MEET_MS = 15_000
/** Connections that have not said yet what they are for. */
const MAX_STRANGERS = 32

/** Somebody's terminal, at the other end of the socket. */
export interface StreamPeer {
  send(kind: StreamFrame, payload: Uint8Array | object): void
  /** Bytes that the other end has not taken yet. */
  waiting(): number
  /** What the other end sends; at most one listener. */
  onFrame(listener: (kind: StreamFrame, payload: Buffer) => void): void
  /** Resolves when the other end has taken everything, or is gone. */
  drained(): Promise<void>
  readonly closed: Promise<void>
  /** Sends what is left, then ends. */
  end(): void
}

export interface StreamServer {
  /**
   * Waits for whoever has the key of this digest; the socket is there from the first call on. A key is good for once.
   *
   * @throws MHV_TERMINAL_NOT_ATTACHED when nobody comes, the signal's reason
   */
  meet(keyDigest: string, signal: AbortSignal): Promise<StreamPeer>
  close(): Promise<void>
}

interface Meeting {
  readonly come: (peer: StreamPeer) => void
}

export function createStreamServer(parts: {
  readonly folder: string
  readonly clock: Clock
  readonly log: Logger
}): StreamServer {
  const { clock, folder } = parts
  const meetings = new Map<string, Meeting>()
  /** Who came before its run was there. */
  const early = new Map<string, StreamPeer>()
  const sockets = new Set<Socket>()
  let strangers = 0
  let listening: Promise<Server> | undefined

  function welcome(socket: Socket): void {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // What breaks is closed; there is nobody to tell.
    socket.on('error', () => socket.destroy())
    if (strangers >= MAX_STRANGERS) {
      socket.destroy()
      return
    }
    strangers += 1
    const cancel = clock.after(MEET_MS, () => socket.destroy())
    let known = false
    const leave = () => {
      if (!known) strangers -= 1
      known = true
      cancel()
    }
    socket.once('close', leave)
    const peer = peerOf(socket, (payload) => {
      leave()
      introduce(peer, payload)
    })
  }

  function introduce(peer: StreamPeer, payload: Buffer): void {
    const { format, key } = JSON.parse(payload.toString('utf8')) as Partial<StreamHello>
    if (format !== STREAM_FORMAT || typeof key !== 'string') {
      peer.send('refused', { message: `this end speaks format ${STREAM_FORMAT}` })
      peer.end()
      return
    }
    const digest = streamKeyDigest(key)
    const meeting = meetings.get(digest)
    if (meeting !== undefined) {
      meeting.come(peer)
      return
    }
    early.set(digest, peer)
    const cancel = clock.after(MEET_MS, () => {
      // Its run has come for it.
      if (early.get(digest) !== peer) return
      peer.send('refused', { message: 'there is no run with this key' })
      peer.end()
    })
    void peer.closed.then(() => {
      cancel()
      if (early.get(digest) === peer) early.delete(digest)
    })
  }

  async function listen(): Promise<Server> {
    const path = streamSocketPath(folder)
    await makeOwnFolder(streamSocketFolder(folder))
    // The folder's lock is held: what is there is left over.
    await rm(path, { force: true })
    const server = createServer(welcome)
    await new Promise<void>((done, failed) => {
      server.once('error', failed)
      server.listen(path, done)
    })
    await chmod(path, 0o600)
    server.unref()
    return server
  }

  return {
    async meet(keyDigest, signal) {
      signal.throwIfAborted()
      // Whoever has seen a digest must not get the terminal that another one waits for.
      if (meetings.has(keyDigest)) throw mhvError('MHV_TERMINAL_NOT_ATTACHED', 'another run waits with the same key')
      listening ??= listen()
      await listening.catch((error: unknown) => {
        listening = undefined
        throw error
      })
      const there = early.get(keyDigest)
      if (there !== undefined) {
        early.delete(keyDigest)
        return there
      }
      const met = Promise.withResolvers<StreamPeer>()
      const nobody = () => met.reject(mhvError('MHV_TERMINAL_NOT_ATTACHED', 'nobody came to the socket with the key'))
      const cancel = clock.after(MEET_MS, nobody)
      const onAbort = () => met.reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      meetings.set(keyDigest, { come: met.resolve })
      try {
        return await met.promise
      } finally {
        cancel()
        meetings.delete(keyDigest)
        signal.removeEventListener('abort', onAbort)
      }
    },
    async close() {
      const server = await listening?.catch(() => undefined)
      for (const socket of sockets) socket.destroy()
      if (server === undefined) return
      await new Promise<void>((done) => server.close(() => done()))
      await rm(streamSocketPath(folder), { force: true })
    },
  }
}

function peerOf(socket: Socket, onHello: (payload: Buffer) => void): StreamPeer {
  let listener: ((kind: StreamFrame, payload: Buffer) => void) | undefined
  const before: [StreamFrame, Buffer][] = []
  let greeted = false
  const read = createFrameReader((kind, payload) => {
    if (!greeted) {
      if (kind !== 'hello') throw new Error('it did not begin with hello')
      greeted = true
      onHello(payload)
    } else if (listener !== undefined) listener(kind, payload)
    else if (before.length < 1_000) before.push([kind, payload])
  })
  socket.on('data', (bytes) => {
    try {
      read(bytes)
    } catch {
      // Whoever does not speak this is no client of ours.
      socket.destroy()
    }
  })
  const closed = new Promise<void>((done) => void socket.once('close', () => done()))
  return {
    closed,
    send: (kind, payload) => void (socket.writable && socket.write(frameBytes(kind, payload))),
    waiting: () => socket.writableLength,
    onFrame(next) {
      listener = next
      for (const [kind, payload] of before.splice(0)) next(kind, payload)
    },
    drained: () =>
      socket.writableNeedDrain
        ? Promise.race([closed, new Promise<void>((done) => void socket.once('drain', () => done()))])
        : Promise.resolve(),
    end: () => void socket.end(),
  }
}

/** A folder that only this user may enter. */
async function makeOwnFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const found = await lstat(folder)
  const own = process.getuid === undefined || process.getuid() === found.uid
  if (!found.isDirectory() || !own) {
    throw mhvError('MHV_INSTANCE_INVALID', `${folder} is no folder of this user`, {
      remedy: 'Remove it; it is made anew.',
    })
  }
  await chmod(folder, 0o700)
}
