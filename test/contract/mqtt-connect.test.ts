import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { toMhvError } from '../../src/core/errors.ts'
import { pingBroker } from '../../src/workers/mqtt/client/ping.ts'
import { publish } from '../../src/workers/mqtt/publish/publish.ts'
import { subscribe } from '../../src/workers/mqtt/subscribe/subscribe.ts'
import {
  type Mosquitto,
  type MosquittoOptions,
  mosquittoMissing,
  startMosquitto,
  type TestAuthority,
  testAuthority,
} from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'
import { freePort } from '../helpers/sshd.ts'
import { startTcpProxy } from '../helpers/tcp-proxy.ts'

const skip = mosquittoMissing()
let folder: string
let ours: TestAuthority
let theirs: TestAuthority
const brokers: Mosquitto[] = []

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mhv-mqtt-tls-'))
  ours = await testAuthority(folder, 'ours')
  theirs = await testAuthority(folder, 'theirs')
})
after(async () => {
  for (const broker of brokers) await broker.stop()
  if (folder) await rm(folder, { recursive: true })
})

async function start(options: MosquittoOptions): Promise<Mosquitto> {
  const broker = await startMosquitto(options)
  brokers.push(broker)
  return broker
}

/** What a publish ends with, and how many connections were tried for it and in the 400 ms that follow. */
async function outcome(target: ReturnType<typeof brokerTarget>, secrets: Record<string, string> = {}, qos: 0 | 1 = 0) {
  await using worker = await startMqttWorker({ secrets })
  // The default is QoS 0: a message that is held would be accepted where the broker may come back.
  const call = publish.input.parse({ topic: 'x', qos })
  const error = await publish.run(worker.context(target), call).then(
    () => undefined,
    (thrown: unknown) => toMhvError(thrown),
  )
  await delay(400)
  const warned = worker.log.lines.filter(({ level }) => level === 'warn').map(({ fields }) => fields.error_code)
  return {
    code: error?.code,
    message: error?.message ?? '',
    tries: worker.attempts.length,
    warned,
    state: worker.session(target).state(),
  }
}

