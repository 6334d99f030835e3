/**
 * The frames between the PTY host and its controller. Each has a header of 17 bytes, big-endian: length of the payload
 * (u32), type (u8), key (u32), offset (f64, an integer); then the payload.
 *
 * | type | direction | key | offset | payload |
 * | --- | --- | --- | --- | --- |
 * | control | both | 0 | 0 | JSON, see protocol.ts |
 * | output | from the host | session | cursor of the first byte | bytes |
 * | input | to the host | session | number of the request | bytes |
 * | answer | to the host | session | number of the request | bytes: input that nobody typed |
 * | credit | to the host | session | cursor up to which output was taken | none |
 * | scrollback | from the host | number of the request | cursor of the first byte | f64: end of the output; bytes |
 */
export const FRAME = { control: 1, output: 2, input: 3, credit: 4, scrollback: 5, answer: 6 } as const
export type FrameType = (typeof FRAME)[keyof typeof FRAME]

export const HEADER_BYTES = 17
/** Longest payload: the largest is a read of 1 MiB. */
export const MAX_PAYLOAD_BYTES = 4 * 1_048_576

const TYPES: ReadonlySet<number> = new Set(Object.values(FRAME))

export interface Frame {
  readonly type: FrameType
  readonly key: number
  readonly offset: number
  readonly payload: Uint8Array
}

/** A header. @throws RangeError for a payload that is too long */
export function frameHeader(type: FrameType, key: number, offset: number, length: number): Buffer {
  if (length > MAX_PAYLOAD_BYTES) throw new RangeError(`a frame of ${length} bytes`)
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  header.writeUInt32BE(length, 0)
  header.writeUInt8(type, 4)
  header.writeUInt32BE(key, 5)
  header.writeDoubleBE(offset, 9)
  return header
}

export interface FrameReader {
  /** @throws RangeError for what is no frame of ours; nothing can be read after that */
  push(bytes: Uint8Array): void
  /** Longest payload that is taken from now on. */
  limit(bytes: number): void
}

interface Header {
  readonly type: FrameType
  readonly key: number
  readonly offset: number
  readonly length: number
}

/**
 * Cuts what comes into frames. Output is passed on in the pieces in which it comes, each with its own offset, so that
 * nothing is copied; other frames are passed on whole.
 */
export function createFrameReader(receive: (frame: Frame) => void, limit = MAX_PAYLOAD_BYTES): FrameReader {
  let longest = limit
  let held: Uint8Array[] = []
  let heldBytes = 0
  let header: Header | undefined
  /** Bytes of the payload of an output frame that were passed on. */
  let passed = 0

  /** That many bytes, if they are there. */
  function take(count: number): Uint8Array | undefined {
    if (heldBytes < count) return undefined
    let first = held[0]
    if (first === undefined) return new Uint8Array(0)
    if (first.length < count) {
      first = Buffer.concat(held, heldBytes)
      held = [first]
    }
    heldBytes -= count
    if (first.length === count) held.shift()
    else held[0] = first.subarray(count)
    return first.subarray(0, count)
  }

  function readHeader(): Header | undefined {
    const bytes = take(HEADER_BYTES)
    if (bytes === undefined) return undefined
    const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES)
    const [length, type, key, offset] = [view.getUint32(0), view.getUint8(4), view.getUint32(5), view.getFloat64(9)]
    if (!TYPES.has(type)) throw new RangeError(`a frame of type ${type}`)
    if (length > longest) throw new RangeError(`a frame of ${length} bytes`)
    if (!Number.isSafeInteger(offset) || offset < 0) throw new RangeError(`a frame with offset ${offset}`)
    return { type: type as FrameType, key, offset, length }
  }

  /** Passes on what is there of an output frame. True when all of it was. */
  function passOutput({ type, key, offset, length }: Header): boolean {
    while (passed < length && heldBytes > 0) {
      const payload = take(Math.min(length - passed, held[0]?.length ?? 0)) as Uint8Array
      passed += payload.length
      receive({ type, key, offset: offset + passed - payload.length, payload })
    }
    return passed === length
  }

  function passNext(): boolean {
    header ??= readHeader()
    if (header === undefined) return false
    if (header.type === FRAME.output) {
      if (!passOutput(header)) return false
      passed = 0
      header = undefined
      return true
    }
    const payload = take(header.length)
    if (payload === undefined) return false
    const { type, key, offset } = header
    header = undefined
    receive({ type, key, offset, payload })
    return true
  }

  return {
    push(bytes) {
      if (bytes.length === 0) return
      held.push(bytes)
      heldBytes += bytes.length
      while (passNext()) {
        // Until a frame is not whole.
      }
    },
    limit(value) {
      longest = value
    },
  }
}
