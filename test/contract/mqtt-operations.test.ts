import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { publish } from '../../src/workers/mqtt/publish/publish.ts'
import { brokerStatus } from '../../src/workers/mqtt/subscribe/broker-status.ts'
import { request } from '../../src/workers/mqtt/subscribe/request.ts'
import { retained } from '../../src/workers/mqtt/subscribe/retained.ts'
import { subscribe } from '../../src/workers/mqtt/subscribe/subscribe.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import {
  brokerTarget,
  message,
  never,
  recorder,
  startMqttWorker,
  type TestMqttWorker,
} from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'

const run = promisify(execFile)
const skip = mosquittoMissing()

for (const protocol of ['5', '3.1.1'] as const) {
  suite(`operations of mqtt over MQTT ${protocol}`, { skip }, () => {
    let broker: Mosquitto
    let worker: TestMqttWorker
    const target = () => brokerTarget(broker, { protocol })
    const ctx = () => worker.context(target())

    before(async () => {
      broker = await startMosquitto({ config: ['sys_interval 1'] })
      worker = await startMqttWorker()
    })
    after(async () => {
      await worker?.[Symbol.asyncDispose]()
      await broker?.stop()
    })

    for (const qos of [0, 1, 2] as const) {
      test(`a message of QoS ${qos} reaches an independent subscriber`, async () => {
        const topic = `independent/${qos}`
        const reading = run('mosquitto_sub', [
          '-p',
          String(broker.port),
          '-t',
          topic,
          '-q',
          '2',
          '-C',
          '1',
          '-W',
          '10',
          '-F',
          '%t %p',
        ])
        assert.ok(await until(async () => (await broker.log()).includes(`${topic} (QoS 2)`)))
        const data = await publish.run(ctx(), publish.input.parse({ topic, payload: { n: 1 }, qos }))
        assert.equal(data.state, qos === 0 ? 'sent' : 'delivered')
        assert.equal(data.endpoint, broker.url)
        assert.equal((await reading).stdout.trim(), `${topic} {"n":1}`)
      })
    }

    test('what another program publishes is collected by wildcard, with its text or its bytes', async () => {
      const collecting = subscribe.run(ctx(), subscribe.input.parse({ filters: ['plant/+/t', 'plant/#'], count: 4 }))
      assert.ok(await until(async () => (await broker.log()).includes('plant/# (QoS 0)')))
      await run('mosquitto_pub', ['-p', String(broker.port), '-t', 'plant/a/t', '-m', 'ü 1'])
      await run('mosquitto_pub', ['-p', String(broker.port), '-t', 'plant/b', '-m', '\u00ff2'])
      await publish.run(ctx(), publish.input.parse({ topic: 'plant/c', payload: 'ff00', encoding: 'hex' }))
      const { messages, ended_by } = await collecting
      assert.equal(ended_by, 'count')
      const texts = messages.map(({ topic, payload, encoding }) => [topic, payload, encoding])
      assert.deepEqual(texts.at(-1), ['plant/c', '/wA=', 'base64'])
      assert.deepEqual(texts[0], ['plant/a/t', 'ü 1', 'utf8'])
      // Two filters take this one, and the broker sends it for each.
      assert.equal(texts.filter(([topic]) => topic === 'plant/a/t').length, 2)
    })

    test('a batch keeps its order; a condition on the payload ends the wait', async () => {
      const waiting = subscribe.run(
        ctx(),
        subscribe.input.parse({ filters: ['batch/x'], qos: 1, until: { path: '/n', equals: 30 } }),
      )
      assert.ok(await until(async () => (await broker.log()).includes('batch/x (QoS 1)')))
      const messages = Array.from({ length: 50 }, (_, n) => ({ topic: 'batch/x', payload: { n }, qos: 1 as const }))
      const sent = await publish.run(ctx(), publish.input.parse({ messages }))
      assert.deepEqual([sent.state, sent.messages, sent.delivered], ['delivered', 50, 50])
      const { messages: got, ended_by } = await waiting
      assert.equal(ended_by, 'condition')
      assert.deepEqual(
        got.map(({ payload }) => JSON.parse(payload).n),
        Array.from({ length: 31 }, (_, n) => n),
      )
    })

    test('kept messages are shown, and taken away by an empty one', async () => {
      const keep = (topic: string, payload: string) =>
        publish.run(ctx(), publish.input.parse({ topic, payload, qos: 1, retain: true }))
      await keep('kept/b', 'two')
      await keep('kept/a', 'one')
      const look = async () => {
        const found = await retained.run(ctx(), retained.input.parse({ filters: ['kept/+', 'kept/a'] }))
        return [found.complete, ...found.messages.map(({ topic, payload }) => `${topic} ${payload}`)]
      }
      assert.deepEqual(await look(), [true, 'kept/a one', 'kept/b two'])
      await keep('kept/b', '')
      assert.deepEqual(await look(), [true, 'kept/a one'])
    })

    test('a request is answered by whoever listens, and only its own answer counts', async () => {
      const session = worker.session(target())
      const responder = await session.subscribe('ask/+', {
        qos: 1,
        signal: never,
        async onMessage({ payload, response_topic, correlation_data }) {
          const topic = response_topic ?? 'answers/1'
          if (protocol === '5') await session.publishNow(message(topic, 'somebody else’s', 1), never)
          await session.publishNow({ ...message(topic, `re: ${Buffer.from(payload)}`), correlation_data }, never)
        },
      })
      const more = protocol === '5' ? {} : { response_topic: 'answers/1' }
      const { response } = await request.run(ctx(), request.input.parse({ topic: 'ask/1', payload: 'hi', ...more }))
      assert.equal(response.payload, 're: hi')
      await responder.close()
      const unanswered = request.run(ctx(), request.input.parse({ topic: 'ask/1', seconds: 0.3, ...more }))
      await assert.rejects(unanswered, { code: 'MHV_MQTT_RESPONSE_TIMEOUT' })
    })

    test('the broker tells about itself', async () => {
      await until(async () => (await brokerStatus.run(ctx(), { quiet_seconds: 0.3 })).version !== null)
      const status = await brokerStatus.run(ctx(), brokerStatus.input.parse({}))
      assert.equal(status.endpoint, broker.url)
      assert.equal(status.state, 'connected')
      assert.match(status.version ?? '', /^mosquitto version 2/)
      assert.ok((status.clients_connected ?? 0) >= 1)
    })

    test('all runs share one connection', async () => {
      const opened = (await broker.log()).match(/New client connected .* as mahavishnu-/g)
      assert.equal(opened?.length, 1)
    })

    test('bad topics, large messages and half a batch are refused before anything is sent', async () => {
      const bad = (input: object) => publish.run(ctx(), publish.input.parse(input))
      await assert.rejects(bad({ topic: 'a/+/b' }), { code: 'MHV_MQTT_TOPIC_INVALID' })
      await assert.rejects(bad({ topic: '$SYS/x' }), { code: 'MHV_MQTT_TOPIC_INVALID' })
      await assert.rejects(bad({ topic: 'big', payload: 'x'.repeat(1_048_577) }), {
        code: 'MHV_MQTT_MESSAGE_TOO_LARGE',
      })
      const heard = recorder()
      const listening = await worker.session(target()).subscribe('half/#', { qos: 0, signal: never, ...heard })
      await assert.rejects(bad({ messages: [{ topic: 'half/1' }, { topic: 'half/#' }] }), {
        code: 'MHV_MQTT_TOPIC_INVALID',
      })
      await bad({ topic: 'half/end', qos: 1 })
      assert.ok(await until(() => heard.got.length > 0))
      assert.deepEqual(heard.got, ['half/end '])
      await listening.close()
    })
  })
}

