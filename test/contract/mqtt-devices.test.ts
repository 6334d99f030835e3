import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { startDeviceSimulator } from '../../src/testing/device-simulator.ts'
import type { CommandBehaviour } from '../../src/testing/simulated-device.ts'
import { deviceStatus } from '../../src/workers/mqtt/devices/device-status.ts'
import { publishToDevices } from '../../src/workers/mqtt/devices/publish-to-devices.ts'
import { publish } from '../../src/workers/mqtt/publish/publish.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, startMqttWorker, type TestMqttWorker } from '../helpers/mqtt-context.ts'

const skip = mosquittoMissing()
/** A broker that drops nothing for a client that is behind: the devices share a few connections here. */
const ROOMY = ['max_queued_messages 0', 'max_inflight_messages 0']

const named = (count: number, prefix = 'd') => Array.from({ length: count }, (_, index) => `${prefix}-${index + 1}`)

for (const protocol of ['5', '3.1.1'] as const) {
  suite(`commands to devices over MQTT ${protocol}`, { skip }, () => {
    let broker: Mosquitto
    let worker: TestMqttWorker
    const context = () => worker.context(brokerTarget(broker, { protocol }))
    const command = (device_ids: readonly string[], more: object = {}) =>
      publishToDevices.run(
        context(),
        publishToDevices.input.parse({ device_ids, command: { action: 'ping' }, seconds: 1, ...more }),
      )

    before(async () => {
      broker = await startMosquitto({ config: ROOMY })
      worker = await startMqttWorker()
    })
    after(async () => {
      await worker?.[Symbol.asyncDispose]()
      await broker?.stop()
    })

    test('the table tells what each device has made of it', async () => {
      const behaviours: readonly CommandBehaviour[] = [
        'acknowledge',
        'reject',
        'ignore',
        'late',
        'duplicate',
        'garbage',
        'impostor',
      ]
      await using devices = await startDeviceSimulator({
        url: broker.url,
        ids: behaviours,
        connections: 'each',
        protocol,
        behaviour: (_, index) => ({ command: behaviours[index] ?? 'ignore', late_ms: 300 }),
      })
      const data = await command(behaviours)
      assert.deepEqual(
        data.table.map(({ device_id, state, message: said }) => [device_id, state, said]),
        [
          ['reject', 'rejected', 'not now'],
          ['ignore', 'timed_out', null],
          ['garbage', 'timed_out', null],
          ['impostor', 'timed_out', null],
          ['acknowledge', 'acknowledged', null],
          ['late', 'acknowledged', null],
          ['duplicate', 'acknowledged', null],
        ],
      )
      assert.deepEqual([data.sent, data.acknowledged, data.rejected, data.timed_out, data.complete], [7, 3, 1, 3, true])
      // The impostor is dropped before anybody sees it: identity.mismatch is reject.
      assert.deepEqual(data.ignored, { duplicates: 2, invalid: 5, impostors: 0, strays: 0 })
      for (const [id, device] of devices.devices) assert.deepEqual(device.commands, [data.command_id], id)
      const late = data.table.find(({ device_id }) => device_id === 'late')
      assert.ok((late?.seconds ?? 0) >= 0.29, `${late?.seconds}`)
    })

    test('each device gets the command once, with its id and its end', async () => {
      await using devices = await startDeviceSimulator({ url: broker.url, ids: named(300), connections: 3, protocol })
      const data = await command(named(300), { command_id: 'order-66', rows: 0 })
      assert.deepEqual([data.acknowledged, data.table, data.complete], [300, [], false])
      assert.ok(
        [...devices.devices.values()].every(({ commands }) => commands.length === 1 && commands[0] === 'order-66'),
      )
      assert.ok(data.answer_seconds !== null && data.answer_seconds.p50 <= data.answer_seconds.max)
    })

    test('what the broker gives to nobody is not waited for, where it says so', async () => {
      const began = Date.now()
      const data = await command(['nobody-1', 'nobody-2'], { seconds: 2 })
      if (protocol === '5') {
        assert.deepEqual([data.unreachable, data.timed_out], [2, 0])
        assert.ok(Date.now() - began < 1_500)
        // The same for a single message, through the outbox.
        const one = publish.input.parse({ topic: 'mahavishnu/commands/nobody-1', payload: 'x', qos: 1 })
        assert.equal((await publish.run(context(), one)).no_subscribers, 1)
      } else assert.deepEqual([data.unreachable, data.timed_out], [0, 2])
    })

    test('a cancellation ends it, and the table so far is in the output', async () => {
      await using _devices = await startDeviceSimulator({
        url: broker.url,
        ids: ['a', 'b'],
        protocol,
        behaviour: (id) => ({ command: id === 'a' ? 'acknowledge' : 'ignore' }),
      })
      const cancel = new AbortController()
      const ctx = { ...context(), signal: cancel.signal }
      const running = publishToDevices.run(
        ctx,
        publishToDevices.input.parse({ device_ids: ['a', 'b'], command: {}, seconds: 60 }),
      )
      setTimeout(() => cancel.abort(new Error('enough')), 300)
      await assert.rejects(running, /enough/)
      const { text } = await ctx.output.collect('stdout')
      assert.match(text, /^a\tacknowledged\t[\d.]+\nb\ttimed_out\t-\n$/)
    })
  })
}

