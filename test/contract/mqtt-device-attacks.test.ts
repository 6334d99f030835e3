import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { z } from 'zod'
import { type MhvError, mhvError } from '../../src/core/errors.ts'
import { certaintyOf } from '../../src/core/result.ts'
import { startDeviceSimulator } from '../../src/testing/device-simulator.ts'
import type { OutgoingMessage } from '../../src/workers/mqtt/client/mqtt-session.ts'
import { type MqttContext, sessionOf } from '../../src/workers/mqtt/context.ts'
import { deviceStatus } from '../../src/workers/mqtt/devices/device-status.ts'
import { publishToDevices } from '../../src/workers/mqtt/devices/publish-to-devices.ts'
import { triggerOta } from '../../src/workers/mqtt/ota/trigger-ota.ts'
import { outboxDrop } from '../../src/workers/mqtt/outbox/outbox-drop.ts'
import { outboxInspect } from '../../src/workers/mqtt/outbox/outbox-inspect.ts'
import { publish } from '../../src/workers/mqtt/publish/publish.ts'
import type { mqttSettings } from '../../src/workers/mqtt/settings.ts'
import { messages } from '../../src/workers/mqtt/standing/messages.ts'
import { request } from '../../src/workers/mqtt/subscribe/request.ts'
import { mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'

/** Callers who ask for more than they may, and devices that lie, flood and echo: what they must not be able to do. */

const skip = mosquittoMissing()
const FIRMWARE = {
  firmware_url: 'https://firmware.example.org/2.0.bin',
  firmware_version: '2.0',
  size: 1_000,
  sha256: 'ab'.repeat(32),
}
const OTA = { ota: { allowed_urls: ['https://firmware.example.org/'] } }

/** A worker that records everything, with a broker of its own. */
async function recording(settings: z.input<typeof mqttSettings> = {}, known_secrets: readonly string[] = []) {
  const broker = await startMosquitto({ config: ['max_queued_messages 0'] })
  const target = brokerTarget(broker)
  const subscriptions = [{ name: 'all', target: 'site-1', topic: '#', qos: 1 as const }]
  const worker = await startMqttWorker({
    targets: { 'site-1': target },
    settings: { subscriptions, ...settings },
    known_secrets,
  })
  await worker.session(target).ready(never)
  assert.ok(await until(() => worker.connection.standing().active === 1))
  /** Publishes, and waits until it is in the journal. */
  async function record(...sent: readonly OutgoingMessage[]): Promise<void> {
    const before = worker.connection.standing().kept
    for (const each of sent) await worker.session(target).publishNow(each, never)
    assert.ok(await until(() => worker.connection.standing().kept >= before + sent.length))
  }
  return {
    broker,
    target,
    worker,
    record,
    context: (principal?: string) => worker.context(target, principal === undefined ? {} : { principal }),
    async [Symbol.asyncDispose]() {
      await worker[Symbol.asyncDispose]()
      await broker.stop()
    },
  }
}

suite('what a principal may not subscribe to, it does not get another way', { skip }, () => {
  const rules: z.input<typeof mqttSettings>['topic_rules'] = [
    { principals: ['agent:*'], actions: ['subscribe'], topics: ['sensors/vault/#'], decision: 'deny' },
    { principals: ['agent:*'], topics: ['sensors/#', 'mahavishnu/status/open'], decision: 'allow' },
    { principals: ['user:*'], topics: ['#'], decision: 'allow' },
  ]

  test('mqtt.messages leaves out records of such topics, and refuses filters that take them', async () => {
    await using here = await recording({ topic_rules: rules })
    await here.record(message('sensors/vault/code', 'secret'), message('sensors/pump/t', '21'), message('other/x', 'y'))
    const ask = async (principal: string, more: object = {}) =>
      (await messages.run(here.context(principal), messages.input.parse(more))).messages.map(({ topic }) => topic)
    assert.deepEqual(await ask('agent:a'), ['sensors/pump/t'])
    assert.deepEqual(await ask('agent:a', { device: 'vault' }), [])
    assert.deepEqual(await ask('agent:a', { topic: 'sensors/pump/+' }), ['sensors/pump/t'])
    assert.deepEqual(await ask('user:u', { device: 'vault' }), ['sensors/vault/code'])
    for (const topic of ['sensors/vault/code', 'sensors/#', '#', 'other/x', '$share/g/sensors/vault/#']) {
      await assert.rejects(ask('agent:a', { topic }), { code: 'MHV_MQTT_TOPIC_DENIED' }, topic)
    }
  })

  test('mqtt.outbox_inspect shows, and mqtt.outbox_drop drops, nothing of such topics', async () => {
    const broker = await startMosquitto()
    const target = brokerTarget(broker)
    await broker.stop()
    await using worker = await startMqttWorker({ settings: { topic_rules: rules } })
    const send = { messages: ['sensors/vault/code', 'other/x', 'sensors/pump/t'].map((topic) => ({ topic, qos: 1 })) }
    const ctx = (principal: string) => worker.context(target, { principal })
    await publish.run(ctx('user:u'), publish.input.parse({ ...send, wait_for: 'accepted' }))
    const waiting = async (principal: string) => {
      const found = await outboxInspect.run(ctx(principal), outboxInspect.input.parse({}))
      return found.messages.map(({ topic }) => topic)
    }
    assert.deepEqual(await waiting('agent:a'), ['sensors/pump/t'])
    // It may publish below sensors, also where it may not listen.
    const dropped = await outboxDrop.run(ctx('agent:a'), outboxDrop.input.parse({ topic: '#' }))
    assert.equal(dropped.dropped, 2)
    assert.deepEqual(await waiting('user:u'), ['other/x'])
  })

  test('mqtt.device_status refuses devices whose status it may not read', async () => {
    await using here = await recording({ topic_rules: rules })
    const status = (id: string) => ({ ...message(`mahavishnu/status/${id}`, '{"state":"armed"}'), retain: true })
    await here.record(status('vault'), status('open'))
    await here.record({
      ...message('mahavishnu/ota/open/state', '{"rollout_id":"r","state":"updated","version":"9"}'),
      retain: true,
    })
    const ask = (principal: string, ...device_ids: readonly string[]) =>
      deviceStatus.run(here.context(principal), deviceStatus.input.parse({ device_ids, quiet_seconds: 0.2 }))
    await assert.rejects(ask('agent:a', 'open', 'vault'), { code: 'MHV_MQTT_TOPIC_DENIED', message: /status\/vault/ })
    const [open] = (await ask('agent:a', 'open')).devices
    // Its reports are another topic, which this principal may not read.
    assert.deepEqual([open?.state, open?.ota], ['armed', null])
    assert.equal((await ask('user:u', 'open')).devices[0]?.ota?.version, '9')
  })
})

suite('nobody is made to publish what the caller may not', { skip }, () => {
  test('a response topic that a call names is one to which its caller may publish', async () => {
    await using broker = await startMosquitto()
    const rules: z.input<typeof mqttSettings>['topic_rules'] = [
      { actions: ['publish'], topics: ['mahavishnu/config/#'], decision: 'deny' },
      { topics: ['#'], decision: 'allow' },
    ]
    await using worker = await startMqttWorker({ settings: { topic_rules: rules } })
    const ctx = worker.context(brokerTarget(broker))
    for (const [response_topic, code] of [
      ['mahavishnu/config/pump', 'MHV_MQTT_TOPIC_DENIED'],
      ['mahavishnu/ota/pump', 'MHV_MQTT_TOPIC_DENIED'],
    ] as const) {
      const call = { topic: 'mahavishnu/commands/pump', payload: '{}', response_topic }
      await assert.rejects(publish.run(ctx, publish.input.parse(call)), { code }, response_topic)
      await assert.rejects(request.run(ctx, request.input.parse({ ...call, seconds: 1 })), { code }, response_topic)
      const many = {
        device_ids: ['pump'],
        command: { action: 'ping' },
        response_topic: response_topic.replace('pump', '{device_id}'),
      }
      await assert.rejects(publishToDevices.run(ctx, publishToDevices.input.parse(many)), { code }, response_topic)
    }
    const fine = { topic: 'mahavishnu/commands/pump', payload: '{}', response_topic: 'answers/pump' }
    assert.equal((await publish.run(ctx, publish.input.parse(fine))).sent, 1)
  })
})

suite('devices load only what mqtt.trigger_ota lets them', { skip }, () => {
  test('no other operation tells them where firmware is', async () => {
    await using broker = await startMosquitto()
    await using worker = await startMqttWorker({ settings: OTA })
    await using devices = await startDeviceSimulator({ url: broker.url, ids: ['pump'] })
    const ctx = worker.context(brokerTarget(broker))
    const payload = { rollout_id: 'mine', url: 'https://evil.example/x', version: '6.6', size: 1, sha256: '00' }
    const topic = 'mahavishnu/ota/pump'
    const ways: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['publish', () => publish.run(ctx, publish.input.parse({ topic, payload }))],
      ['publish, QoS 1', () => publish.run(ctx, publish.input.parse({ topic, payload, qos: 1 }))],
      ['batch', () => publish.run(ctx, publish.input.parse({ messages: [{ topic: 'x' }, { topic, payload }] }))],
      ['request', () => request.run(ctx, request.input.parse({ topic, payload, seconds: 0.3 }))],
      ...['mahavishnu/ota/{device_id}', 'mahavishnu/{device_id}/pump', '{device_id}/ota/pump'].map(
        (pattern, at): (typeof ways)[number] => [
          pattern,
          () => {
            const device_ids = [['pump', 'ota', 'mahavishnu'][at]]
            const call = { device_ids, command: payload, topic: pattern, seconds: 0.3 }
            return publishToDevices.run(ctx, publishToDevices.input.parse(call))
          },
        ],
      ),
    ]
    for (const [way, act] of ways) {
      const refused = { code: 'MHV_MQTT_TOPIC_DENIED', message: /only mqtt\.trigger_ota may/ }
      await assert.rejects(act(), refused, way)
    }
    await delay(200)
    assert.deepEqual(devices.devices.get('pump')?.told, [])
    // What devices say of it is another topic.
    const report = publish.input.parse({ topic: `${topic}/state`, payload: '{}', qos: 1 })
    assert.equal((await publish.run(ctx, report)).state, 'delivered')
  })
})