suite('MQ-06: a refusal has its reason, and is never tried again and again in silence', { skip }, () => {
  for (const scheme of ['mqtts', 'wss'] as const) {
    const websocket = scheme === 'wss'
    const local = { altNames: ['DNS:localhost', 'IP:127.0.0.1'] }
    const tlsCases = [
      [
        'an authority that is not trusted',
        () => theirs.issue('localhost', local),
        'MHV_MQTT_TLS_UNTRUSTED',
        /127\.0\.0\.1/,
      ],
      [
        'another host name',
        () => ours.issue('elsewhere.example'),
        'MHV_MQTT_TLS_NAME',
        /elsewhere\.example|127\.0\.0\.1/,
      ],
      [
        'an expired certificate',
        () => ours.issue('localhost', { ...local, days: -1 }),
        'MHV_MQTT_TLS_EXPIRED',
        /expired/,
      ],
    ] as const
    for (const [title, issue, code, text] of tlsCases) {
      test(`${scheme}: ${title}`, async () => {
        const broker = await start({ tls: await issue(), websocket })
        // Neither waits in the outbox for a broker that will never take it.
        const found = await outcome(brokerTarget(broker, { ca_file: ours.ca }), {}, websocket ? 0 : 1)
        assert.equal(found.code, code, found.message)
        assert.match(found.message, text)
        assert.deepEqual([found.tries, found.warned, found.state], [1, [code], 'refused'])
      })
    }

    test(`${scheme}: with the right authority, name and time it is let in`, async () => {
      const broker = await start({ tls: await ours.issue('localhost', local), websocket })
      const found = await outcome(brokerTarget(broker, { ca_file: ours.ca }))
      assert.deepEqual([found.code, found.tries, found.state], [undefined, 1, 'connected'], found.message)
    })
  }

  test('a name of the certificate that is not that of the URL can be given', async () => {
    const broker = await start({ tls: await ours.issue('broker.example') })
    const brokersOf = [{ url: broker.url, server_name: 'broker.example' }]
    assert.equal((await outcome(brokerTarget(broker, { brokers: brokersOf, ca_file: ours.ca }))).code, undefined)
  })

  test('a broker that wants a certificate of the client gets it, and refuses who has none or another', async () => {
    const tls = { ...(await ours.issue('localhost', { altNames: ['IP:127.0.0.1'] })), clients: true }
    const broker = await start({ tls })
    const mine = await ours.issue('gateway-1')
    const foreign = await theirs.issue('gateway-1')
    const withKey = ({ cert, key }: { cert: string; key: string }) =>
      outcome(brokerTarget(broker, { ca_file: ours.ca, cert_file: cert, key_file: key }))
    assert.equal((await withKey(mine)).code, undefined)
    for (const found of [await outcome(brokerTarget(broker, { ca_file: ours.ca })), await withKey(foreign)]) {
      assert.equal(found.code, 'MHV_MQTT_TLS_FAILED', found.message)
      assert.deepEqual([found.tries, found.state], [1, 'refused'])
    }
  })

  test('a key that is not one is named, and nothing of what is in it is told', async () => {
    const broker = await start({ tls: await ours.issue('localhost', { altNames: ['IP:127.0.0.1'] }) })
    const bad = join(folder, 'bad.key')
    await writeFile(bad, 'hush-hush-hush')
    const { cert } = await ours.issue('gateway-2')
    const found = await outcome(brokerTarget(broker, { ca_file: ours.ca, cert_file: cert, key_file: bad }))
    assert.equal(found.code, 'MHV_MQTT_KEY_INVALID')
    assert.match(found.message, /bad\.key/)
    assert.doesNotMatch(found.message, /hush/)
  })

  for (const protocol of ['5', '3.1.1'] as const) {
    test(`MQTT ${protocol}: a wrong password`, async () => {
      const broker = await start({ passwords: { anna: 'right-password' } })
      const target = brokerTarget(broker, { protocol, username: 'anna', password: 'env:PASSWORD' })
      const found = await outcome(target, { PASSWORD: 'wrong-password' })
      assert.equal(found.code, 'MHV_MQTT_AUTH_FAILED')
      assert.match(found.message, /not authorized|bad user name/)
      assert.doesNotMatch(found.message, /wrong-password/)
      assert.deepEqual([found.tries, found.warned, found.state], [1, ['MHV_MQTT_AUTH_FAILED'], 'refused'])
      assert.equal((await outcome(target, { PASSWORD: 'right-password' })).code, undefined)
    })
  }

  test('what the access rules of the broker deny', async () => {
    const acl = ['user anna', 'topic readwrite open/#', 'topic readwrite mahavishnu/#']
    const broker = await start({ passwords: { anna: 'right-password' }, acl })
    await using worker = await startMqttWorker({ secrets: { PASSWORD: 'right-password' } })
    const target = brokerTarget(broker, { username: 'anna', password: 'env:PASSWORD' })
    const send = (topic: string, qos: 1 | 2) => publish.run(worker.context(target), publish.input.parse({ topic, qos }))
    assert.equal((await send('open/x', 1)).state, 'delivered')
    for (const qos of [1, 2] as const) {
      await assert.rejects(send('closed/x', qos), (thrown) => {
        const { code, message: why } = toMhvError(thrown)
        assert.equal(code, 'MHV_MQTT_NOT_AUTHORIZED')
        assert.match(why, /"closed\/x".*135: not authorized/)
        return true
      })
    }
    // The connection has outlived it, and was the only one.
    assert.equal((await send('open/x', 2)).state, 'delivered')
    assert.equal(worker.attempts.length, 1)
  })

  test('a subscription that the broker denies', async () => {
    // This mosquitto grants every subscription and sends nothing; a broker of its own answers as the standard says.
    const { startDenyingBroker } = await import('../helpers/denying-broker.ts')
    await using broker = await startDenyingBroker()
    await using worker = await startMqttWorker()
    const target = brokerTarget({ url: broker.url } as Mosquitto)
    const call = subscribe.input.parse({ filters: ['closed/#'], seconds: 5 })
    await assert.rejects(subscribe.run(worker.context(target), call), (thrown) => {
      const { code, message: why } = toMhvError(thrown)
      assert.equal(code, 'MHV_MQTT_NOT_AUTHORIZED')
      assert.match(why, /"closed\/#".*135: not authorized/)
      return true
    })
    assert.equal(worker.session(target).facts().subscriptions, 0)
  })

  test('nobody there, a name that is none, and a port that speaks something else', async () => {
    const gone = `mqtt://127.0.0.1:${await freePort()}`
    const at = (url: string) => brokerTarget({ url } as Mosquitto)
    const refused = await outcome(at(gone))
    assert.equal(refused.code, 'MHV_MQTT_CONNECT_REFUSED')
    assert.equal((await outcome(at('mqtt://nowhere.invalid'))).code, 'MHV_MQTT_CONNECT_FAILED')
    const broker = await start({})
    const http = await outcome(at(broker.url.replace('mqtt:', 'ws:')))
    assert.equal(http.code, 'MHV_MQTT_CONNECT_FAILED', http.message)
    const tls = await outcome(at(broker.url.replace('mqtt:', 'mqtts:')))
    assert.ok(tls.code === 'MHV_MQTT_TLS_FAILED' || tls.code === 'MHV_MQTT_CONNECT_FAILED', tls.message)
  })

  test('a broker that takes the connection and says nothing', async () => {
    const broker = await start({})
    broker.pause()
    await using worker = await startMqttWorker({ settings: { connect_timeout: 0.5 } })
    const call = publish.input.parse({ topic: 'x' })
    await assert.rejects(publish.run(worker.context(brokerTarget(broker)), call), { code: 'MHV_MQTT_CONNECT_TIMEOUT' })
    const answer = await pingBroker(
      worker.connection,
      { name: 'one', address: brokerTarget(broker), settings: worker.settings },
      AbortSignal.timeout(5_000),
    )
    assert.equal(answer.healthy, false)
    assert.match(answer.message, /MHV_MQTT_CONNECT_TIMEOUT/)
    broker.resume()
    // The next call tries again by itself, and finds it back.
    assert.equal((await publish.run(worker.context(brokerTarget(broker)), call)).state, 'sent')
  })
})

