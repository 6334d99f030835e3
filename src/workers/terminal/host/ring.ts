/** Bytes that a ring has at first; it doubles up to its capacity, so that a quiet session costs next to nothing. */
const FIRST_BYTES = 8_192

/**
 * The last bytes of a stream. Positions are offsets into the whole stream, so they stay what they are when older bytes
 * are overwritten.
 */
export interface Ring {
  readonly capacity: number
  /** Offset of the oldest byte that is there. */
  start(): number
  /** Offset after the newest one: how many bytes were pushed in all. */
  end(): number
  /** Bytes of memory in use. */
  size(): number
  /** Takes a copy; of more than the capacity, only the end is kept. */
  push(bytes: Uint8Array): void
  /**
   * At most `max` bytes from `offset` on that lie side by side, as a view into the ring: valid until they are
   * overwritten, which is not before `capacity` more bytes than the first of them were pushed. Empty at the end.
   *
   * @throws RangeError where the offset is not between start and end
   */
  view(offset: number, max: number): Uint8Array
  /** The same as a copy, not only up to where the ring begins anew. */
  copy(offset: number, max: number): Uint8Array
}

export function createRing(capacity: number): Ring {
  let memory = Buffer.allocUnsafeSlow(Math.min(FIRST_BYTES, capacity))
  let end = 0

  const start = () => Math.max(0, end - memory.length)

  /** Nothing was overwritten before the full capacity: what is there begins at the beginning. */
  function grow(wanted: number): void {
    if (memory.length === capacity || wanted <= memory.length) return
    let size = memory.length
    while (size < wanted && size < capacity) size *= 2
    const larger = Buffer.allocUnsafeSlow(Math.min(size, capacity))
    memory.copy(larger, 0, 0, end)
    memory = larger
  }

  function check(offset: number): void {
    if (offset >= start() && offset <= end) return
    throw new RangeError(`offset ${offset} is not between ${start()} and ${end}`)
  }

  function view(offset: number, max: number): Uint8Array {
    check(offset)
    const from = offset % memory.length
    return memory.subarray(from, Math.min(from + Math.min(max, end - offset), memory.length))
  }

  return {
    capacity,
    start,
    end: () => end,
    size: () => memory.length,
    push(bytes) {
      grow(end + bytes.length)
      const kept = bytes.subarray(Math.max(0, bytes.length - memory.length))
      const at = (end + bytes.length - kept.length) % memory.length
      const first = Math.min(kept.length, memory.length - at)
      memory.set(first === kept.length ? kept : kept.subarray(0, first), at)
      if (first < kept.length) memory.set(kept.subarray(first), 0)
      end += bytes.length
    },
    view,
    copy(offset, max) {
      check(offset)
      const copy = Buffer.allocUnsafeSlow(Math.max(0, Math.min(max, end - offset)))
      for (let done = 0; done < copy.length; ) {
        const part = view(offset + done, copy.length - done)
        copy.set(part, done)
        done += part.length
      }
      return copy
    },
  }
}
