import { randomFillSync } from 'node:crypto'

/**
 * Lets ssh2 build the packets of large content in memory that is used again: otherwise each of 32 KiB is a new buffer,
 * and the garbage collector walks the whole heap for them again and again. A packet lies there until the socket has
 * handed it over; what is sent meanwhile and finds no room gets a buffer of its own, as ever.
 */

/** What ssh2 encrypts with until keys are exchanged anew: https://github.com/mscdex/ssh2, lib/protocol/crypto.js. */
export interface Cipher {
  /** A packet with its length and its padding set, and room for the payload and for what authenticates it. */
  allocPacket(payloadBytes: number): Buffer
}

/** Where packets go: as a Writable, it counts the bytes that it has not handed over. */
export interface Outlet {
  readonly writableLength: number
}

/** Payloads from which packets are made this way. */
const LARGE = 16 * 1024
/** As many bytes as a host usually takes ahead. */
const ARENA = 2 * 1024 * 1024
/** Length of a packet, and length of its padding. */
const HEAD = 5
/** Sizes that are remembered: content has one, and what is left at its end another. */
const SIZES = 16
const RANDOM = 4 * 1024

const known = new WeakSet<Cipher>()

/** Makes a cipher take the memory for large packets from one arena; does nothing the second time. */
export function reusePackets(cipher: Cipher, outlet: Outlet): void {
  if (known.has(cipher)) return
  known.add(cipher)
  const alloc = cipher.allocPacket.bind(cipher)
  /** By payload: how the cipher lays such a packet out. */
  const layouts = new Map<number, { readonly head: Buffer; readonly bytes: number }>()
  const random = Buffer.allocUnsafeSlow(RANDOM)
  let arena: Buffer | undefined
  let used = 0
  let drawn = RANDOM

  function pad(packet: Buffer, from: number, bytes: number): void {
    if (drawn + bytes > RANDOM) {
      randomFillSync(random)
      drawn = 0
    }
    random.copy(packet, from, drawn, drawn + bytes)
    drawn += bytes
  }

  cipher.allocPacket = (payload) => {
    const layout = payload < LARGE ? undefined : layouts.get(payload)
    if (layout === undefined) {
      const packet = alloc(payload)
      if (payload >= LARGE && layouts.size < SIZES)
        layouts.set(payload, { head: Buffer.from(packet.subarray(0, HEAD)), bytes: packet.length })
      return packet
    }
    arena ??= Buffer.allocUnsafeSlow(ARENA)
    // All that was sent has been handed over.
    if (outlet.writableLength === 0) used = 0
    if (used + layout.bytes > ARENA) return alloc(payload)
    const packet = arena.subarray(used, used + layout.bytes)
    used += layout.bytes
    packet.set(layout.head)
    pad(packet, HEAD + payload, layout.head[4] ?? 0)
    return packet
  }
}
