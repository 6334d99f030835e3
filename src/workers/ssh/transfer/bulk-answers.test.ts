import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import fc from 'fast-check'
import type { SFTPWrapper } from 'ssh2'
import { type BulkData, createBulkData } from './bulk-data.ts'

const { SFTP } = createRequire(import.meta.url)('ssh2/lib/protocol/SFTP.js')

/** ssh2's own session, its parser as `createBulkData` leaves it when it is asked for, and what is sent on it. */
function session() {
  const sent: Buffer[] = []
  const protocol = {
    _remoteIdentRaw: Buffer.from('SSH-2.0-OpenSSH_9'),
    _cipher: { allocPacket: (bytes: number) => Buffer.alloc(bytes) },
    channelData: (_: number, data: Buffer) => sent.push(Buffer.from(data)),
    channelClose: () => undefined,
  }
  const client = Object.assign(new EventEmitter(), { _protocol: protocol, _sock: { writableLength: 0 } })
  const outgoing = { id: 0, window: 1e9, packetSize: 32_768, state: 'open' }
  const sftp = new SFTP(client, { type: 'sftp', incoming: {}, outgoing }, {})
  sftp.push(Buffer.from([0, 0, 0, 5, 2, 0, 0, 0, 3]))
  const errors: Error[] = []
  sftp.on('error', (error: Error) => errors.push(error))
  let bulk: BulkData | undefined
  return {
    sftp,
    get bulk() {
      bulk ??= createBulkData(sftp as SFTPWrapper)
      return bulk
    },
    sent,
    errors,
  }
}

function packet(type: number, id: number, ...rest: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(9)
  const content = Buffer.concat(rest)
  head.writeUInt32BE(5 + content.length)
  head[4] = type
  head.writeUInt32BE(id, 5)
  return Buffer.concat([head, content])
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const data = (id: number, content: Buffer) => packet(103, id, number(content.length), content)
const status = (id: number, code: number) => packet(101, id, number(code), number(0), number(0))
const HANDLE = Buffer.from([0, 0, 0, 7])

test('SSH-06 what is asked for in bulk is asked for as ssh2 asks', () => {
  const [ours, plain] = [session(), session()]
  for (const [length, position] of [
    [1, 0],
    [255 * 1024, 2 ** 33 + 5],
    [300 * 1024, 7],
  ] as const) {
    const buffer = Buffer.alloc(length)
    ours.bulk.read(HANDLE, buffer, length, position, () => undefined)
    plain.sftp.read(HANDLE, buffer, 0, length, position, () => undefined)
  }
  assert.ok(Buffer.concat(ours.sent).equals(Buffer.concat(plain.sent)))
})

const answer = fc.record({
  kind: fc.constantFrom('whole', 'short', 'long', 'empty', 'end', 'failure', 'facts'),
  bytes: fc.integer({ min: 2, max: 3_000 }),
})

test('SSH-06 answers are put where they belong, whole, however the host cuts them and in whatever order they come', () => {
  fc.assert(
    fc.property(
      fc.array(answer, { minLength: 1, maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 2_000 }), { minLength: 1, maxLength: 30 }),
      fc.boolean(),
      (answers, cuts, backwards) => {
        const { sftp, bulk, errors } = session()
        const heard = new Map<number, string>()
        const wanted = new Map<number, string>()
        const packets = answers.map(({ kind, bytes }, id) => {
          const hear = (text: string) => heard.set(id, `${heard.get(id) ?? ''}${text}`)
          const content = Buffer.alloc(bytes, id + 1)
          if (kind === 'facts') {
            sftp.fstat(HANDLE, (error: Error | undefined) => hear(error === undefined ? 'facts' : 'error'))
            wanted.set(id, 'facts')
            return packet(105, id, number(0))
          }
          const buffer = Buffer.alloc(bytes + 10)
          bulk.read(HANDLE, buffer, bytes, 0, (error, got) =>
            hear(error ? `error ${(error as { code?: number }).code}` : `${got} ${buffer.toString('hex')}`),
          )
          const tell = (length: number) =>
            `${length} ${Buffer.concat([content.subarray(0, length), Buffer.alloc(bytes + 10 - length)]).toString('hex')}`
          if (kind === 'end' || kind === 'failure') {
            wanted.set(id, `error ${kind === 'end' ? 1 : 4}`)
            return status(id, kind === 'end' ? 1 : 4)
          }
          // More than was asked for is never put beyond the place it has.
          const length = kind === 'empty' ? 0 : kind === 'short' ? bytes - 1 : bytes
          wanted.set(id, tell(length))
          return data(
            id,
            kind === 'long' ? Buffer.concat([content, Buffer.alloc(5, 255)]) : content.subarray(0, length),
          )
        })
        const stream = Buffer.concat(backwards ? packets.reverse() : packets)
        for (let at = 0, cut = 0; at < stream.length; cut += 1) {
          const bytes = cuts[cut % cuts.length] as number
          // Each piece in memory of its own, as they come.
          sftp.push(Buffer.from(stream.subarray(at, at + bytes)))
          at += bytes
        }
        assert.deepEqual([...heard].sort(), [...wanted].sort())
        assert.deepEqual(errors, [])
      },
    ),
    { numRuns: 300 },
  )
})

test('SSH-11 an answer that nobody waits for, or that is none, ends the session as it does with ssh2 alone', () => {
  for (const stream of [data(9, Buffer.alloc(100)), packet(77, 1), number(0), number(300_000)]) {
    const [ours, plain] = [session(), session()]
    ours.bulk.read(HANDLE, Buffer.alloc(10), 10, 0, () => undefined)
    for (const { sftp } of [ours, plain]) sftp.push(stream)
    assert.deepEqual(ours.errors.map(String), plain.errors.map(String))
    assert.equal(ours.sftp.outgoing.state, plain.sftp.outgoing.state)
    // What follows cannot be told apart from nonsense.
    const told = ours.errors.length
    if (told > 0) ours.sftp.push(stream)
    assert.equal(ours.errors.length, told)
  }
})

test('nothing is written to a buffer after the session was given up', () => {
  const { sftp, bulk } = session()
  const buffer = Buffer.alloc(100)
  const heard: unknown[] = []
  bulk.read(HANDLE, buffer, 100, 0, (error) => heard.push(error))
  const answered = data(0, Buffer.alloc(100, 1))
  sftp.push(answered.subarray(0, 50))
  const before = Buffer.from(buffer)
  sftp.end()
  sftp.push(answered.subarray(50))
  assert.ok(buffer.equals(before))
  assert.deepEqual(heard, [])
  sftp.push(null)
  assert.equal(heard.length, 1)
  assert.match(String(heard[0]), /Error/)
})