suite('a roll-out that is taken up again', { skip }, () => {
  test('waits for a broker that cannot take its subscription yet', async () => {
    await using broker = await startMosquitto()
    await using worker = await startMqttWorker({ settings: OTA })
    await using devices = await startDeviceSimulator({ url: broker.url, ids: ['a'] })
    const ctx = worker.context(brokerTarget(broker))
    await ctx.state.set(`ota/rollouts/${ctx.run_id}`, { deadline: ctx.deadline })
    await ctx.state.set(`ota/devices/${ctx.run_id}/0`, ['notified'])
    const session = sessionOf(ctx)
    const codes: ('MHV_MQTT_NOT_CONNECTED' | 'MHV_MQTT_SUBSCRIPTIONS_FULL')[] = [
      'MHV_MQTT_NOT_CONNECTED',
      'MHV_MQTT_SUBSCRIPTIONS_FULL',
    ]
    const subscribe: typeof session.subscribe = async (filter, options) => {
      const code = codes.shift()
      if (code !== undefined) throw mhvError(code, 'not now')
      return session.subscribe(filter, options)
    }
    const connection = { ...ctx.connection, broker: () => ({ ...session, subscribe }) }
    const call = triggerOta.input.parse({ ...FIRMWARE, device_ids: ['a'] })
    const data = await triggerOta.run({ ...ctx, connection } as MqttContext, call)
    assert.deepEqual([data.updated, devices.devices.get('a')?.told.length, codes.length], [1, 1, 0])
  })
})

