import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { OutboxMessage } from '../../src/workers/mqtt/outbox/outbox.ts'
import { publishPacket } from '../helpers/hostile-broker.ts'
import { type Mosquitto, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, recorder, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'
import {
  acknowledgement,
  CONNECT,
  connack,
  disconnect,
  PUBLISH,
  type ScriptedBroker,
  SUBSCRIBE,
  startScriptedBroker,
  suback,
} from '../helpers/scripted-broker.ts'

const targetOf = (...brokers: ScriptedBroker[]) => brokerTarget(brokers.map(({ url }) => ({ url }) as Mosquitto))

function held(topic: string, text: string, more: Partial<OutboxMessage> = {}): OutboxMessage {
  return { ...message(topic, text), qos: 1, overflow: 'reject', expires_at: null, ...more }
}

suite('brokers that fail in the middle of something', () => {
  test('MQ-02: what waits for its turn by the rate does not overtake what was lost with the connection', async () => {
    const read: string[] = []
    await using broker = await startScriptedBroker(({ type, topic, payload }, client) => {
      if (type !== PUBLISH || topic !== 't') return false
      read.push(payload)
      // It has read forty, and of them acknowledged thirty.
      if (client.number === 1 && read.length === 40) client.cut()
      return client.number === 1 && read.length > 30
    })
    const throttling = { max_publish_rate: 400, publish_burst: 50 }
    await using worker = await startMqttWorker({
      settings: { throttling, presence_topic: '', outbox: { replay_rate: 100_000 } },
    })
    const target = targetOf(broker)
    await worker.session(target).ready(never)
    const outbox = worker.connection.outboxes.of('site-1', { target, settings: worker.settings })
    const texts = Array.from({ length: 150 }, (_, n) => String(n))
    await outbox.accept(texts.map((text) => held('t', text)))
    assert.ok(await until(() => outbox.status().delivered === texts.length, 10_000), JSON.stringify(outbox.status()))
    assert.deepEqual([...new Set(read)], texts)
  })

  for (const late of [false, true]) {
    test(`closing does not wait for subscriptions that are being made again${late ? ', and takes back a connection that comes late' : ''}`, async () => {
      const asked: { id: number; send: (bytes: number[]) => void }[] = []
      await using broker = await startScriptedBroker(({ type, id }, client) => {
        if (type !== SUBSCRIBE || client.number === 1) return false
        asked.push({ id, send: client.send })
        return true
      })
      const worker = await startMqttWorker({ settings: { connect_timeout: 30 } })
      const session = worker.session(targetOf(broker))
      await session.subscribe('a', { qos: 1, signal: never, onMessage: () => undefined })
      broker.clients()[0]?.cut()
      assert.ok(await until(() => asked.length === 1))
      const closed = worker[Symbol.asyncDispose]().then(() => true)
      if (late) {
        await delay(20)
        for (const { id, send } of asked) send(suback(id))
      }
      assert.equal(await Promise.race([closed, delay(4_000).then(() => false)]), true)
      assert.ok(await until(() => broker.clients().length === 0))
    })
  }
})

suite('brokers that keep to nothing', () => {
  test('MQ-01: a broker that acknowledges nothing is left, its message kept, and the user told', async () => {
    const read: string[] = []
    await using broker = await startScriptedBroker(({ type, topic, payload }, client) => {
      if (type !== PUBLISH || topic !== 't') return false
      read.push(`${client.number} ${payload}`)
      return client.number < 3
    })
    await using worker = await startMqttWorker({ settings: { ack_timeout: 0.2 } })
    const target = targetOf(broker)
    await worker.session(target).ready(never)
    const outbox = worker.connection.outboxes.of('site-1', { target, settings: worker.settings })
    await outbox.accept([held('t', 'a')])
    assert.ok(await until(() => outbox.status().delivered === 1, 10_000), JSON.stringify(outbox.status()))
    assert.deepEqual(read, ['1 a', '2 a', '3 a'])
    assert.equal(outbox.status().resent, 2)
    const told = worker.log.lines.filter(({ fields }) =>
      /was not acknowledged within 0.2 s/.test(String(fields.message)),
    )
    assert.equal(told.length, 2)
  })

  test('MQ-03: one of several brokers that acknowledges nothing is given up for the next', async () => {
    await using first = await startScriptedBroker(({ type, topic }) => type === PUBLISH && topic === 't')
    await using second = await startScriptedBroker()
    await using worker = await startMqttWorker({ settings: { ack_timeout: 0.1, broker_switch_threshold: 2 } })
    const target = targetOf(first, second)
    await worker.session(target).ready(never)
    const outbox = worker.connection.outboxes.of('site-1', { target, settings: worker.settings })
    await outbox.accept([held('t', 'a')])
    assert.ok(await until(() => outbox.status().delivered === 1, 10_000))
    assert.deepEqual([first.connections(), worker.session(target).endpoint()], [2, second.url])
  })

  test('acknowledgements of nothing, and twice, are no outcome of anything else', async () => {
    const sent: { topic: string; id: number }[] = []
    await using broker = await startScriptedBroker(({ type, topic, id, qos }, client) => {
      if (type !== PUBLISH || !topic.startsWith('t')) return false
      sent.push({ topic, id })
      if (topic !== 't/1') return false
      const kind = qos === 2 ? 'pubrec' : 'puback'
      // The ids that come next are refused before anything has them, and the one that is asked about is answered twice.
      for (let next = id + 1; next < id + 5; next++) client.send(acknowledgement('puback', next, 16))
      client.send(acknowledgement('pubcomp', 60_000, 146))
      for (let twice = 0; twice < 2; twice++) client.send(acknowledgement(kind, id))
      return true
    })
    await using worker = await startMqttWorker({ settings: { presence_topic: '' } })
    const session = worker.session(targetOf(broker))
    await session.ready(never)
    for (const qos of [1, 2] as const) {
      // What came before its answer has been read by then; its second answer comes while the next message is on its way.
      const first = await session.publishNow(message('t/1', 'x', qos), never)
      const second = await session.publishNow(message('t/2', 'y', qos), never)
      assert.deepEqual([first.reason_code, second.reason_code], [0, 0], `QoS ${qos}`)
    }
    assert.equal(session.facts().lost, 0)
  })

  for (const [reason, name] of [
    [145, 'a packet id in use'],
    [151, 'a quota that is used up'],
  ] as const) {
    test(`MQ-01: ${name} is no outcome: the message is held and sent again`, async () => {
      let refused = 0
      await using broker = await startScriptedBroker(({ type, topic, id }, client) => {
        if (type !== PUBLISH || topic !== 't' || refused > 0) return false
        refused += 1
        client.send(acknowledgement('puback', id, reason))
        return true
      })
      await using worker = await startMqttWorker()
      const target = targetOf(broker)
      await worker.session(target).ready(never)
      const outbox = worker.connection.outboxes.of('site-1', { target, settings: worker.settings })
      await outbox.accept([held('t', 'a')])
      assert.ok(await until(() => outbox.status().delivered === 1))
      assert.deepEqual([refused, outbox.status().refused, outbox.status().resent], [1, 0, 1])
    })
  }

  for (const [name, property] of [
    ['receive maximum', [0x21, 0, 0]],
    ['maximum packet size', [0x27, 0, 0, 0, 0]],
  ] as const) {
    test(`a ${name} of 0 is refused with its reason: nothing could ever be sent`, async () => {
      await using broker = await startScriptedBroker(({ type }, client) => {
        if (type === CONNECT) client.send(connack(property))
        return type === CONNECT
      })
      await using worker = await startMqttWorker()
      await assert.rejects(
        worker.session(targetOf(broker)).ready(AbortSignal.timeout(4_000)),
        /: .*(0|zero)|MHV_MQTT_CONNECT/,
      )
    })
  }

  test('a broker that wants a sign of life once a day is asked as often as the settings say', async () => {
    let pings = 0
    await using broker = await startScriptedBroker(({ type }, client) => {
      if (type === CONNECT) client.send(connack([0x13, 0xff, 0xff]))
      if (type === 12) pings += 1
      return type === CONNECT
    })
    await using worker = await startMqttWorker({ settings: { keepalive: 5 } })
    await worker.session(targetOf(broker)).ready(never)
    assert.ok(await until(() => pings > 0, 9_000))
  })

  test('a session that another client takes over is no endless fight, and the user is told', async () => {
    await using broker = await startScriptedBroker(({ type }, client) => {
      if (type === CONNECT) {
        client.send(connack())
        // After it has been there for so long that the next wait would be a short one.
        setTimeout(() => client.send(disconnect(142)), 5_100)
      }
      return type === CONNECT
    })
    await using worker = await startMqttWorker({ settings: { presence_topic: '' } })
    const session = worker.session(targetOf(broker))
    await session.ready(never)
    assert.ok(await until(() => session.state() === 'refused', 9_000), session.state())
    await delay(300)
    assert.equal(broker.connections(), 1)
    const { last_error } = session.facts()
    assert.match(String(last_error), /^MHV_MQTT_CONNECT_REJECTED: .*taken over by another client.*client_id of its own/)
  })

  test('what a broker says at the end is text, and nothing that a terminal would obey', async () => {
    await using broker = await startScriptedBroker()
    await using worker = await startMqttWorker()
    const session = worker.session(targetOf(broker))
    await session.ready(never)
    broker.clients()[0]?.send(disconnect(139, 'bye\u001b]0;owned\u0007'))
    broker.clients()[0]?.cut()
    assert.ok(await until(() => session.facts().lost === 1))
    const said = worker.log.lines.map(({ fields }) => String(fields.message)).find((text) => text.includes('bye'))
    assert.match(String(said), /reason 139: server shutting down; it says: bye \]0;owned /)
  })

  test('a connection that is cut as soon as it is made is tried less and less often', async () => {
    await using broker = await startScriptedBroker(({ type }, client) => {
      if (type !== CONNECT) return false
      client.send(connack())
      setImmediate(() => client.cut())
      return true
    })
    await using worker = await startMqttWorker({ settings: { reconnect_base: 0.1, reconnect_cap: 10 } })
    const session = worker.session(targetOf(broker))
    await assert.rejects(
      session
        .ready(never)
        .then(() => delay(1_500))
        .then(() => Promise.reject(new Error('over'))),
      /over|MQTT/,
    )
    assert.ok(broker.connections() < 15, `${broker.connections()} connections`)
  })

  test('two sessions of one process with one client id are refused before they fight', async () => {
    await using broker = await startScriptedBroker()
    await using worker = await startMqttWorker()
    const target = brokerTarget({ url: broker.url } as Mosquitto, { client_id: 'one' })
    const session = worker.session(target)
    await session.ready(never)
    const other = { ...worker.settings, keepalive: 77 }
    assert.throws(() => worker.connection.broker({ target, settings: other }), {
      code: 'MHV_MQTT_CONNECT_REJECTED',
      message: /client_id "one" is in use/,
    })
    // What is no matter of the connection makes no other one.
    const same = { ...worker.settings, request_timeout: 7, outbox: { ...worker.settings.outbox, max_size: 7 } }
    assert.equal(worker.connection.broker({ target, settings: same }), session)
  })
})