suite('commands to devices', { skip }, () => {
  test('a broker that goes away in the middle: every device gets it, and none acts twice', async () => {
    let broker = await startMosquitto({ config: ROOMY })
    const { port, folder } = broker
    await using worker = await startMqttWorker({
      settings: { throttling: { max_publish_rate: 400, publish_burst: 1 } },
    })
    const ids = named(600)
    const devices = await startDeviceSimulator({ url: broker.url, ids, connections: 2 })
    try {
      const running = publishToDevices.run(
        worker.context(brokerTarget(broker)),
        publishToDevices.input.parse({ device_ids: ids, command: { n: 1 }, seconds: 3 }),
      )
      await delay(500)
      await broker.kill()
      await delay(500)
      broker = await startMosquitto({ port, folder, config: ROOMY })
      const data = await running
      assert.equal(data.devices, 600)
      const { acknowledged, rejected, timed_out, unreachable, not_sent } = data
      assert.equal(acknowledged + rejected + timed_out + unreachable + not_sent, 600)
      // A broker that was killed forgets what it had acknowledged and not passed on; its devices come back at their own time.
      assert.ok(acknowledged > 300, `${acknowledged} acknowledged`)
      assert.equal(not_sent + rejected, 0)
      for (const [id, { commands }] of devices.devices)
        assert.equal(new Set(commands).size, Math.min(1, commands.length), id)
    } finally {
      await devices.close()
      await broker.stop()
    }
  })

  test('without a broker nothing was sent, and the reason is told', async () => {
    const broker = await startMosquitto()
    await using worker = await startMqttWorker({ settings: { connect_timeout: 1 } })
    const target = brokerTarget(broker)
    await broker.stop()
    const running = publishToDevices.run(
      worker.context(target),
      publishToDevices.input.parse({ device_ids: ['a'], command: {} }),
    )
    await assert.rejects(running, { code: 'MHV_MQTT_CONNECT_REFUSED' })
  })

  test('what could never be sent in time is refused before anything is sent', async () => {
    await using broker = await startMosquitto()
    await using worker = await startMqttWorker({
      settings: { throttling: { max_publish_rate: 10, publish_burst: 10 } },
    })
    const ctx = worker.context(brokerTarget(broker), { timeoutMs: 5_000 })
    const call = publishToDevices.input.parse({ device_ids: named(1_000), command: {} })
    await assert.rejects(publishToDevices.run(ctx, call), {
      code: 'MHV_INPUT_INVALID',
      message: /1000 messages take 99 s at 10 a second, and the run has [45] s/,
    })
  })

  test('hostile ids, topics and fields are refused before anything is sent', async () => {
    await using broker = await startMosquitto()
    await using worker = await startMqttWorker()
    const ctx = worker.context(brokerTarget(broker))
    const rows: readonly (readonly [input: object, code: string])[] = [
      [{ device_ids: ['a/b'] }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['+'] }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['ok', 'a\u0000'] }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['a'], topic: 'no/device' }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['a'], topic: '$SYS/{device_id}' }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['a'], topic: 'x-{device_id}' }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['a'], topic: 'x/#/{device_id}' }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['a'], command_id: 'a/b' }, 'MHV_MQTT_TOPIC_INVALID'],
      [{ device_ids: ['a'], command: { command_id: 'x' } }, 'MHV_INPUT_INVALID'],
      [{ device_ids: ['a'], command: { fill: 'x'.repeat(1_100_000) } }, 'MHV_MQTT_MESSAGE_TOO_LARGE'],
    ]
    for (const [given, code] of rows) {
      const call = publishToDevices.input.parse({ command: {}, ...given })
      await assert.rejects(publishToDevices.run(ctx, call), { code }, JSON.stringify(given).slice(0, 100))
    }
    assert.equal(publishToDevices.input.safeParse({ device_ids: ['a', 'a'], command: {} }).success, false)
  })

  test('answers are not believed before their device was sent to, nor for another command', async () => {
    await using broker = await startMosquitto({ config: ROOMY })
    await using worker = await startMqttWorker({
      settings: { identity: { mismatch: 'mark' }, throttling: { max_publish_rate: 20, publish_burst: 1 } },
    })
    const ids = named(30)
    await using devices = await startDeviceSimulator({ url: broker.url, ids, behaviour: () => ({ command: 'ignore' }) })
    const running = publishToDevices.run(
      worker.context(brokerTarget(broker)),
      publishToDevices.input.parse({ device_ids: ids, command: {}, command_id: 'known', seconds: 0.7 }),
    )
    await delay(200)
    const yes = (id: string, more: object = {}) => ({
      topic: `mahavishnu/acks/${id}/known`,
      payload: JSON.stringify({ status: 'ok', ...more }),
    })
    await devices.sendAs('d-30', yes('d-30'))
    await delay(1_600)
    await devices.sendAs('d-1', yes('d-1', { command_id: 'another' }))
    await devices.sendAs('d-2', yes('d-2', { device_id: 'd-3' }))
    await devices.sendAs('d-4', { ...yes('d-4'), correlation_data: Buffer.from('another') })
    await devices.sendAs('d-1', yes('stranger'))
    await devices.sendAs('d-5', yes('d-5'))
    const data = await running
    assert.deepEqual(
      data.table.filter(({ state }) => state === 'acknowledged').map(({ device_id }) => device_id),
      ['d-5'],
    )
    assert.deepEqual(data.ignored, { duplicates: 0, invalid: 0, impostors: 1, strays: 4 })
    const counted = Object.fromEntries(
      worker.connection
        .metrics()
        .flatMap((sample) =>
          sample.name === 'mqtt_device_messages_refused_total' && 'value' in sample
            ? [[sample.labels?.reason, sample.value]]
            : [],
        ),
    )
    assert.deepEqual(counted, { impostor: 1, stray: 4 })
  })

  test('10,000 devices acknowledge one command', { timeout: 120_000 }, async (t) => {
    await using broker = await startMosquitto({ config: ROOMY })
    await using worker = await startMqttWorker()
    const ids = named(10_000)
    await using devices = await startDeviceSimulator({ url: broker.url, ids, connections: 10, status: false })
    const data = await publishToDevices.run(
      worker.context(brokerTarget(broker), { timeoutMs: 60_000 }),
      publishToDevices.input.parse({ device_ids: ids, command: { n: 1 } }),
    )
    t.diagnostic(`${data.seconds.toFixed(2)} s for ${data.acknowledged} acknowledgements`)
    assert.deepEqual([data.acknowledged, data.sent, devices.counts().received], [10_000, 10_000, 10_000])
  })
})