suite('the state of devices, whatever others do', { skip }, () => {
  test('one that never stops talking does not keep the answer from coming', async () => {
    await using here = await recording()
    await here.record({ ...message('mahavishnu/status/quiet', '{"state":"well"}'), retain: true })
    let stop = false
    await using devices = await startDeviceSimulator({ url: here.broker.url, ids: ['loud'] })
    const flood = (async () => {
      const payload = JSON.stringify({ state: 'loud' })
      // More often than it is quiet for.
      while (!stop) await devices.sendAs('loud', { topic: 'mahavishnu/status/loud', payload }).then(() => delay(20))
    })()
    try {
      await delay(200)
      const began = Date.now()
      const given = deviceStatus.input.parse({ device_ids: ['loud', 'quiet'], quiet_seconds: 0.5 })
      const data = await deviceStatus.run(here.context(), given)
      assert.ok(Date.now() - began < 10_000, `${Date.now() - began} ms`)
      assert.deepEqual(
        data.devices.map(({ state, source }) => [state, source]),
        [
          ['loud', 'live'],
          ['well', 'retained'],
        ],
      )
    } finally {
      stop = true
      await flood
    }
  })

  test('records of a device whose id begins the same do not hide those of another', async () => {
    await using here = await recording()
    await here.record(message('mahavishnu/status/pump-1', '{"state":"well"}'))
    await here.record(
      ...Array.from({ length: 150 }, (_, n) => message(`mahavishnu/status/pump-1${n % 10}`, '{"state":"other"}')),
    )
    const given = deviceStatus.input.parse({ device_ids: ['pump-1'], quiet_seconds: 0.05 })
    const [pump] = (await deviceStatus.run(here.context(), given)).devices
    assert.deepEqual([pump?.state, pump?.source], ['well', 'record'])
  })

  test('recorded_at is of the newest record of the device, and not only of its status', async () => {
    await using here = await recording()
    await here.record(message('mahavishnu/status/pump', '{"state":"well"}'))
    await delay(20)
    const later = new Date().toISOString()
    await here.record(message('sensors/pump/t', '21'))
    const given = deviceStatus.input.parse({ device_ids: ['pump'], quiet_seconds: 0.05 })
    const [pump] = (await deviceStatus.run(here.context(), given)).devices
    assert.equal(pump?.state, 'well')
    assert.ok((pump?.recorded_at ?? '') >= later, `${pump?.recorded_at} is before ${later}`)
  })
})

