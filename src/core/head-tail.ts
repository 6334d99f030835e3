import { brokenStart, incompleteEnd } from './utf8.ts'

/** Keeps the first and the last bytes of a stream and counts what is between them. Memory: at most head + tail. */
export interface HeadTail {
  /**
   * Takes bytes; returns those that were kept as head (may be empty). The bytes are copied. The head ends before a
   * character that does not fit whole.
   */
  push(bytes: Uint8Array): Uint8Array
  head(): Uint8Array
  tail(): Uint8Array
  /** Bytes that are in neither. */
  dropped(): number
  /**
   * Both as text (invalid UTF-8 as U+FFFD); `gap` words the line between them when something is missing. A character
   * of which a part is missing is left out and counted there.
   */
  text(gap: (droppedBytes: number) => string): string
}

/** `head` and `tail` in bytes. With `keepHead: false` the head is only handed on by `push`, not kept. */
export function createHeadTail(limits: { head: number; tail: number; keepHead?: boolean }): HeadTail {
  const kept = createRing(limits.keepHead === false ? 0 : limits.head)
  const ring = createRing(limits.tail)
  let headRoom = limits.head
  let dropped = 0

  return {
    push(bytes) {
      if (bytes.length === 0) return bytes
      const fitting = bytes.subarray(0, headRoom)
      const isLast = fitting.length < bytes.length
      const first = Uint8Array.from(isLast ? fitting.subarray(0, fitting.length - incompleteEnd(fitting)) : fitting)
      headRoom = isLast ? 0 : headRoom - first.length
      if (limits.keepHead !== false) kept.push(first)
      if (first.length < bytes.length) dropped += ring.push(bytes.subarray(first.length))
      return first
    },
    head: kept.bytes,
    tail: ring.bytes,
    dropped: () => dropped,
    text(gap) {
      const [head, tail] = [kept.bytes(), ring.bytes()]
      if (dropped === 0) return (tail.length === 0 ? head : Buffer.concat([head, tail])).toString('utf8')
      const before = head.subarray(0, head.length - incompleteEnd(head))
      const after = tail.subarray(brokenStart(tail))
      const missing = dropped + head.length - before.length + tail.length - after.length
      return `${before.toString('utf8')}${gap(missing)}${after.toString('utf8')}`
    },
  }
}

/** Room that is taken at first, in bytes; it doubles up to the limit as it is needed. */
const FIRST_ROOM = 1024

const NO_ROOM = Buffer.alloc(0)

/** The last `limit` bytes of what was pushed. One buffer, so that many small pieces cost no more than a few big ones. */
function createRing(limit: number) {
  let room = NO_ROOM
  let start = 0
  let length = 0

  function bytes(): Buffer {
    if (length === 0) return NO_ROOM
    const end = start + length
    if (end <= room.length) return Buffer.from(room.subarray(start, end))
    return Buffer.concat([room.subarray(start), room.subarray(0, end - room.length)])
  }

  function makeRoom(needed: number): void {
    if (needed <= room.length) return
    // Not filled with zeros: only what was pushed is ever read.
    const larger = Buffer.allocUnsafe(Math.min(limit, Math.max(needed, room.length * 2, FIRST_ROOM)))
    if (length > 0) bytes().copy(larger)
    room = larger
    start = 0
  }

  return {
    bytes,
    /** Returns how many bytes had to go to make room, old ones or the first of the new ones. */
    push(piece: Uint8Array): number {
      const fresh = piece.subarray(Math.max(0, piece.length - limit))
      makeRoom(Math.min(limit, length + fresh.length))
      const gone = Math.max(0, length + fresh.length - limit)
      if (fresh.length > 0) {
        start = (start + gone) % room.length
        const at = (start + length - gone) % room.length
        const upToEnd = fresh.subarray(0, room.length - at)
        room.set(upToEnd, at)
        room.set(fresh.subarray(upToEnd.length), 0)
      }
      length = length - gone + fresh.length
      return gone + piece.length - fresh.length
    },
  }
}
