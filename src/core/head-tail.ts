/** Keeps the first and the last bytes of a stream and counts what is between them. Memory: at most head + tail. */
export interface HeadTail {
  /** Takes bytes; returns those that were kept as head (may be empty). The bytes are copied. */
  push(bytes: Uint8Array): Uint8Array
  head(): Uint8Array
  tail(): Uint8Array
  /** Bytes that are in neither. */
  dropped(): number
  /** Both as text (invalid UTF-8 as U+FFFD); `gap` words the line between them when something is missing. */
  text(gap: (droppedBytes: number) => string): string
}

/** `head` and `tail` in bytes. With `keepHead: false` the head is only handed on by `push`, not kept. */
export function createHeadTail(limits: { head: number; tail: number; keepHead?: boolean }): HeadTail {
  const headPieces: Uint8Array[] = []
  let headBytes = 0
  let ring: Uint8Array[] = []
  let ringBytes = 0
  let dropped = 0

  function pushTail(bytes: Uint8Array): void {
    if (bytes.length >= limits.tail) {
      dropped += ringBytes + bytes.length - limits.tail
      ring = limits.tail === 0 ? [] : [Uint8Array.from(bytes.subarray(bytes.length - limits.tail))]
      ringBytes = limits.tail
      return
    }
    ring.push(Uint8Array.from(bytes))
    ringBytes += bytes.length
    while (ringBytes > limits.tail) {
      const first = ring[0] as Uint8Array
      const cut = Math.min(ringBytes - limits.tail, first.length)
      if (cut === first.length) ring.shift()
      else ring[0] = first.subarray(cut)
      ringBytes -= cut
      dropped += cut
    }
  }

  const head = () => Buffer.concat(headPieces)
  const tail = () => Buffer.concat(ring)

  return {
    push(bytes) {
      const kept = Uint8Array.from(bytes.subarray(0, Math.max(0, limits.head - headBytes)))
      if (kept.length > 0) {
        headBytes += kept.length
        if (limits.keepHead !== false) headPieces.push(kept)
      }
      if (kept.length < bytes.length) pushTail(bytes.subarray(kept.length))
      return kept
    },
    head,
    tail,
    dropped: () => dropped,
    text(gap) {
      if (dropped === 0) return Buffer.concat([head(), tail()]).toString('utf8')
      return `${head().toString('utf8')}${gap(dropped)}${tail().toString('utf8')}`
    },
  }
}