suite('one message that a broker ends the connection for', () => {
  test('MQ-01: is found and given up with the reason, and all others arrive, each topic in its order', async () => {
    const taken: string[] = []
    await using broker = await startScriptedBroker(({ type, topic, payload }, client) => {
      if (type !== PUBLISH || topic.startsWith('mahavishnu')) return false
      if (topic === 'poison') {
        client.send(disconnect(135))
        client.cut()
        return true
      }
      taken.push(`${topic} ${payload}`)
      return false
    })
    await using worker = await startMqttWorker({ settings: { outbox: { replay_rate: 100_000 } } })
    const target = targetOf(broker)
    const session = worker.session(target)
    await session.ready(never)
    const outbox = worker.connection.outboxes.of('site-1', { target, settings: worker.settings })
    const texts = Array.from({ length: 20 }, (_, n) => String(n))
    const made = await outbox.accept([
      ...texts.map((text) => held('a', text)),
      held('poison', 'x'),
      ...texts.map((text) => held('b', text)),
    ])
    assert.ok(await until(() => outbox.status().waiting === 0, 8_000), JSON.stringify(outbox.status()))
    const outcome = made.outcomes()[20]
    assert.equal(outcome?.state, 'refused')
    assert.match(String(outcome?.state === 'refused' && outcome.error.message), /reason 135: not authorized/)
    for (const topic of ['a', 'b']) {
      const found = [...new Set(taken)].filter((text) => text.startsWith(topic)).map((text) => text.slice(2))
      assert.deepEqual(found, texts)
    }
    const { delivered, refused } = outbox.status()
    assert.deepEqual([delivered, refused], [40, 1])
    await session.ready(never)
  })
})

