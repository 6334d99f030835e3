import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { subscribe } from '../../src/workers/mqtt/subscribe/subscribe.ts'
import { type HostileBroker, publishPacket, startHostileBroker, variable } from '../helpers/hostile-broker.ts'
import type { Mosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, never, recorder, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'

const MEBIBYTE = 1_048_576
const throttling = { buffer_bytes: 4 * MEBIBYTE, max_message_size: 64 * 1024 }
const targetOf = (broker: HostileBroker) => brokerTarget({ url: broker.url } as Mosquitto)

/** A consumer on a hostile broker, and the greatest memory that its process has had since. */
async function victim(onMessage: () => void | Promise<void>, qos: 0 | 1 | 2 = 2) {
  const broker = await startHostileBroker()
  const worker = await startMqttWorker({ settings: { throttling } })
  const session = worker.session(targetOf(broker))
  await session.subscribe('#', { qos, signal: never, onMessage })
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  return {
    broker,
    worker,
    session,
    grown: () => (process.memoryUsage().rss - before) / MEBIBYTE,
    async [Symbol.asyncDispose]() {
      await worker[Symbol.asyncDispose]()
      await broker[Symbol.asyncDispose]()
    },
  }
}

suite('MQ-05: a broker that keeps to nothing fills no memory', () => {
  test('MQ-05: a packet that is announced with 256 MiB ends the connection long before its end', async () => {
    await using one = await victim(() => undefined)
    one.broker.send(Buffer.concat([Buffer.from([0x30]), variable(268_435_455)]))
    const piece = Buffer.alloc(65_536)
    let sent = 0
    while (one.session.facts().lost === 0 && sent < 64 * MEBIBYTE) {
      one.broker.send(piece)
      sent += piece.length
      await delay(1)
    }
    assert.equal(one.session.facts().lost, 1, `${sent} bytes sent`)
    assert.ok(sent < 8 * MEBIBYTE, `${sent} bytes sent`)
    const [warned] = one.worker.log.lines.filter(({ level }) => level === 'warn')
    assert.match(String(warned?.fields.message), /a packet of more than 327680 bytes/)
  })

  test('MQ-05: QoS 2 messages that are never completed end it', async () => {
    await using one = await victim(() => undefined)
    const payload = Buffer.alloc(60_000)
    for (let id = 1; id < 2_000 && one.session.facts().lost === 0; id++) {
      one.broker.send(publishPacket('x', payload, { qos: 2, id }))
      if (id % 16 === 0) await delay(1)
    }
    assert.ok(await until(() => one.session.facts().lost > 0))
    const [warned] = one.worker.log.lines.filter(({ level }) => level === 'warn')
    assert.match(String(warned?.fields.message), /more QoS 2 messages than it may/)
    assert.ok(one.grown() < 128, `${one.grown()} MiB`)
  })

  test('MQ-05: QoS 1 messages beyond the receive maximum are not read while a consumer hangs, and none is lost', async () => {
    const gate = Promise.withResolvers<void>()
    let taken = 0
    await using one = await victim(async () => {
      await gate.promise
      taken += 1
    }, 1)
    const payload = Buffer.alloc(60_000)
    const count = 1_000
    for (let id = 1; id <= count; id++) one.broker.send(publishPacket('x', payload, { qos: 1, id }))
    await delay(500)
    // 4 MiB of 60 MB, and what lies between the socket and the parser.
    const read = one.session.facts().received
    assert.ok(read >= 60 && read < 100, `${read} read`)
    gate.resolve()
    assert.ok(await until(() => taken === count, 10_000), `${taken} taken`)
    assert.equal(one.session.facts().lost, 0)
  })

  test('what is no MQTT ends the connection with a reason, and another one is made', async () => {
    const properties = Buffer.from([0xff, 0xff, 0xff, 0xff])
    const cases = [
      Buffer.from([0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0x36, 2, 0, 0]),
      publishPacket('x', Buffer.alloc(3), { properties }),
      Buffer.concat([Buffer.from([0x30, 4]), Buffer.from([0xff, 0xff, 0, 0])]),
    ]
    for (const bytes of cases) {
      const heard = recorder()
      await using one = await victim(heard.onMessage.bind(heard, { topic: '', payload: Buffer.alloc(0) } as never))
      const before = one.broker.subscribed()
      one.broker.send(bytes)
      assert.ok(await until(() => one.session.facts().lost === 1), bytes.toString('hex'))
      assert.ok(await until(() => one.broker.subscribed() > before), bytes.toString('hex'))
    }
  })

  test('a broker that never answers an UNSUBSCRIBE holds up nobody, and one that answers no SUBSCRIBE is left', async () => {
    await using broker = await startHostileBroker({ answers: false })
    await using worker = await startMqttWorker({ settings: { connect_timeout: 0.3 } })
    const call = subscribe.input.parse({ filters: ['#'], seconds: 5 })
    const began = performance.now()
    const running = subscribe.run(worker.context(targetOf(broker), { timeoutMs: 2_000 }), call)
    await assert.rejects(running, { code: /^MHV_(RUN_TIMEOUT|MQTT_)/ })
    assert.ok(performance.now() - began < 4_000)
    assert.ok(broker.connections() > 1, 'it stayed')
  })

  test('a topic with control characters, and a payload with escapes, are data: shown, never obeyed', async () => {
    await using broker = await startHostileBroker()
    await using worker = await startMqttWorker()
    const call = subscribe.input.parse({ filters: ['#'], seconds: 5, count: 1 })
    const running = subscribe.run(worker.context(targetOf(broker)), call)
    assert.ok(await until(() => broker.subscribed() === 1))
    broker.send(publishPacket('a\u001b]0;owned\u0007b', Buffer.from('\u001b[2J\u0000done')))
    const began = performance.now()
    const data = await running
    // This broker answers no UNSUBSCRIBE.
    assert.ok(performance.now() - began < 3_000)
    assert.equal(data.messages[0]?.topic, 'a\u001b]0;owned\u0007b')
    assert.equal(data.messages[0]?.payload, '\u001b[2J\u0000done')
  })
})
