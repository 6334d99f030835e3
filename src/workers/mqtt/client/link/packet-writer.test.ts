import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { createPacketWriter } from './packet-writer.ts'

interface Write {
  readonly bytes: Uint8Array
  readonly done: ((error?: Error | null) => void) | undefined
}

function recorder() {
  const writes: Write[] = []
  const stream = {
    write(bytes: Uint8Array, done?: Write['done']) {
      writes.push({ bytes, done })
      return true
    },
    cork: () => undefined,
    uncork: () => undefined,
  }
  return {
    writes,
    writer: createPacketWriter(stream, true),
    all: () => Buffer.concat(writes.map(({ bytes }) => bytes)),
  }
}

const messageOf = (payload: Uint8Array) => ({ topic: 't', payload, qos: 1, retain: false }) as const
/** 3.3: fixed header, length, topic, id, no properties, payload. */
const packetOf = (id: number, payload: string) =>
  Buffer.concat([Buffer.from([0x32, 6 + payload.length, 0, 1, 0x74, 0, id, 0]), Buffer.from(payload)])

suite('packets of one turn', () => {
  test('go as one piece, in their order, also where other packets come in between', async () => {
    const { writes, writer, all } = recorder()
    writer.publish(messageOf(Buffer.from('one')), 1)
    writer.pubrel(9)
    writer.publish(messageOf(Buffer.from('two')), 2)
    assert.equal(writes.length, 0)
    await setImmediate()
    assert.equal(writes.length, 1)
    assert.deepEqual(all(), Buffer.concat([packetOf(1, 'one'), Buffer.from([0x62, 2, 0, 9]), packetOf(2, 'two')]))
  })

  test('what is flushed goes at once, and what comes after it in the same turn is not forgotten', async () => {
    const { writes, writer, all } = recorder()
    writer.publish(messageOf(Buffer.from('one')), 1)
    writer.flush()
    writer.flush()
    assert.equal(writes.length, 1)
    writer.publish(messageOf(Buffer.from('two')), 2)
    await setImmediate()
    assert.deepEqual(all(), Buffer.concat([packetOf(1, 'one'), packetOf(2, 'two')]))
  })

  test('a large payload goes by itself, behind what came before it and before what comes after', async () => {
    const { writes, writer, all } = recorder()
    const large = Buffer.alloc(100_000, 'L')
    writer.publish(messageOf(Buffer.from('one')), 1)
    writer.publish(messageOf(large), 2)
    writer.publish(messageOf(Buffer.from('three')), 3)
    await setImmediate()
    assert.ok(
      writes.some(({ bytes }) => bytes === large),
      'it is not copied',
    )
    const bytes = all()
    assert.deepEqual(bytes.subarray(0, 11), packetOf(1, 'one'))
    assert.deepEqual(bytes.subarray(-13), packetOf(3, 'three'))
    // A length of three bytes instead of one.
    assert.equal(bytes.length, 11 + 10 + large.length + 13)
  })

  test('what the stream still holds is not written over', async () => {
    const { writes, writer, all } = recorder()
    const payload = Buffer.alloc(9_000)
    for (let id = 1; id <= 50; id++) {
      writer.publish(messageOf(payload.fill(id)), id)
      if (id % 10 === 0) await setImmediate()
    }
    await setImmediate()
    const size = all().length / 50
    for (let id = 1; id <= 50; id++)
      assert.ok(
        all()
          .subarray(id * size - 9_000, id * size)
          .every((byte) => byte === id),
      )
    assert.ok(writes.length > 5)
  })

  test('each is told once when its piece was written, or why it was not', async () => {
    const { writes, writer } = recorder()
    const told: string[] = []
    const message = { ...messageOf(Buffer.from('x')), qos: 0 } as const
    writer.publish(message, 0, (error) => told.push(`1 ${error?.message}`))
    writer.publish(message, 0, (error) => told.push(`2 ${error?.message}`))
    await setImmediate()
    writer.publish(message, 0, (error) => told.push(`3 ${error?.message}`))
    await setImmediate()
    assert.deepEqual(told, [])
    writes[0]?.done?.(null)
    writes[1]?.done?.(new Error('broken'))
    assert.deepEqual(told, ['1 undefined', '2 undefined', '3 broken'])
  })
})