suite('a session that is not what the broker says', () => {
  test('MQ-03: subscriptions that a broker says it has, and has not, are found dead and made again', async () => {
    const PROBE = 'mahavishnu/probe/lied-to'
    const asked: string[] = []
    const probed = new Set<number>()
    let echoes = 0
    await using broker = await startScriptedBroker(({ type, body, topic, payload }, client) => {
      if (type === CONNECT && client.number > 1) {
        client.send(connack([], { present: true }))
        return true
      }
      if (type === SUBSCRIBE) {
        if (body.includes('alive/#')) asked.push(`alive ${client.number}`)
        if (body.includes(PROBE)) probed.add(client.number)
      }
      if (type === PUBLISH && topic === PROBE && probed.has(client.number)) {
        echoes += 1
        client.send(publishPacket(PROBE, Buffer.from(payload)))
      }
      return false
    })
    await using worker = await startMqttWorker({ settings: { subscription_health_check: 0.15 } })
    const target = brokerTarget({ url: broker.url } as Mosquitto, { client_id: 'lied-to' })
    await worker.session(target).subscribe('alive/#', { qos: 1, signal: never, onMessage: () => undefined })
    assert.ok(await until(() => echoes >= 2))
    broker.clients()[0]?.cut()
    assert.ok(await until(() => asked.includes('alive 2')), JSON.stringify(asked))
  })
})

