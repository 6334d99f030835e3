import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import type { SFTPWrapper } from 'ssh2'
import { createBulkData, HEAD_ROOM } from './bulk-data.ts'

const { SFTP } = createRequire(import.meta.url)('ssh2/lib/protocol/SFTP.js')

/** ssh2's own session over a channel that keeps what is sent. */
function session(window = 1e9, ident = 'SSH-2.0-OpenSSH_9') {
  const sent: Buffer[] = []
  const protocol = {
    _remoteIdentRaw: Buffer.from(ident),
    _cipher: { allocPacket: (bytes: number) => Buffer.alloc(bytes) },
    channelData: (_: number, data: Buffer) => sent.push(Buffer.from(data)),
    channelClose: () => undefined,
  }
  const client = Object.assign(new EventEmitter(), { _protocol: protocol, _sock: { writableLength: 0 } })
  const outgoing = { id: 0, window, packetSize: 32_768, state: 'open' }
  const sftp = new SFTP(client, { type: 'sftp', incoming: {}, outgoing }, {})
  sftp.push(Buffer.from([0, 0, 0, 5, 2, 0, 0, 0, 3]))
  const bulk = createBulkData(sftp as SFTPWrapper)
  return { sftp, bulk, sent, outgoing }
}

function status(id: number, code: number): Buffer {
  const packet = Buffer.alloc(4 + 1 + 4 + 4 + 4 + 4)
  packet.writeUInt32BE(packet.length - 4)
  packet[4] = 101
  packet.writeUInt32BE(id, 5)
  packet.writeUInt32BE(code, 9)
  return packet
}

const HANDLE = Buffer.from([0, 0, 0, 7])

test('SSH-06 requests leave in their order and whole, whatever the host takes at a time', () => {
  for (const between of [true, false]) {
    const { sftp, bulk, sent, outgoing } = session(50_000)
    const plain = session()
    const contents = [randomBytes(100_000), randomBytes(70_000), randomBytes(5)]
    contents.forEach((data, n) => {
      const buffer = Buffer.concat([Buffer.alloc(HEAD_ROOM), data])
      bulk.write(HANDLE, buffer, data.length, n * 2 ** 33, () => undefined)
      plain.sftp.write(HANDLE, data, 0, data.length, n * 2 ** 33, () => undefined)
      for (const { sftp: each } of between ? [{ sftp }, plain] : []) each.fstat(HANDLE, () => undefined)
    })
    for (let n = 0; n < 40; n++) {
      outgoing.window += 7_000
      if (!sftp._waitWindow) continue
      sftp._waitWindow = false
      sftp._chunkcb?.()
    }
    assert.ok(Buffer.concat(sent).equals(Buffer.concat(plain.sent)))
  }
})

test('what the server says of a write is what its caller hears', () => {
  const { sftp, bulk } = session()
  const heard: unknown[] = []
  for (let n = 0; n < 2; n++) bulk.write(HANDLE, Buffer.alloc(HEAD_ROOM + 5), 5, 0, (error) => heard.push(error))
  sftp.push(Buffer.concat([status(1, 4), status(0, 0)]))
  assert.equal((heard[0] as { code?: number } | undefined)?.code, 4)
  assert.equal(heard[1] ?? undefined, undefined)
  assert.equal(heard.length, 2)
})

test('content that is too long for one request of the server, and a handle of any length, are still written whole', () => {
  const data = randomBytes(80_000)
  const buffer = Buffer.concat([Buffer.alloc(HEAD_ROOM), data])
  const other = session(1e9, 'SSH-2.0-other')
  let done = false
  other.bulk.write(HANDLE, buffer, data.length, 0, () => {
    done = true
  })
  const same = session(1e9, 'SSH-2.0-other')
  same.sftp.write(HANDLE, data, 0, data.length, 0, () => undefined)
  for (let id = 0; id < 3; id++) for (const { sftp } of [other, same]) sftp.push(status(id, 0))
  assert.equal(done, true)
  assert.ok(Buffer.concat(other.sent).equals(Buffer.concat(same.sent)))
  const [longest, plain] = [session(), session()]
  for (const handle of [Buffer.alloc(256, 1), Buffer.alloc(257, 1)]) {
    longest.bulk.write(handle, buffer, data.length, 0, () => undefined)
    plain.sftp.write(handle, data, 0, data.length, 0, () => undefined)
  }
  assert.ok(Buffer.concat(longest.sent).equals(Buffer.concat(plain.sent)))
})
