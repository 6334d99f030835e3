import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { chunksOf } from './bulk-chunks.ts'

type Payloads = readonly { readonly bytes: number; readonly copied: number }[]

/** A connection whose pieces hold these messages, and a decipher that may keep something. */
function connection() {
  const handled: Buffer[] = []
  const newDecipher = () => ({ _onPayload: (payload: Buffer) => handled.push(payload), _packet: null as Buffer | null })
  const protocol = { _decipher: newDecipher() }
  const socket = new Socket()
  let payloads: Payloads = []
  let meanwhile: (chunk: Buffer) => void = () => undefined
  socket.on('data', (chunk: Buffer) => {
    for (const { bytes, copied } of payloads) {
      const at = handled.length
      told = copied
      protocol._decipher._onPayload(chunk.subarray(0, bytes))
      assert.equal(handled.length, at + 1)
    }
    meanwhile(chunk)
  })
  const chunks = chunksOf(socket, protocol)
  assert.ok(chunks !== undefined)
  let told = 0
  const plain = protocol._decipher._onPayload
  /** As the session does it, which is called in the midst of a message. */
  protocol._decipher._onPayload = (payload) => {
    chunks.copied(told)
    return plain(payload)
  }
  return {
    protocol,
    newDecipher,
    chunks,
    /** Whether a piece was freed. */
    freed(some: Payloads, more: (chunk: Buffer) => void = () => undefined) {
      payloads = some
      meanwhile = more
      const chunk = Buffer.from(new ArrayBuffer(1_000))
      socket.emit('data', chunk)
      return chunk.buffer.byteLength === 0
    },
  }
}

const COPIED = { bytes: 109, copied: 100 }

test('a piece is freed when all of it was copied, and only then', () => {
  const { freed, chunks } = connection()
  assert.equal(freed([COPIED]), false, 'nobody has looked at it')
  chunks.watch()
  chunks.watch()
  // What was there before was not seen.
  assert.equal(freed([COPIED]), false)
  assert.equal(freed([COPIED, COPIED]), true)
  assert.equal(freed([COPIED, { bytes: 109, copied: 99 }, COPIED]), false)
  assert.equal(freed([{ bytes: 9, copied: 0 }]), false)
  assert.equal(freed([]), true, 'a part of a message, which the decipher has copied')
})

test('a piece is left alone while the decipher keeps a part of it', () => {
  const { freed, chunks, protocol } = connection()
  chunks.watch()
  freed([])
  const keep = (chunk: Buffer) => {
    protocol._decipher._packet = chunk.subarray(5)
  }
  assert.equal(freed([COPIED], keep), false)
  assert.equal(freed([COPIED]), true)
})

test('SSH-09 after an exchange of keys pieces are left alone until somebody looks again', () => {
  const { freed, chunks, protocol, newDecipher } = connection()
  chunks.watch()
  freed([])
  assert.equal(freed([COPIED]), true)
  const elsewhere = protocol._decipher._onPayload
  protocol._decipher._onPayload = (payload) => elsewhere(payload)
  assert.equal(freed([COPIED]), false)
  protocol._decipher = newDecipher()
  assert.equal(freed([COPIED]), false)
  chunks.watch()
  freed([])
  assert.equal(freed([]), true)
})

test('memory that others share, and that of a connection over another one, is left alone', () => {
  const { chunks } = connection()
  chunks.watch()
  const socket = new Socket()
  const protocol = { _decipher: { _onPayload: () => undefined } }
  const other = chunksOf(socket, protocol)
  assert.equal(chunksOf(socket, protocol), other)
  other?.watch()
  socket.emit('data', Buffer.alloc(1))
  const shared = Buffer.from(new ArrayBuffer(100), 10, 20)
  socket.emit('data', shared)
  assert.equal(shared.buffer.byteLength, 100)
  assert.equal(chunksOf({ on: () => undefined }, protocol), undefined)
})