suite('topic rules of mqtt', { skip }, () => {
  test('decide by topic and by who asks', async () => {
    await using broker = await startMosquitto()
    const rules = [
      { principals: ['agent:*'], topics: ['mahavishnu/config/#'], decision: 'deny' as const },
      { topics: ['mahavishnu/#', 'sensors/#'], decision: 'allow' as const },
    ]
    await using worker = await startMqttWorker({ settings: { topic_rules: rules } })
    const target = brokerTarget(broker)
    const send = (principal: string, topic: string) =>
      publish.run(worker.context(target, { principal }), publish.input.parse({ topic, qos: 1 }))
    const hear = (principal: string, filter: string) =>
      subscribe.run(worker.context(target, { principal }), subscribe.input.parse({ filters: [filter], seconds: 0.1 }))
    const denied = { code: 'MHV_MQTT_TOPIC_DENIED' }
    assert.equal((await send('user:a', 'mahavishnu/config/d1')).state, 'delivered')
    await assert.rejects(send('agent:b', 'mahavishnu/config/d1'), denied)
    await assert.rejects(send('user:a', 'other'), denied)
    assert.equal((await hear('agent:b', 'sensors/+/t')).ended_by, 'time')
    // It would also take what is denied.
    await assert.rejects(hear('agent:b', 'mahavishnu/#'), denied)
    await assert.rejects(hear('user:a', '#'), denied)
  })
})