suite('consumers that fail', () => {
  for (const qos of [1, 2] as const) {
    test(`QoS ${qos}: what a consumer failed with takes nobody's place: others go on, and its room is free again`, async () => {
      await using broker = await startMosquitto({ config: ['max_inflight_messages 3'] })
      const throttling = { receive_maximum: 3 }
      await using worker = await startMqttWorker({ settings: { throttling } })
      const session = worker.session(brokerTarget(broker))
      const heard = recorder()
      await session.subscribe('good/#', { qos, signal: never, ...heard })
      const gate = Promise.withResolvers<void>()
      const bad = await session.subscribe('bad/#', { qos, signal: never, onMessage: () => gate.promise })
      await using other = await startMqttWorker()
      const sender = other.session(brokerTarget(broker))
      await sender.ready(never)
      for (let n = 0; n < 5; n++) await sender.publishNow(message(`bad/${n}`, 'x', qos), never)
      gate.reject(new Error('no'))
      await assert.rejects(bad.closed, /no/)
      for (let n = 0; n < 5; n++) await sender.publishNow(message(`good/${n}`, 'x', qos), never)
      assert.ok(await until(() => new Set(heard.got).size === 5, 4_000), JSON.stringify([heard.got, session.facts()]))
      assert.equal(session.facts().lost, 1)
    })
  }
})
