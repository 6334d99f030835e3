import type { Socket } from 'node:net'
import { DefaultSerializer, deserialize } from 'node:v8'

/**
 * Messages between two processes, over a pair of connected sockets: each is its length in four bytes (big-endian) and
 * the value as the structured clone of V8 writes it. Node's own channel of a child process is the same in kind, but what
 * cannot be read on it ends the process that reads, and it cannot be held back.
 */
export interface Channel {
  /** Throws, and has sent nothing, where the value cannot be cloned or is too long. Dropped where nobody is there. */
  send(message: unknown): void
  /** Reads nothing more until it is released; what comes waits on the other side. */
  holdBack(): void
  release(): void
  isHeldBack(): boolean
  isOpen(): boolean
  close(): void
}

export interface ChannelParts {
  /** What it throws ends the channel, as what cannot be read does. */
  receive(message: unknown): void
  /** The other side sent what cannot be used. Nothing is read any more. */
  broken(why: string): void
  /** Nothing more can come. */
  closed(): void
}

/** Longest message, in bytes: results and pieces of output are far below, and what is announced is kept in memory. */
export const MAX_MESSAGE_BYTES = 256 * 1_048_576
const HEADER_BYTES = 4

export function createChannel(socket: Socket, { receive, broken, closed }: ChannelParts): Channel {
  const frames = createFrames()
  let isHeldBack = false
  let isOver = false

  function fail(why: string): void {
    isOver = true
    socket.destroy()
    broken(why)
  }

  /** What has come and is whole, unless it is to wait. */
  function read(): void {
    while (!isOver && !isHeldBack) {
      try {
        const frame = frames.next()
        if (frame === undefined) return
        receive(deserialize(frame))
      } catch (error) {
        fail(`it sent what cannot be read: ${error instanceof Error ? error.message : String(error)}`)
        return
      }
    }
  }

  socket.on('data', (bytes: Buffer) => {
    frames.push(bytes)
    read()
  })
  // Its end is the same as that of the other process, which says more.
  socket.on('error', () => undefined)
  socket.once('close', closed)

  let corked = false
  function uncork(): void {
    corked = false
    socket.uncork()
  }

  return {
    send(message) {
      if (socket.destroyed || !socket.writable) return
      const body = serialized(message)
      // Everything that is sent in one turn goes by one call of the kernel.
      if (!corked) {
        corked = true
        socket.cork()
        process.nextTick(uncork)
      }
      const header = Buffer.allocUnsafe(HEADER_BYTES)
      header.writeUInt32BE(body.length)
      socket.write(header)
      socket.write(body)
    },
    holdBack() {
      isHeldBack = true
      socket.pause()
    },
    release() {
      if (!isHeldBack) return
      isHeldBack = false
      socket.resume()
      read()
    },
    isHeldBack: () => isHeldBack,
    isOpen: () => !socket.destroyed,
    close: () => void socket.destroy(),
  }
}

function serialized(message: unknown): Buffer {
  const serializer = new DefaultSerializer()
  serializer.writeHeader()
  serializer.writeValue(message)
  const body = serializer.releaseBuffer()
  if (body.length <= MAX_MESSAGE_BYTES) return body
  throw new RangeError(`${body.length} bytes are more than the ${MAX_MESSAGE_BYTES} that go to another process at once`)
}

/** Cuts what comes into messages. Pieces of a long one are joined once, when all of it is there. */
function createFrames() {
  let pieces: Buffer[] = []
  let held = 0

  /** That many bytes from the front, which are there. */
  function take(count: number): Buffer {
    const [first] = pieces
    const whole = first !== undefined && first.length >= count ? first : Buffer.concat(pieces, held)
    const rest = whole.subarray(count)
    if (whole === first) pieces.shift()
    else pieces = []
    if (rest.length > 0) pieces.unshift(rest)
    held -= count
    return whole.subarray(0, count)
  }

  let wanted: number | undefined
  return {
    push(bytes: Buffer): void {
      pieces.push(bytes)
      held += bytes.length
    },
    /** Undefined while it is not whole. Throws where it is announced to be too long. */
    next(): Buffer | undefined {
      if (wanted === undefined) {
        if (held < HEADER_BYTES) return undefined
        wanted = take(HEADER_BYTES).readUInt32BE(0)
        if (wanted > MAX_MESSAGE_BYTES) throw new RangeError(`a message of ${wanted} bytes`)
      }
      if (held < wanted) return undefined
      const frame = take(wanted)
      wanted = undefined
      return frame
    },
  }
}