suite('the state of devices', { skip }, () => {
  const look = (ctx: ReturnType<TestMqttWorker['context']>, device_ids: readonly string[]) =>
    deviceStatus.run(ctx, deviceStatus.input.parse({ device_ids, quiet_seconds: 0.2 }))

  test('is what the broker keeps, and unknown where nobody said anything', async () => {
    await using broker = await startMosquitto()
    await using worker = await startMqttWorker()
    const target = brokerTarget(broker)
    const devices = await startDeviceSimulator({ url: broker.url, ids: ['here', 'gone', 'left'], connections: 'each' })
    await devices.lose(['gone'])
    await delay(200)
    const session = worker.session(target)
    await session.ready(never)
    const keep = (topic: string, text: string) => session.publishNow({ ...message(topic, text), retain: true }, never)
    await keep('mahavishnu/status/plain', 'online')
    await keep('mahavishnu/status/escape', '\u001b[2Jonline')
    await keep('mahavishnu/status/proto', '{"__proto__":{"state":"online"}}')
    await keep('mahavishnu/status/liar', '{"device_id":"here","state":"online"}')
    await keep('mahavishnu/ota/plain/state', '{"rollout_id":"r-1","state":"installing","version":"2"}')
    const asked = ['here', 'gone', 'left', 'plain', 'escape', 'proto', 'liar', 'never-seen']
    const data = await look(worker.context(target), asked)
    assert.deepEqual(
      data.devices.map(({ device_id, state, source }) => [device_id, state, source]),
      [
        ['here', 'online', 'retained'],
        ['gone', 'offline', 'retained'],
        ['left', 'online', 'retained'],
        ['plain', 'online', 'retained'],
        ['escape', 'unknown', 'retained'],
        ['proto', 'unknown', 'retained'],
        ['liar', 'unknown', 'none'],
        ['never-seen', 'unknown', 'none'],
      ],
    )
    assert.equal(data.unknown, 4)
    assert.deepEqual(data.devices[3]?.ota, { rollout_id: 'r-1', state: 'installing', version: '2' })
    await devices.close()
  })

  test('comes from the records of a standing subscription where the broker keeps nothing', async () => {
    await using broker = await startMosquitto()
    const target = brokerTarget(broker)
    await using worker = await startMqttWorker({
      targets: { 'site-1': target },
      settings: { subscriptions: [{ name: 'all', target: 'site-1', topic: 'mahavishnu/status/#', qos: 1 }] },
    })
    const session = worker.session(target)
    await session.ready(never)
    while (worker.connection.standing().active === 0) await delay(20)
    await session.publishNow(message('mahavishnu/status/pump', '{"state":"ready"}'), never)
    await session.publishNow(message('mahavishnu/status/pump-2', '{"state":"other"}'), never)
    while (worker.connection.standing().kept < 2) await delay(20)
    const data = await look(worker.context(target), ['pump'])
    assert.deepEqual(
      data.devices.map(({ state, source, status }) => [state, source, status]),
      [['ready', 'record', '{"state":"ready"}']],
    )
    assert.ok(Date.now() - Date.parse(data.devices[0]?.recorded_at ?? '') < 60_000)
  })
})
