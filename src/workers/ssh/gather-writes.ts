import type { Duplex } from 'node:stream'

/** Bytes that wait together at most; then they are written at once. */
const MOST_BYTES = 64 * 1024

/**
 * Makes a stream write what it is given in one turn of the event loop by one system call. Channels that open, run and
 * close together then take one packet of the network each time, and wake the host's server once: with 50 commands at a
 * time that is a tenth of all the work of both.
 */
export function gatherWrites(stream: Duplex): void {
  const write = stream.write
  let gathering = false

  function release(): void {
    if (!gathering) return
    gathering = false
    stream.uncork()
  }

  stream.write = (...given: unknown[]): boolean => {
    if (!gathering) {
      gathering = true
      stream.cork()
      setImmediate(release)
    }
    const hasRoom = Reflect.apply(write, stream, given) as boolean
    if (stream.writableLength >= MOST_BYTES) release()
    return hasRoom
  }
}
