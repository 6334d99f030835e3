import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { deserialize, serialize } from 'node:v8'
import fc from 'fast-check'
import { type Channel, createChannel, MAX_MESSAGE_BYTES } from './channel.ts'

/** Pairs of connected sockets. */
const server = createServer()
let port: number
before(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as { port: number }).port
})
after(() => {
  for (const socket of sockets) socket.destroy()
  server.close()
})

const sockets: Socket[] = []

interface End {
  readonly socket: Socket
  readonly channel: Channel
  readonly received: unknown[]
  readonly broken: string[]
  closed: number
}

function endOf(socket: Socket, receive: (message: unknown) => void = () => undefined): End {
  const end = { socket, received: [] as unknown[], broken: [] as string[], closed: 0 }
  const channel = createChannel(socket, {
    receive(message) {
      end.received.push(message)
      receive(message)
    },
    broken: (why) => void end.broken.push(why),
    closed: () => {
      end.closed += 1
    },
  })
  return Object.assign(end, { channel })
}

/** One end as the product has it, and the bare socket of the other. */
async function oneEnd(receive?: (message: unknown) => void) {
  const there = connect(port, '127.0.0.1')
  const [here] = (await once(server, 'connection')) as [Socket]
  there.on('error', () => undefined)
  sockets.push(here, there)
  return { here: endOf(here, receive), there }
}

async function twoEnds() {
  const { here, there } = await oneEnd()
  return { here, there: endOf(there) }
}

function framed(message: unknown): Buffer {
  const body = serialize(message)
  const header = Buffer.alloc(4)
  header.writeUInt32BE(body.length)
  return Buffer.concat([header, body])
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds() && tries < 500; tries++) await delay(10)
  assert.ok(holds())
}

suite('a channel between two processes', () => {
  test('carries every cloneable value, in order', async () => {
    const { here, there } = await twoEnds()
    const sent = [
      null,
      'ü',
      { bytes: Buffer.from([0, 255]), none: undefined },
      new Map([[1, new Date(0)]]),
      'x'.repeat(5_000_000),
      7n,
    ]
    for (const each of sent) here.channel.send(each)
    await until(() => there.received.length === sent.length)
    assert.deepEqual(there.received, sent)
    here.channel.close()
    await until(() => there.closed === 1)
    there.channel.send('to nobody')
    assert.equal(there.channel.isOpen(), false)
  })

  test('however what comes is cut, the messages are the same', async () => {
    const value = fc.oneof(fc.string(), fc.integer(), fc.uint8Array({ maxLength: 3_000 }), fc.object())
    await fc.assert(
      fc.asyncProperty(
        fc.array(value, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }),
        async (values, cuts) => {
          const { here, there } = await oneEnd()
          const all = Buffer.concat([Buffer.alloc(0), ...values.map(framed)])
          // By hand, as the kernel would: a socket of this machine puts pieces together again.
          for (let at = 0, turn = 0; at < all.length; turn++) {
            const size = cuts[turn % cuts.length] as number
            here.socket.emit('data', all.subarray(at, at + size))
            at += size
          }
          assert.deepEqual(
            here.received,
            values.map((each) => deserialize(serialize(each))),
          )
          there.destroy()
          here.channel.close()
        },
      ),
      { numRuns: 60 },
    )
  })

  test('RES-10: what cannot be read ends it, and is thrown to nobody', async () => {
    for (const [bytes, why] of [
      [Buffer.alloc(1_000, 0x41), /a message of 1094795585 bytes/],
      [Buffer.concat([Buffer.from([0, 0, 0, 4]), Buffer.alloc(4, 0x41)]), /deserialize|cannot be read/],
      [Buffer.from([0xff, 0xff, 0xff, 0xff]), /a message of 4294967295 bytes/],
    ] as const) {
      const { here, there } = await oneEnd()
      there.write(bytes)
      await until(() => here.closed === 1)
      assert.equal(here.broken.length, 1)
      assert.match(here.broken[0] ?? '', why)
      assert.deepEqual(here.received, [])
    }
  })

  test('RES-10: what the receiver throws ends it, and nothing behind it is read', async () => {
    const { here, there } = await oneEnd(() => {
      throw new TypeError('no message of this kind')
    })
    there.write(Buffer.concat([framed(1), framed(2)]))
    await until(() => here.closed === 1)
    assert.deepEqual(here.broken, ['it sent what cannot be read: no message of this kind'])
    assert.deepEqual(here.received, [1])
  })

  test('what cannot be cloned or is too long is thrown, and the next message goes', async () => {
    const { here, there } = await twoEnds()
    assert.throws(() => here.channel.send({ fn: () => undefined }), /could not be cloned/)
    assert.throws(() => here.channel.send(Buffer.alloc(MAX_MESSAGE_BYTES)), RangeError)
    here.channel.send('next')
    await until(() => there.received.length === 1)
    assert.deepEqual(there.received, ['next'])
  })

  test('RES-10: held back it reads nothing: what is sent waits on the other side', async () => {
    const { here, there } = await twoEnds()
    here.channel.holdBack()
    assert.equal(here.channel.isHeldBack(), true)
    const piece = Buffer.alloc(1_000_000)
    for (let each = 0; each < 50; each++) there.channel.send(piece)
    await delay(200)
    assert.deepEqual(here.received, [])
    assert.ok(there.socket.writableLength > 20_000_000, `${there.socket.writableLength} bytes wait there`)
    here.channel.release()
    await until(() => here.received.length === 50)
  })

  test('held back by a message, it keeps those that have come with it', async () => {
    const { here, there } = await oneEnd(() => here.channel.holdBack())
    there.write(Buffer.concat([framed(1), framed(2)]))
    await until(() => here.received.length > 0)
    await delay(50)
    assert.deepEqual(here.received, [1])
    here.channel.release()
    assert.deepEqual(here.received, [1, 2])
  })
})
