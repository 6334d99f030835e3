import type { SFTPWrapper } from 'ssh2'
import { createBulkAnswers, type Parser, type ReadRequest } from './bulk-answers.ts'
import { chunksOf, type Decrypting } from './bulk-chunks.ts'
import { type Cipher, type Outlet, reusePackets } from './bulk-packets.ts'

/**
 * The way of large content past the copy that ssh2 makes of it. ssh2 builds each request in a new buffer of its size, and
 * each packet of it; those of one large file make the garbage collector walk the whole heap every few dozen megabytes,
 * which costs as much as the encryption. Everything else stays ssh2's: its table of requests, its numbers, its queue, its
 * answers. The version of ssh2 is pinned.
 */
export interface BulkData {
  /**
   * Asks the server to write what stands in the buffer from HEAD_ROOM on. The room before it takes the head of the
   * request, and the buffer must be left alone until `done`.
   */
  write(handle: Buffer, buffer: Buffer, length: number, position: number, done: (error?: Error | null) => void): void
  /**
   * Asks the server for content, which is put at the beginning of the buffer. It must be left alone until `done`, which
   * is told how many bytes have come.
   */
  read(handle: Buffer, buffer: Buffer, length: number, position: number, done: ReadDone): void
}

type ReadDone = (error: Error | undefined | null, bytes: number) => void

/** Head of a request to write, and of one to read, without the handle: they have the same fields. */
const WRITE_HEAD = 25
const READ_HEAD = WRITE_HEAD
/** As the protocol has it. */
const MAX_HANDLE = 256
/** Bytes before the content that the head of a request may need. */
export const HEAD_ROOM = WRITE_HEAD + MAX_HANDLE

const REQUEST_READ = 5
const REQUEST_WRITE = 6

interface Request {
  readonly cb: (error: Error | undefined | null) => void
}

/** What ssh2 keeps in its wrapper: https://github.com/mscdex/ssh2, lib/protocol/SFTP.js. */
interface Parts extends Parser {
  readonly outgoing: { readonly id: number; readonly packetSize: number; readonly state: string; window: number }
  readonly _protocol: Decrypting & { channelData(id: number, data: Buffer): void; readonly _cipher: Cipher }
  readonly _client: { readonly _sock?: Outlet }
  readonly _maxReadLen: number
  readonly _maxWriteLen: number
  readonly _requests: Record<number, Request | ReadRequest>
  _writeReqid: number
  /** What waits for the host to take more. */
  _buffer: Buffer[]
  _waitWindow: boolean
  _chunkcb: (() => void) | undefined
}

export function createBulkData(wrapper: SFTPWrapper): BulkData {
  const sftp = wrapper as unknown as Parts
  const chunks = chunksOf(sftp._client._sock, sftp._protocol)
  const answers = createBulkAnswers(sftp, chunks)
  const nextId = () => {
    sftp._writeReqid = (sftp._writeReqid + 1) >>> 0
    return sftp._writeReqid
  }
  return {
    write(handle, buffer, length, position, done) {
      // ssh2 makes several requests of what is too long for one.
      if (length > sftp._maxWriteLen || handle.length > MAX_HANDLE) {
        wrapper.write(handle, buffer, HEAD_ROOM, length, position, done)
        return
      }
      const id = nextId()
      const request: Request = { cb: (error) => done(error) }
      sftp._requests[id] = request
      send(sftp, frame(id, handle, buffer, length, position))
    },
    read(handle, buffer, length, position, done) {
      if (length > sftp._maxReadLen) {
        wrapper.read(handle, buffer, 0, length, position, done as never)
        return
      }
      chunks?.watch()
      const id = nextId()
      const cb: ReadRequest['cb'] = (error, _, bytes = 0) => done(error, bytes)
      answers.expect(id, { buffer: buffer.subarray(0, length), cb })
      send(sftp, question(id, handle, length, position))
    },
  }
}

/** The request, its head written before its content. */
function frame(id: number, handle: Buffer, buffer: Buffer, length: number, position: number): Buffer {
  const start = MAX_HANDLE - handle.length
  let at = buffer.writeUInt32BE(WRITE_HEAD - 4 + handle.length + length, start)
  at = buffer.writeUInt8(REQUEST_WRITE, at)
  at = buffer.writeUInt32BE(id, at)
  at = buffer.writeUInt32BE(handle.length, at)
  buffer.set(handle, at)
  at += handle.length
  at = buffer.writeUInt32BE(Math.floor(position / 2 ** 32), at)
  at = buffer.writeUInt32BE(position % 2 ** 32, at)
  buffer.writeUInt32BE(length, at)
  return buffer.subarray(start, HEAD_ROOM + length)
}

/** A request to read. */
function question(id: number, handle: Buffer, length: number, position: number): Buffer {
  const packet = Buffer.allocUnsafe(READ_HEAD + handle.length)
  let at = packet.writeUInt32BE(packet.length - 4, 0)
  at = packet.writeUInt8(REQUEST_READ, at)
  at = packet.writeUInt32BE(id, at)
  at = packet.writeUInt32BE(handle.length, at)
  packet.set(handle, at)
  at += handle.length
  at = packet.writeUInt32BE(Math.floor(position / 2 ** 32), at)
  at = packet.writeUInt32BE(position % 2 ** 32, at)
  packet.writeUInt32BE(length, at)
  return packet
}

/** Sends as much as the host takes, or keeps it in ssh2's own queue, which is in order with all other requests. */
function send(sftp: Parts, payload: Buffer): void {
  if (sftp._buffer.length > 0) {
    sftp._buffer.push(payload)
    return
  }
  const rest = sendPart(sftp, payload)
  if (rest !== undefined) sftp._buffer.push(rest)
}

/** What the host does not take yet; nothing is sent on a session that is being closed. */
function sendPart(sftp: Parts, payload: Buffer): Buffer | undefined {
  const { outgoing } = sftp
  if (outgoing.state !== 'open') return undefined
  const outlet = sftp._client._sock
  // After every exchange of keys there is another one.
  if (outlet !== undefined) reusePackets(sftp._protocol._cipher, outlet)
  let at = 0
  while (at < payload.length && outgoing.window > 0) {
    const bytes = Math.min(payload.length - at, outgoing.window, outgoing.packetSize)
    outgoing.window -= bytes
    sftp._protocol.channelData(outgoing.id, payload.subarray(at, at + bytes))
    at += bytes
  }
  if (outgoing.window === 0) {
    sftp._waitWindow = true
    sftp._chunkcb = () => drain(sftp)
  }
  return at < payload.length ? payload.subarray(at) : undefined
}

function drain(sftp: Parts): void {
  sftp._chunkcb = undefined
  const queue = sftp._buffer
  let sent = 0
  for (const payload of queue) {
    const rest = sendPart(sftp, payload)
    if (rest !== undefined) {
      queue[sent] = rest
      break
    }
    sent += 1
  }
  sftp._buffer = queue.slice(sent)
}