suite('the connection', { skip }, () => {
  test('speaks MQTT over WebSocket', async () => {
    const broker = await start({ websocket: true })
    assert.equal((await outcome(brokerTarget(broker))).code, undefined)
  })

  test('has a birth message, and a last will that comes when it breaks', async () => {
    const broker = await start({})
    await using watcher = await startMqttWorker({ settings: { presence_topic: '' } })
    const seen: string[] = []
    const watching = await watcher.session(brokerTarget(broker)).subscribe('mahavishnu/clients/+', {
      qos: 1,
      signal: never,
      onMessage: ({ topic, payload }) => void seen.push(`${topic} ${Buffer.from(payload)}`),
    })
    {
      await using worker = await startMqttWorker()
      await worker.session(brokerTarget(broker, { client_id: 'plant-1' })).ready(never)
      assert.ok(await until(() => seen.length === 1))
    }
    const proxy = await startTcpProxy({ port: broker.port })
    await using worker = await startMqttWorker()
    const target = brokerTarget({ url: `mqtt://127.0.0.1:${proxy.port}` } as Mosquitto, { client_id: 'plant-2' })
    await worker.session(target).ready(never)
    assert.ok(await until(() => seen.length === 3))
    await proxy.close()
    assert.ok(await until(() => seen.length === 4))
    await watching.close()
    const said = (id: number, status: string) =>
      `mahavishnu/clients/plant-${id} {"status":"${status}","client_id":"plant-${id}"}`
    assert.deepEqual(seen, [said(1, 'online'), said(1, 'stopped'), said(2, 'online'), said(2, 'offline')])
  })

  test('is made for as many messages at once as the broker allows, and no more', async () => {
    const broker = await start({ config: ['max_inflight_messages 3'] })
    await using worker = await startMqttWorker()
    const session = worker.session(brokerTarget(broker))
    await session.ready(never)
    const acks = await Promise.all(
      Array.from({ length: 200 }, (_, n) => session.publishNow(message('many', `${n}`, 2), never)),
    )
    assert.equal(acks.length, 200)
    assert.equal(session.facts().lost, 0)
  })
})
