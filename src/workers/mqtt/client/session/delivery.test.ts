import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { IncomingMessage, Qos } from '../mqtt-session.ts'
import { createDelivery } from './delivery.ts'

const incoming = (text: string, qos: Qos = 0): IncomingMessage => ({
  topic: 't',
  payload: Buffer.from(text),
  qos,
  retain: false,
  duplicate: false,
  received_at: 0,
  endpoint: 'mqtt://x:1',
})

/** A consumer that takes the next message only when it is told to. */
function slow(options: { max?: number; limit?: number; drop_oldest?: boolean } = {}) {
  const seen: string[] = []
  const budget = { used: 0, limit: options.limit ?? 1_000 }
  let turn = Promise.withResolvers<void>()
  let dropped = 0
  let failure: unknown
  const delivery = createDelivery({
    max: options.max ?? 3,
    budget,
    drop_oldest: options.drop_oldest ?? true,
    onMessage(message) {
      seen.push(Buffer.from(message.payload).toString())
      return turn.promise
    },
    onDrop: () => {
      dropped += 1
    },
    onFailed: (error) => {
      failure = error
    },
  })
  return {
    seen,
    budget,
    delivery,
    dropped: () => dropped,
    failure: () => failure,
    /** Lets it end the message it has, and all that follow. */
    async go() {
      turn.resolve()
      await new Promise((resolve) => setImmediate(resolve))
    },
    async fail(error: Error) {
      const now = turn
      turn = Promise.withResolvers<void>()
      now.reject(error)
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

suite('delivery of received messages', () => {
  test('a consumer that keeps up costs nothing: no promise, nothing held', () => {
    const budget = { used: 0, limit: 10 }
    const seen: number[] = []
    const delivery = createDelivery({
      max: 1,
      budget,
      drop_oldest: true,
      onMessage: ({ payload }) => void seen.push(payload.length),
      onDrop: () => assert.fail('dropped'),
      onFailed: () => assert.fail('failed'),
    })
    for (let n = 0; n < 100; n++) assert.equal(delivery.push(incoming('x'.repeat(100), 1)), undefined)
    assert.deepEqual([seen.length, budget.used], [100, 0])
  })

  test('QoS 0 beyond the room drops the oldest, or the newest, and counts each', async () => {
    for (const [drop_oldest, expected] of [
      [true, ['0', '3', '4', '5']],
      [false, ['0', '1', '2', '3']],
    ] as const) {
      const consumer = slow({ drop_oldest })
      for (let n = 0; n < 6; n++) assert.equal(consumer.delivery.push(incoming(`${n}`)), undefined)
      assert.equal(consumer.dropped(), 2)
      await consumer.go()
      assert.deepEqual(consumer.seen, expected)
      assert.equal(consumer.budget.used, 0)
    }
  })

  test('QoS 1 is never dropped: it is acknowledged when it was dealt with, also where QoS 0 gives way before it', async () => {
    const consumer = slow({ max: 2 })
    const done: string[] = []
    for (const [text, qos] of [
      ['a', 1],
      ['b', 1],
      ['c', 0],
      ['d', 1],
      ['e', 0],
      ['f', 1],
    ] as const)
      void consumer.delivery.push(incoming(text, qos))?.then(() => done.push(text))
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(done, [])
    await consumer.go()
    // There was no room for "e" even without "c".
    assert.deepEqual(consumer.seen, ['a', 'b', 'd', 'f'])
    assert.deepEqual(done, ['a', 'b', 'd', 'f'])
    assert.deepEqual([consumer.dropped(), consumer.budget.used], [2, 0])
  })

  test('bytes are bounded over all consumers', () => {
    const consumer = slow({ max: 1_000, limit: 50 })
    for (let n = 0; n < 100; n++) {
      consumer.delivery.push(incoming('x'.repeat(10)))
      assert.ok(consumer.budget.used <= 50)
    }
    // One is with the consumer, and five are held.
    assert.equal(consumer.dropped(), 94)
  })

  test('a consumer that fails gets nothing more, and what it had is never acknowledged', async () => {
    const consumer = slow()
    const done: string[] = []
    for (const text of ['a', 'b']) {
      const wait = consumer.delivery.push(incoming(text, 1))
      wait?.then(
        () => done.push(text),
        () => done.push(`not ${text}`),
      )
    }
    await consumer.fail(new Error('disk full'))
    await assert.rejects(consumer.delivery.push(incoming('c', 1)) ?? Promise.resolve(), /disk full/)
    assert.equal(consumer.delivery.push(incoming('d', 0)), undefined)
    assert.deepEqual([consumer.seen, done, consumer.budget.used], [['a'], ['not a', 'not b'], 0])
    assert.match(String(consumer.failure()), /disk full/)
  })

  test('when it is closed, what is held is acknowledged: nobody wants it any more', async () => {
    const consumer = slow()
    const done: string[] = []
    for (const text of ['a', 'b', 'c']) void consumer.delivery.push(incoming(text, 2))?.then(() => done.push(text))
    consumer.delivery.close()
    await consumer.go()
    assert.deepEqual([consumer.seen, done.sort(), consumer.budget.used], [['a'], ['a', 'b', 'c'], 0])
  })
})
