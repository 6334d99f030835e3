import type { OutgoingMessage } from '../mqtt-session.ts'
import { measurePublish, writePublishHead } from './publish-packet.ts'

/** What is written at once, in bytes; and from which size on a payload is written by itself instead of being copied. */
const CHUNK = 65_536
const LARGE = 16_384
/** PUBREL, with its reserved bits, and its length: 3.6. Without a reason code it means success, in MQTT 5 as well. */
const PUBREL = 0x62
const PUBREL_BYTES = 4

/** As much as is needed of the stream of mqtt.js: a socket, TLS or a WebSocket. */
export interface ByteStream {
  write(bytes: Uint8Array, done?: (error?: Error | null) => void): boolean
  cork(): void
  uncork(): void
}

/** What has come to be written; told with an error where it was not. */
type Written = (error?: Error | null) => void

export interface PacketWriter {
  /** `id` is that of QoS 1 and 2; `written` is told when the stream has passed it on. Throws RangeError. */
  publish(message: OutgoingMessage, id: number, written?: Written): void
  pubrel(id: number): void
  /** Writes what was collected, now. */
  flush(): void
}

/** Collects the packets of one turn of the event loop, and writes them as one piece, in their order. */
export function createPacketWriter(stream: ByteStream, five: boolean): PacketWriter {
  let chunk = Buffer.alloc(0)
  /** What is not written yet lies between the two. */
  let begin = 0
  let end = 0
  let waiting: Written[] = []
  let scheduled = false

  function onImmediate(): void {
    scheduled = false
    flush()
  }

  function flush(): void {
    if (end === begin) return
    const piece = chunk.subarray(begin, end)
    begin = end
    stream.write(piece, takeWaiting())
  }

  function takeWaiting(): Written | undefined {
    if (waiting.length === 0) return undefined
    const told = waiting
    waiting = []
    return (error) => {
      for (const each of told) each(error)
    }
  }

  /** Where the next bytes go. What was written is not touched again: the stream may still hold it. */
  function claim(bytes: number): number {
    if (end + bytes > chunk.length) {
      flush()
      chunk = Buffer.allocUnsafeSlow(CHUNK)
      begin = 0
      end = 0
    }
    if (!scheduled) {
      scheduled = true
      // After all packets that were read at once: what is sent because of them goes as one piece, too.
      setImmediate(onImmediate)
    }
    const at = end
    end += bytes
    return at
  }

  return {
    publish(message, id, written) {
      const measured = measurePublish(message, five)
      const { head, bytes } = measured
      if (bytes < LARGE) {
        const at = claim(bytes)
        writePublishHead(chunk, at, measured, id)
        chunk.set(message.payload, at + head)
        if (written !== undefined) waiting.push(written)
        return
      }
      const first = Buffer.allocUnsafe(head)
      writePublishHead(first, 0, measured, id)
      stream.cork()
      flush()
      stream.write(first)
      stream.write(message.payload, written)
      stream.uncork()
    },
    pubrel(id) {
      const at = claim(PUBREL_BYTES)
      chunk[at] = PUBREL
      chunk[at + 1] = 2
      chunk.writeUInt16BE(id, at + 2)
    },
    flush,
  }
}
