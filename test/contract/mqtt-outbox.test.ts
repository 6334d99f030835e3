import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createMemoryStore } from '../../src/store/memory.ts'
import { outboxDrop } from '../../src/workers/mqtt/outbox/outbox-drop.ts'
import { outboxInspect } from '../../src/workers/mqtt/outbox/outbox-inspect.ts'
import { outboxStatus } from '../../src/workers/mqtt/outbox/outbox-status.ts'
import { publish } from '../../src/workers/mqtt/publish/publish.ts'
import { messages } from '../../src/workers/mqtt/standing/messages.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, never, recorder, startMqttWorker } from '../helpers/mqtt-context.ts'

/** Outbox and standing subscriptions with a real broker. */

async function until(what: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
  for (let waited = 0; !(await what()); waited += 20) {
    assert.ok(waited < ms, 'in time')
    await delay(20)
  }
}

suite('the outbox and a broker that goes and comes back', { skip: mosquittoMissing() ?? false }, () => {
  test('MQ-01: a publish says delivered, or accepted while the broker is away, and is sent when it is back', async () => {
    let broker = await startMosquitto()
    const target = brokerTarget(broker)
    await using worker = await startMqttWorker()
    await using listener = await startMqttWorker()
    const seen = recorder()
    const ask = (input: object) => publish.run(worker.context(target), publish.input.parse(input))
    const status = () => outboxStatus.run(worker.context(target), {})
    const first = await ask({ topic: 'a/1', payload: 'one', qos: 1 })
    assert.deepEqual([first.state, first.delivered, first.accepted], ['delivered', 1, 0])

    await broker.stop(true)
    await until(async () => !(await status()).connected)
    const second = await ask({ messages: ['two', 'three'].map((payload) => ({ topic: 'a/1', payload, qos: 2 })) })
    assert.deepEqual([second.state, second.delivered, second.accepted], ['accepted', 0, 2])
    await assert.rejects(ask({ topic: 'a/1', payload: 'lost', qos: 0 }), { code: /^MHV_MQTT_/ })

    const { messages: waiting } = await outboxInspect.run(
      worker.context(target),
      outboxInspect.input.parse({ topic: 'a/#' }),
    )
    assert.deepEqual(
      waiting.map(({ payload, qos }) => [payload, qos]),
      [
        ['two', 2],
        ['three', 2],
      ],
    )
    const context = worker.context(target)
    const drop = (input: object) => outboxDrop.run(context, outboxDrop.input.parse(input))
    assert.deepEqual(await drop({ topic: 'a/#', dry_run: true }), { dropped: 2, in_flight: 0 })
    assert.deepEqual(await drop({ ids: [waiting[1]?.id] }), { dropped: 1, in_flight: 0 })
    await assert.rejects(drop({}), { code: 'MHV_INPUT_INVALID' })

    broker = await startMosquitto({ port: broker.port, folder: broker.folder })
    try {
      await listener.session(target).subscribe('a/#', { qos: 2, signal: never, onMessage: seen.onMessage })
      await until(async () => (await status()).waiting === 0)
      const { delivered, removed, accepted } = await status()
      assert.deepEqual({ delivered, removed, accepted }, { delivered: 2, removed: 1, accepted: 3 })
    } finally {
      await broker.stop()
    }
  })

  test('MQ-04: what does not fit is refused while the broker is away', async () => {
    const broker = await startMosquitto()
    const target = brokerTarget(broker)
    await broker.stop()
    await using worker = await startMqttWorker({ settings: { outbox: { max_size: 3 } } })
    const ask = (topic: string, count: number) =>
      publish.run(
        worker.context(target),
        publish.input.parse({ messages: Array.from({ length: count }, () => ({ topic, payload: 'x', qos: 1 })) }),
      )
    assert.equal((await ask('mahavishnu/commands/7', 2)).accepted, 2)
    await assert.rejects(ask('mahavishnu/commands/7', 2), { code: 'MHV_MQTT_OUTBOX_FULL' })
    assert.equal((await ask('sensors/7/t', 1)).accepted, 1)
    assert.equal((await ask('sensors/7/t', 1)).accepted, 1)
    const { waiting, rejected, dropped } = await outboxStatus.run(worker.context(target), {})
    assert.deepEqual({ waiting, rejected, dropped }, { waiting: 3, rejected: 2, dropped: 1 })
  })

  test('MQ-06: what can never be sent is refused, not held', async () => {
    const broker = await startMosquitto({ passwords: { me: 'right-password' } })
    try {
      const target = brokerTarget(broker, { username: 'me', password: 'env:WRONG' })
      await using worker = await startMqttWorker({ secrets: { WRONG: 'wrong-password' } })
      const input = publish.input.parse({ topic: 'a', payload: 'x', qos: 1 })
      await assert.rejects(publish.run(worker.context(target), input), { code: 'MHV_MQTT_AUTH_FAILED' })
      assert.equal((await outboxStatus.run(worker.context(target), {})).accepted, 0)
    } finally {
      await broker.stop()
    }
  })
})

