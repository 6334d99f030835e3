import assert from 'node:assert/strict'
import { test } from 'node:test'
import { reusePackets } from './bulk-packets.ts'

/** Lays a packet out as a cipher of blocks of 16 bytes does. */
function cipherOf16() {
  let made = 0
  const cipher = {
    allocPacket(payload: number) {
      made += 1
      let padding = 16 - ((1 + payload) % 16)
      if (padding < 4) padding += 16
      const packet = Buffer.alloc(4 + 1 + payload + padding + 16)
      packet.writeUInt32BE(1 + payload + padding)
      packet[4] = padding
      return packet
    },
  }
  return { cipher, made: () => made }
}

const PAYLOAD = 32_777

test('a packet of the arena is laid out as the cipher lays it out', () => {
  const { cipher, made } = cipherOf16()
  reusePackets(cipher, { writableLength: 0 })
  const [own, reused] = [cipher.allocPacket(PAYLOAD), cipher.allocPacket(PAYLOAD)]
  assert.equal(made(), 1)
  assert.equal(reused.length, own.length)
  assert.deepEqual(reused.subarray(0, 5), own.subarray(0, 5))
})

test('the padding is drawn anew for each packet', () => {
  const { cipher } = cipherOf16()
  reusePackets(cipher, { writableLength: 0 })
  const seen = new Set<string>()
  for (let n = 0; n < 600; n++) {
    const packet = cipher.allocPacket(PAYLOAD)
    const padding = packet[4] ?? 0
    if (n > 0) seen.add(packet.subarray(5 + PAYLOAD, 5 + PAYLOAD + padding).toString('hex'))
  }
  assert.equal(seen.size, 599)
})

test('no packet is used again before the socket has handed it over', () => {
  const { cipher, made } = cipherOf16()
  const outlet = { writableLength: 1 }
  reusePackets(cipher, outlet)
  // More than the arena holds.
  const packets = Array.from({ length: 100 }, (_, n) => cipher.allocPacket(PAYLOAD).fill(n))
  const over = packets.findIndex((packet, n) => !packet.every((byte) => byte === n))
  assert.equal(over, -1)
  assert.ok(made() > 1)
  const before = made()
  outlet.writableLength = 0
  cipher.allocPacket(PAYLOAD)
  assert.equal(made(), before)
})

test('small packets are left to the cipher', () => {
  const { cipher, made } = cipherOf16()
  reusePackets(cipher, { writableLength: 0 })
  for (let n = 0; n < 3; n++) cipher.allocPacket(100)
  assert.equal(made(), 3)
})