suite('devices that echo a secret', { skip }, () => {
  const secret = 'hunter2-hunter2'

  test('end no roll-out: what they say is not kept, and the others are updated', async () => {
    await using broker = await startMosquitto()
    await using worker = await startMqttWorker({ settings: OTA, known_secrets: [secret] })
    await using devices = await startDeviceSimulator({
      url: broker.url,
      ids: ['echo', 'fine'],
      behaviour: (id) => ({ ota: id === 'echo' ? 'stuck' : 'update' }),
    })
    const ctx = worker.context(brokerTarget(broker))
    const call = triggerOta.input.parse({
      ...FIRMWARE,
      device_ids: ['echo', 'fine'],
      concurrency: 1,
      failure_limit: 1,
      device_seconds: 10,
    })
    const running = triggerOta.run(ctx, call)
    assert.ok(await until(() => devices.devices.get('echo')?.told.length === 1))
    const report = { rollout_id: ctx.run_id, state: 'failed', message: `login with ${secret} failed` }
    await devices.sendAs('echo', { topic: 'mahavishnu/ota/echo/state', payload: JSON.stringify(report) })
    const data = await running
    assert.deepEqual([data.updated, data.failed], [1, 1])
    const kept = await ctx.state.list('ota/devices/')
    assert.equal(kept.length, 2)
    assert.ok(!JSON.stringify(kept).includes(secret))
  })

  test('end no standing subscription, however often they say it', async () => {
    // Shorter than what stands in its place: the record grows beyond what one may have.
    await using here = await recording({}, ['abcd'])
    await here.record(message('sensors/echo/t', 'abcd'.repeat(16_384)), message('sensors/fine/t', '21'))
    const { standing } = here.worker.connection
    assert.deepEqual([standing().failing, standing().lost], [[], 0])
    const call = messages.input.parse({ device: 'echo', payload_bytes: 65_536 })
    const [echo] = (await messages.run(here.context(), call)).messages
    assert.ok(echo !== undefined && !echo.payload.includes('abcd'))
  })
})

