import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, recorder, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'
import { startTcpProxy } from '../helpers/tcp-proxy.ts'

const skip = mosquittoMissing()

/** Another client, at one broker: what it sends tells whether a subscription there is alive. */
async function sender(broker: Mosquitto) {
  const worker = await startMqttWorker({ settings: { presence_topic: '' } })
  const session = worker.session(brokerTarget(broker))
  return {
    send: async (topic: string, payload: string, qos: 0 | 1 | 2 = 1) => {
      await session.ready(never)
      await session.publishNow(message(topic, payload, qos), never)
    },
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  }
}

suite('MQ-03: failover', { skip }, () => {
  test('MQ-03: to the second broker and back, twice, with all subscriptions alive', async () => {
    let first = await startMosquitto()
    const { port } = first
    await using second = await startMosquitto()
    const settings = { failback_probe: 0.1, failback_after: 0.3, broker_switch_threshold: 3 }
    await using worker = await startMqttWorker({ settings })
    const session = worker.session(brokerTarget([first, second]))
    const heard = recorder()
    const filters = ['plain/topic', 'wild/+/x', 'deep/#', '$share/group/shared/#']
    const topics = ['plain/topic', 'wild/7/x', 'deep/1/2', 'shared/1']
    const subscriptions = []
    for (const [index, filter] of filters.entries())
      subscriptions.push(await session.subscribe(filter, { qos: (index % 3) as 0 | 1 | 2, signal: never, ...heard }))

    /** Every subscription gets what is sent at the broker in use, and this session's own messages too. */
    const alive = async (broker: Mosquitto, round: string) => {
      assert.ok(
        await until(() => session.endpoint() === broker.url, 10_000),
        `${round}: ${JSON.stringify(session.facts())}`,
      )
      await using other = await sender(broker)
      for (const topic of topics) await other.send(topic, round)
      await session.publishNow(message('deep/own', round), never)
      const expected = [...topics, 'deep/own'].map((topic) => `${topic} ${round}`)
      assert.ok(
        await until(() => expected.every((text) => heard.got.filter((each) => each === text).length === 1)),
        `${round}: ${heard.got.filter((text) => text.endsWith(round))}`,
      )
    }

    await alive(first, 'start')
    for (const round of ['one', 'two']) {
      await first.kill()
      await alive(second, `over ${round}`)
      // A new process that knows nothing: its folder has no persistence.
      await first.stop()
      first = await startMosquitto({ port })
      await alive(first, `back ${round}`)
    }
    const { switches, subscriptions: count, lost } = session.facts()
    assert.deepEqual([switches, count, lost], [4, filters.length, 2])
    for (const subscription of subscriptions) await subscription.close()
    assert.equal(session.facts().subscriptions, 0)
    await first.stop()
  })

  test('MQ-03: it goes back only when the first has been healthy for a time', async () => {
    let first = await startMosquitto()
    const { port } = first
    await using second = await startMosquitto()
    await using worker = await startMqttWorker({ settings: { failback_probe: 0.05, failback_after: 1 } })
    const session = worker.session(brokerTarget([first, second]))
    await session.ready(never)
    await first.stop()
    assert.ok(await until(() => session.endpoint() === second.url))
    first = await startMosquitto({ port })
    await delay(500)
    assert.equal(session.endpoint(), second.url)
    // It goes away once more, so that its time begins anew.
    await first.stop()
    await delay(200)
    first = await startMosquitto({ port })
    const since = performance.now()
    assert.ok(await until(() => session.endpoint() === first.url, 10_000))
    assert.ok(performance.now() - since > 900, `${performance.now() - since} ms`)
    await first.stop()
  })

  test('a short break is no failover: the same broker, its session and what came meanwhile', async () => {
    await using broker = await startMosquitto()
    const proxy = await startTcpProxy({ port: broker.port })
    await using worker = await startMqttWorker()
    const session = worker.session(brokerTarget({ url: `mqtt://127.0.0.1:${proxy.port}` } as Mosquitto))
    const heard = recorder()
    await session.subscribe('kept/#', { qos: 1, signal: never, ...heard })
    await using other = await sender(broker)
    await other.send('kept/1', 'a')
    assert.ok(await until(() => heard.got.length === 1))
    proxy.stallOpen()
    await other.send('kept/2', 'b')
    proxy.cut()
    assert.ok(await until(() => heard.got.length >= 2))
    assert.deepEqual([...new Set(heard.got)], ['kept/1 a', 'kept/2 b'])
    // The broker had kept the session: it was not asked again.
    const asked = (await broker.log()).match(/\tkept\/# \(QoS 1\)/g)
    assert.equal(asked?.length, 1)
    assert.deepEqual([session.facts().lost, session.facts().sessions_lost], [1, 0])
    await proxy.close()
  })

  test('MQ-01: a broker that has lost the session, and so what it had acknowledged for it, is found out', async () => {
    const before = await startMosquitto()
    await using worker = await startMqttWorker()
    const session = worker.session(brokerTarget(before))
    await session.subscribe('kept/#', { qos: 1, signal: never, ...recorder() })
    await before.kill()
    await before.stop()
    // Without persistence: it knows nothing of those before.
    await using after = await startMosquitto({ port: before.port })
    assert.ok(await until(() => session.endpoint() === after.url))
    assert.equal(session.facts().sessions_lost, 1)
    const warned = worker.log.lines.filter((line) => /has lost the session/.test(line.message))
    assert.deepEqual(
      warned.map(({ fields }) => fields['endpoint']),
      [after.url],
    )
  })

  test('what comes a second time is marked: the same text over two brokers, the same message id', async () => {
    await using first = await startMosquitto()
    await using second = await startMosquitto()
    await using worker = await startMqttWorker({ settings: { failback_after: 3_600 } })
    const session = worker.session(brokerTarget([first, second]))
    const heard = recorder()
    await session.subscribe('twice/#', { qos: 1, signal: never, ...heard })
    await using one = await sender(first)
    await one.send('twice/1', 'same')
    await one.send('twice/1', 'same')
    await first.kill()
    assert.ok(await until(() => session.endpoint() === second.url))
    await using two = await sender(second)
    await two.send('twice/1', 'same')
    await two.send('twice/1', 'new')
    const withId = { ...message('twice/2', 'x'), user_properties: { 'mhv-message-id': '01' } }
    await session.publishNow(withId, never)
    await session.publishNow(withId, never)
    assert.ok(await until(() => heard.messages.length === 6))
    const marks = heard.messages.map(({ duplicate }, index) => `${heard.got[index]} ${duplicate}`)
    assert.deepEqual(marks, [
      'twice/1 same false',
      'twice/1 same false',
      'twice/1 same true',
      'twice/1 new false',
      'twice/2 x false',
      'twice/2 x true',
    ])
    assert.equal(session.facts().duplicates, 2)
    await first.stop()
  })

  test('dead subscriptions on a live connection are found by a message to itself, and made again', async () => {
    await using broker = await startMosquitto()
    await using worker = await startMqttWorker({ settings: { subscription_health_check: 0.3 } })
    const session = worker.session(brokerTarget(broker, { client_id: 'watched' }))
    const heard = recorder()
    await session.subscribe('alive/#', { qos: 1, signal: never, ...heard })
    assert.ok(await until(async () => (await broker.log()).includes('mahavishnu/probe/watched')))
    await delay(700)
    assert.equal(worker.log.lines.filter(({ level }) => level === 'warn').length, 0)
    // The broker hangs for longer than a message to itself may take.
    broker.pause()
    const warned = () => worker.log.lines.some(({ message: text }) => text.includes('did not come back'))
    assert.ok(await until(warned, 3_000))
    broker.resume()
    await using other = await sender(broker)
    assert.ok(await until(() => session.state() === 'connected'))
    await other.send('alive/1', 'x')
    assert.ok(await until(() => heard.got.includes('alive/1 x')))
  })
})
