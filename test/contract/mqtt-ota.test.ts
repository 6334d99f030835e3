import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { z } from 'zod'
import { startDeviceSimulator } from '../../src/testing/device-simulator.ts'
import type { DeviceBehaviour, OtaBehaviour } from '../../src/testing/simulated-device.ts'
import { triggerOta } from '../../src/workers/mqtt/ota/trigger-ota.ts'
import type { mqttSettings } from '../../src/workers/mqtt/settings.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, startMqttWorker, type TestMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'

const skip = mosquittoMissing()
const ALLOWED = { ota: { allowed_urls: ['https://firmware.example.org/'] } }
const FIRMWARE = {
  firmware_url: 'https://firmware.example.org/2.0.bin',
  firmware_version: '2.0',
  size: 1_000,
  sha256: 'AB'.repeat(32),
}
const named = (count: number) => Array.from({ length: count }, (_, index) => `d-${index + 1}`)

interface Site extends AsyncDisposable {
  readonly broker: Mosquitto
  readonly worker: TestMqttWorker
}

async function site(settings: z.input<typeof mqttSettings> = {}): Promise<Site> {
  const broker = await startMosquitto({ config: ['max_queued_messages 0'] })
  const worker = await startMqttWorker({ settings: { ...ALLOWED, ...settings } })
  return {
    broker,
    worker,
    async [Symbol.asyncDispose]() {
      await worker[Symbol.asyncDispose]()
      await broker.stop()
    },
  }
}

function devicesAt(
  { broker }: Site,
  ids: readonly string[],
  behaviour: (id: string, index: number) => DeviceBehaviour = () => ({}),
) {
  return startDeviceSimulator({ url: broker.url, ids, connections: 4, behaviour })
}

function rollOut({ broker, worker }: Site, device_ids: readonly string[], more: object = {}, context: object = {}) {
  const ctx = { ...worker.context(brokerTarget(broker)), ...context }
  return { ctx, done: triggerOta.run(ctx, triggerOta.input.parse({ device_ids, ...FIRMWARE, ...more })) }
}

type Failure = Error & {
  code: string
  details: Record<string, unknown> & { failures: { device_id: string; reason: string }[] }
}
const failureOf = (done: Promise<unknown>) =>
  done.then(
    () => assert.fail('it ended well'),
    (error: Failure) => error,
  )