suite('records of long texts', { skip }, () => {
  test('are text, also where the last character that is kept was cut in two', async () => {
    await using here = await recording()
    await here.record(message('sensors/pump/log', `x${'é'.repeat(40_000)}`))
    const call = messages.input.parse({ device: 'pump', payload_bytes: 65_536 })
    const [log] = (await messages.run(here.context(), call)).messages
    assert.deepEqual([log?.encoding, log?.bytes, log?.truncated], ['utf8', 80_001, true])
    assert.equal(log?.payload, `x${'é'.repeat(32_767)}`)
  })
})

suite('rights that are lost in the middle', { skip }, () => {
  /** A context whose subscriptions end with a refusal when they are told to, as after a change of the broker's access rules. */
  function losable(ctx: MqttContext) {
    const refused = Promise.withResolvers<void>()
    refused.promise.catch(() => undefined)
    const session = sessionOf(ctx)
    const subscribe: typeof session.subscribe = async (filter, options) => ({
      ...(await session.subscribe(filter, options)),
      closed: refused.promise,
    })
    const connection = { ...ctx.connection, broker: () => ({ ...session, subscribe }) }
    const lose = () => refused.reject(mhvError('MHV_MQTT_NOT_AUTHORIZED', 'the broker refused the subscription'))
    return { ctx: { ...ctx, connection } as MqttContext, lose }
  }
  const failureOf = (running: Promise<unknown>) =>
    running.then(
      () => assert.fail('it ended well'),
      (error: MhvError) => error,
    )

  const given = { device_ids: ['a'], first_report_seconds: 15 }
  const operations: readonly (readonly [string, (ctx: MqttContext) => Promise<unknown>])[] = [
    [
      'a command',
      (ctx) => publishToDevices.run(ctx, publishToDevices.input.parse({ ...given, command: {}, seconds: 15 })),
    ],
    ['a roll-out', (ctx) => triggerOta.run(ctx, triggerOta.input.parse({ ...given, ...FIRMWARE }))],
  ]
  for (const [name, run] of operations) {
    test(`${name} that devices were told of is never called "nothing was changed"`, async () => {
      await using broker = await startMosquitto()
      await using worker = await startMqttWorker({ settings: OTA })
      await using devices = await startDeviceSimulator({
        url: broker.url,
        ids: ['a'],
        behaviour: () => ({ command: 'ignore', ota: 'silent' }),
      })
      const { ctx, lose } = losable(worker.context(brokerTarget(broker)))
      const ended = failureOf(run(ctx))
      const device = devices.devices.get('a')
      assert.ok(await until(() => (device?.commands.length ?? 0) + (device?.told.length ?? 0) === 1))
      lose()
      const error = await ended
      assert.equal(error.code, 'MHV_MQTT_CUT_SHORT')
      assert.match(error.message, /MHV_MQTT_NOT_AUTHORIZED: the broker refused the subscription/)
      assert.equal(certaintyOf(error.code), 'unknown')
      assert.match((await ctx.output.collect('stdout')).text, /^a\t/)
    })
  }
})