suite('standing subscriptions', { skip: mosquittoMissing() ?? false }, () => {
  let broker: Mosquitto
  before(async () => {
    broker = await startMosquitto()
  })
  after(() => broker?.stop())

  test('write messages to the journal, over a restart, and are found by device, topic and time', async () => {
    const target = brokerTarget(broker)
    const store = createMemoryStore()
    const subscriptions = [
      { name: 'telemetry', target: 'site-1', topic: 'sensors/#', qos: 1 as const },
      { name: 'sampled', target: 'site-1', topic: 'gateways/+/load', sample_every: 3, qos: 0 as const },
    ]
    const start = () => startMqttWorker({ store, settings: { subscriptions }, targets: { 'site-1': target } })
    await using sender = await startMqttWorker()
    const send = (topic: string, payload: string | Buffer, qos: 0 | 1 = 1) =>
      sender.session(target).publishNow({ topic, payload: Buffer.from(payload), qos, retain: false }, never)
    await sender.session(target).ready(never)

    const first = await start()
    await until(() => first.connection.standing().active === 2)
    for (const n of [1, 2, 3]) await send(`sensors/pump-${n % 2}/temperature`, `${20 + n}`)
    await send('sensors/pump-1/raw', Buffer.from([0, 255]))
    await send('sensors/pump-1/huge', Buffer.alloc(70_000, 65))
    for (let n = 1; n <= 7; n++) await send('gateways/g1/load', String(n), 0)
    await until(() => first.connection.standing().received === 12)
    await until(() => first.connection.standing().kept === 8)
    await first[Symbol.asyncDispose]()

    await using second = await start()
    await until(() => second.connection.standing().active === 2)
    const again = new Date().toISOString()
    await delay(5)
    await send('sensors/pump-1/temperature', '30')
    const ask = async (input: object) => messages.run(second.context(target), messages.input.parse(input))
    await until(async () => (await ask({})).messages.length === 9)

    const temperatures = await ask({ topic: 'sensors/+/temperature' })
    assert.deepEqual(
      temperatures.messages.map(({ payload }) => payload),
      ['30', '23', '22', '21'],
    )
    assert.deepEqual(
      (await ask({ device: 'pump-0' })).messages.map(({ topic }) => topic),
      ['sensors/pump-0/temperature'],
    )
    assert.deepEqual(
      (await ask({ device: 'g1' })).messages.map(({ payload }) => payload),
      ['7', '4', '1'],
    )
    assert.deepEqual(
      (await ask({ since: again })).messages.map(({ payload }) => payload),
      ['30'],
    )
    assert.equal((await ask({ until: again })).messages.length, 8)
    const [raw] = (await ask({ topic: 'sensors/pump-1/raw' })).messages
    assert.deepEqual([raw?.encoding, raw?.payload], ['base64', 'AP8='])
    const [huge] = (await ask({ topic: 'sensors/pump-1/huge' })).messages
    assert.deepEqual([huge?.bytes, huge?.truncated, huge?.payload.length], [70_000, true, 4_096])
    const pages: string[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page: { messages: readonly { payload: string }[]; cursor: string | null } = await ask({
        topic: 'sensors/+/temperature',
        limit: 1,
        ...(cursor === undefined ? {} : { cursor }),
      })
      pages.push(...page.messages.map(({ payload }) => payload))
      cursor = page.cursor
    }
    assert.deepEqual(pages, ['30', '23', '22', '21'])
  })

  test('are made again when the broker is back, and say meanwhile why they are not there', async () => {
    let own = await startMosquitto()
    const target = brokerTarget(own)
    await own.stop(true)
    const subscriptions = [{ name: 'late', target: 'site-1', topic: 'sensors/#' }]
    await using worker = await startMqttWorker({ settings: { subscriptions }, targets: { 'site-1': target } })
    await until(() => worker.connection.standing().failing.length === 1)
    assert.match(String(worker.connection.stats().standing_failing), /^late: MHV_MQTT_/)
    own = await startMosquitto({ port: own.port, folder: own.folder })
    try {
      await until(() => worker.connection.standing().active === 1, 20_000)
      assert.deepEqual(worker.connection.standing().failing, [])
    } finally {
      await own.stop()
    }
  })
})