suite('roll-outs of firmware', { skip }, () => {
  test('many devices are updated, each told once, and no more at once than may be', async () => {
    await using here = await site()
    const ids = named(60)
    await using devices = await devicesAt(here, ids)
    let most = 0
    const timer = setInterval(() => {
      const open = [...devices.devices.values()].filter((each) => each.told.length > 0 && each.version() === '1.0.0')
      most = Math.max(most, open.length)
    }, 2)
    const { ctx, done } = rollOut(here, ids, { concurrency: 7 })
    const data = await done
    clearInterval(timer)
    assert.deepEqual([data.updated, data.failed, data.devices], [60, 0, 60])
    for (const [id, device] of devices.devices) {
      assert.deepEqual([device.told, device.installs(), device.version()], [[data.rollout_id], 1, '2.0'], id)
    }
    assert.ok(most <= 7 && most > 1, `${most} at once`)
    const { text } = await ctx.output.collect('stdout')
    assert.equal(text, ids.map((id) => `${id}\tupdated\n`).join(''))
    const metrics = here.worker.connection.metrics().filter(({ name }) => name === 'mqtt_ota_devices_total')
    assert.deepEqual(metrics, [{ name: 'mqtt_ota_devices_total', labels: { end: 'updated' }, value: 60 }])
  })

  const failing: readonly (readonly [OtaBehaviour, RegExp])[] = [
    ['fail_downloading', /^no luck while downloading \(it was downloading\)$/],
    ['fail_verified', /^no luck while verified \(it was verified\)$/],
    ['fail_installing', /^no luck while installing \(it was installing\)$/],
    ['wrong_version', /^it says that it runs version 0\.0\.1 \(it was installing\)$/],
    ['silent', /^it did not report within 1 s \(it was notified\)$/],
    ['stuck', /^it did not end within 2 s \(it was downloading\)$/],
  ]
  for (const [ota, reason] of failing) {
    test(`one device that is to be updated and does not: ${ota}`, async () => {
      await using here = await site()
      await using _devices = await devicesAt(here, ['pump'], () => ({ ota }))
      const { done } = rollOut(here, ['pump'], { first_report_seconds: 1, device_seconds: 2 })
      const { code, details } = await failureOf(done)
      assert.equal(code, 'MHV_MQTT_OTA_STOPPED')
      assert.match(details.failures[0]?.reason ?? '', reason)
    })
  }

  test('the same over MQTT 3.1.1', async () => {
    await using here = await site()
    const ids = named(60)
    await using _devices = await startDeviceSimulator({ url: here.broker.url, ids, protocol: '3.1.1' })
    const target = brokerTarget(here.broker, { protocol: '3.1.1' })
    const ctx = here.worker.context(target)
    const data = await triggerOta.run(ctx, triggerOta.input.parse({ device_ids: ids, ...FIRMWARE, concurrency: 20 }))
    assert.deepEqual([data.updated, data.failed], [60, 0])
  })

  test('devices that already run the version install nothing', async () => {
    await using here = await site()
    await using devices = await devicesAt(here, ['pump'])
    for (const _ of [1, 2]) assert.equal((await rollOut(here, ['pump']).done).updated, 1)
    const [pump] = devices.devices.values()
    assert.deepEqual([pump?.told.length, pump?.installs()], [2, 1])
  })

  test('failures within the limit are told, and the others are updated', async () => {
    await using here = await site()
    const ids = named(20)
    await using _devices = await devicesAt(here, ids, (_, index) =>
      index % 10 === 3 ? { ota: 'fail_installing' } : {},
    )
    const data = await rollOut(here, ids, { failure_limit: 2, concurrency: 3 }).done
    assert.deepEqual([data.updated, data.failed], [18, 2])
    assert.deepEqual(
      data.failures.map(({ device_id }) => device_id),
      ['d-4', 'd-14'],
    )
  })

  test('MQ-07: with more failures than may be, no further device is told', async () => {
    await using here = await site()
    const ids = named(200)
    await using devices = await devicesAt(here, ids, () => ({ ota: 'fail_downloading' }))
    const { ctx, done } = rollOut(here, ids, { failure_limit: 5, concurrency: 8 })
    const { code, details } = await failureOf(done)
    assert.equal(code, 'MHV_MQTT_OTA_STOPPED')
    const told = [...devices.devices.values()].filter((each) => each.told.length > 0).length
    assert.ok(Number(details.failed) > 5 && Number(details.failed) <= 5 + 8, `${details.failed} failed`)
    assert.equal(told, details.failed)
    assert.equal(details.waiting, 200 - told)
    assert.equal((await ctx.output.collect('stdout')).text.match(/\twaiting\n/g)?.length, 200 - told)
  })

  test('devices that report twice, late, out of order and lies are updated once', async () => {
    await using here = await site({ identity: { mismatch: 'mark' } })
    const ids = ['orderly', 'disorder', 'hostile']
    await using devices = await devicesAt(here, ids, (id) => ({
      ota: id === 'orderly' ? 'update' : (id as OtaBehaviour),
    }))
    const data = await rollOut(here, ids, { concurrency: 3 }).done
    assert.deepEqual([data.updated, data.failed], [3, 0])
    assert.ok([...devices.devices.values()].every((each) => each.installs() === 1))
    assert.ok(data.ignored.late >= 3, JSON.stringify(data.ignored))
    assert.deepEqual({ ...data.ignored, late: 0 }, { late: 0, invalid: 11, impostors: 1, strays: 1 })
  })

  test('nobody can speak for another device, nor for one that was not told', async () => {
    await using here = await site({ identity: { mismatch: 'mark' } })
    const ids = ['victim', 'next']
    await using devices = await devicesAt(here, ids, () => ({ ota: 'stuck' }))
    const { ctx, done } = rollOut(here, ids, { concurrency: 1, device_seconds: 2, failure_limit: 5 })
    assert.ok(await until(() => devices.devices.get('victim')?.told.length === 1))
    const lie = { rollout_id: ctx.run_id, state: 'updated', version: '2.0' }
    const send = (id: string, more: object) =>
      devices.sendAs('next', { topic: `mahavishnu/ota/${id}/state`, payload: JSON.stringify({ ...lie, ...more }) })
    await send('victim', { device_id: 'next' })
    await send('next', { device_id: 'next' })
    const data = await done
    assert.deepEqual([data.updated, data.failed], [0, 2])
    assert.deepEqual([data.ignored.impostors, data.ignored.strays], [1, 1])
  })

  test('a device that nobody can reach fails at once, and a lost one at its time', async () => {
    await using here = await site()
    await using devices = await startDeviceSimulator({
      url: here.broker.url,
      ids: ['lost', 'fine'],
      connections: 'each',
    })
    await devices.lose(['lost'])
    const began = Date.now()
    const data = await rollOut(here, ['lost', 'never-there', 'fine'], { failure_limit: 2 }).done
    assert.ok(Date.now() - began < 5_000)
    assert.deepEqual(
      data.failures.map(({ device_id, reason }) => [device_id, reason]),
      [
        ['lost', 'nobody subscribes to its topic (it was notified)'],
        ['never-there', 'nobody subscribes to its topic (it was notified)'],
      ],
    )
  })

  test('a broker that is away in the middle counts against no device', async () => {
    const folderBroker = await startMosquitto({ persistence: true })
    const { port, folder } = folderBroker
    let broker = folderBroker
    await using worker = await startMqttWorker({ settings: ALLOWED })
    const here = { broker, worker, [Symbol.asyncDispose]: async () => {} }
    const ids = named(12)
    // Those that are not told yet come back half a second after the others, and after the roll-out.
    const at = (ids: readonly string[], reconnectPeriod: number) =>
      startDeviceSimulator({
        url: broker.url,
        ids,
        connections: 2,
        behaviour: () => ({ step_ms: 400 }),
        client: { reconnectPeriod },
      })
    const sites = [await at(ids.slice(0, 6), 200), await at(ids.slice(6), 1_400)]
    const devices = sites.flatMap((site) => [...site.devices.values()])
    try {
      const { done } = rollOut(here, ids, { concurrency: 6, first_report_seconds: 3, device_seconds: 4 })
      assert.ok(await until(() => devices.some((each) => each.installs() > 0)))
      await broker.stop(true)
      // Longer than any device may take.
      await delay(5_000)
      broker = await startMosquitto({ port, folder, persistence: true })
      const data = await done
      assert.deepEqual([data.updated, data.failed], [12, 0])
      assert.ok(devices.every((each) => each.installs() === 1))
    } finally {
      await Promise.all(sites.map((site) => site.close()))
      await broker.stop()
    }
  })

  test('a cancellation tells nobody else, and the table says how far it came', async () => {
    await using here = await site()
    const ids = named(10)
    await using devices = await devicesAt(here, ids, () => ({ ota: 'stuck' }))
    const cancel = new AbortController()
    const { ctx, done } = rollOut(here, ids, { concurrency: 3 }, { signal: cancel.signal })
    assert.ok(await until(() => [...devices.devices.values()].filter((each) => each.told.length > 0).length === 3))
    cancel.abort(new Error('enough'))
    await assert.rejects(done, /enough/)
    await delay(200)
    assert.equal([...devices.devices.values()].filter((each) => each.told.length > 0).length, 3)
    const { text } = await ctx.output.collect('stdout')
    assert.equal(text.split('\n').filter((line) => line.endsWith('\twaiting')).length, 7)
  })

  test('a journal that takes nothing any more ends it, and nobody is told of whom it does not know', async () => {
    await using here = await site()
    const ids = named(30)
    await using devices = await devicesAt(here, ids)
    const { state } = here.worker.context(brokerTarget(here.broker))
    let writes = 0
    const failing = {
      ...state,
      async apply(changes: Parameters<typeof state.apply>[0]) {
        writes += 1
        if (writes > 4) throw new Error('no space')
        await state.apply(changes)
      },
    }
    const { ctx, done } = rollOut(here, ids, { concurrency: 3 }, { state: failing })
    await assert.rejects(done, /no space/)
    await delay(300)
    const told = [...devices.devices.values()].filter((each) => each.told.length > 0).map(({ id }) => id)
    const known = (await state.list(`ota/devices/${ctx.run_id}/`)).map(({ key }) => ids[Number(key.split('/').at(-1))])
    assert.ok(told.length > 0 && told.length < 30, `${told.length} told`)
    assert.deepEqual(
      told.filter((id) => !known.includes(id)),
      [],
    )
  })

  test('what is not allowed is refused before anybody is told', async () => {
    await using here = await site()
    await using devices = await devicesAt(here, ['pump'])
    const rows: readonly (readonly [object, string])[] = [
      [{ firmware_url: 'https://elsewhere.example/x' }, 'MHV_MQTT_OTA_URL_DENIED'],
      [{ firmware_url: 'http://firmware.example.org/x' }, 'MHV_MQTT_OTA_URL_DENIED'],
      [{ size: 2 ** 31 }, 'MHV_INPUT_INVALID'],
      [{ device_ids: ['pump', '+'] }, 'MHV_MQTT_TOPIC_INVALID'],
    ]
    for (const [more, code] of rows) await assert.rejects(rollOut(here, ['pump'], more).done, { code })
    assert.equal(devices.counts().received, 0)
    for (const more of [
      { sha256: 'ab' },
      { firmware_version: 'a b' },
      { firmware_version: '' },
      { size: 0 },
      { device_ids: [] },
    ]) {
      const given = { device_ids: ['pump'], ...FIRMWARE, ...more }
      assert.equal(triggerOta.input.safeParse(given).success, false, JSON.stringify(more))
    }
  })
})
