import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { stringify } from 'yaml'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { type DeviceSimulator, startDeviceSimulator } from '../../src/testing/device-simulator.ts'
import type { DeviceBehaviour } from '../../src/testing/simulated-device.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { until } from '../helpers/processes.ts'
import { endUp, killUps, startUp, type Up } from '../helpers/up-process.ts'

/** `mahavishnu up` as it is shipped, killed while it rolls firmware out to devices, and started again. */

const skip = mosquittoMissing()
const FIRMWARE = {
  firmware_url: 'https://firmware.example.org/2.0.bin',
  firmware_version: '2.0',
  size: 1_000,
  sha256: 'ab'.repeat(32),
}
const named = (count: number) => Array.from({ length: count }, (_, index) => `d-${index + 1}`)

let broker: Mosquitto
const folders: string[] = []

before(async () => {
  if (!skip) broker = await startMosquitto({ config: ['max_queued_messages 0'] })
})
after(async () => {
  killUps()
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
  if (!skip) await broker.stop()
})

async function instance(mqtt: object): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-ota-'))
  folders.push(folder)
  const settings = join(folder, 'settings')
  await mkdir(settings, { mode: 0o700 })
  const write = (name: string, value: object) =>
    writeFile(join(settings, `${name}.yaml`), stringify({ version: 1, ...value }))
  const ota = { allowed_urls: ['https://firmware.example.org/'] }
  await write('mahavishnu', { runs: { heal_seconds: 1, drain_timeout: 1 }, mqtt: { ota, ...mqtt } })
  await write('inventory', { targets: { site: { tier: 'dev', mqtt: { brokers: [{ url: broker.url }] } } } })
  await write('policy', { name: 'all', rules: [{ id: 'all', decision: 'allow' }] })
  return folder
}

async function begin(up: Up, input: object): Promise<string> {
  const call = { target: 'site', wait: 0, input: { ...FIRMWARE, ...input } }
  const { run_id } = await up.ask('/v1/workers/mqtt/operations/trigger_ota', call)
  assert.match(String(run_id), /^[0-9A-Z]{26}$/)
  return run_id
}

interface EndedRun {
  readonly status: string
  readonly error_code: string | null
  readonly data: { readonly updated: number; readonly failed: number } | null
  readonly metadata: {
    readonly details?: { readonly updated: number; readonly failed: number; readonly waiting: number }
  }
}

async function ending(up: Up, runId: string): Promise<EndedRun> {
  let run: EndedRun | undefined
  const over = async () => {
    run = (await up.ask(`/v1/runs/${runId}`)).run as EndedRun
    return run.status !== 'running' && run.status !== 'pending'
  }
  assert.ok(await until(over, 60_000), JSON.stringify(run))
  return run as EndedRun
}

const list = ({ devices }: DeviceSimulator) => [...devices.values()]
const updated = (devices: DeviceSimulator) => list(devices).filter((each) => each.version() === '2.0').length

/** What a roll-out has left in the state of the worker. */
async function left(folder: string): Promise<readonly string[]> {
  const store = await openSqliteStore({ path: join(folder, 'journal', 'journal.db'), readOnly: true })
  try {
    return (await store.stateList('mqtt', 'ota/')).map(({ key }) => key)
  } finally {
    await store.close()
  }
}

suite('MQ-07: a roll-out over kill -9', { skip }, () => {
  const modes: readonly (readonly [title: string, mqtt: object, behaviour: DeviceBehaviour, told: number])[] = [
    ['in the main process', {}, {}, 0],
    ['with the worker in a process of its own', { isolation: 'process' }, {}, 0],
    // Whoever ends while nobody listens, and leaves no word, has to be asked once more; it installs nothing again.
    ['with devices whose reports no broker keeps', {}, { retain_reports: false }, 6],
  ]
  for (const [title, mqtt, behaviour, asked] of modes) {
    test(`the same run goes on, and each device installs once: ${title}`, async () => {
      const folder = await instance(mqtt)
      const ids = named(40)
      await using devices = await startDeviceSimulator({
        url: broker.url,
        ids,
        connections: 2,
        status: false,
        behaviour: () => ({ step_ms: 60, ...behaviour }),
      })
      let up = await startUp(folder)
      const runId = await begin(up, { device_ids: ids, concurrency: 6 })
      for (const share of [6, 18]) {
        assert.ok(await until(() => updated(devices) >= share, 30_000), `${updated(devices)} updated`)
        await endUp(up, 'SIGKILL')
        const before = list(devices).filter((each) => each.told.length > 0).length
        // Those under way end while nobody listens.
        await delay(500)
        assert.ok(before <= updated(devices) + 6)
        up = await startUp(folder)
      }
      const { status, data } = await ending(up, runId)
      assert.deepEqual([status, data?.updated, data?.failed], ['completed', 40, 0])
      for (const each of list(devices)) {
        assert.deepEqual([each.installs(), new Set(each.told).size], [1, 1], each.id)
      }
      const again = list(devices).reduce((sum, each) => sum + each.toldAfterEnd(), 0)
      assert.ok(again <= asked * 2, `${again} devices were told of what they had ended`)
      const text = (await up.ask(`/v1/runs/${runId}/output`)).chunks
        .map((chunk: { text: string }) => chunk.text)
        .join('')
      assert.equal(text, ids.map((id) => `${id}\tupdated\n`).join(''))
      await endUp(up, 'SIGTERM')
      assert.deepEqual(await left(folder), [])
    })
  }

  test('failures are counted over the whole run: never more than the limit and the concurrency', async () => {
    const folder = await instance({})
    const ids = named(100)
    await using devices = await startDeviceSimulator({
      url: broker.url,
      ids,
      connections: 2,
      status: false,
      behaviour: (_, index) => ({ step_ms: 80, ota: index % 2 === 0 ? 'fail_verified' : 'update' }),
    })
    const failed = () => list(devices).filter((each) => each.told.length > 0 && each.installs() === 0).length
    let up = await startUp(folder)
    const runId = await begin(up, { device_ids: ids, concurrency: 4, failure_limit: 8 })
    for (const share of [3, 6]) {
      assert.ok(await until(() => failed() >= share, 30_000))
      await endUp(up, 'SIGKILL')
      up = await startUp(folder)
    }
    const run = await ending(up, runId)
    assert.deepEqual([run.status, run.error_code], ['failed', 'MHV_MQTT_OTA_STOPPED'])
    const { failed: counted = 0, waiting, updated: well = 0 } = run.metadata.details ?? {}
    assert.ok(counted > 8 && counted <= 8 + 4, `${counted} failed`)
    const told = list(devices).filter((each) => each.told.length > 0).length
    assert.deepEqual([failed(), told, waiting], [counted, counted + well, 100 - told])
    assert.equal(
      list(devices).reduce((sum, each) => sum + each.toldAfterEnd(), 0),
      0,
    )
    await endUp(up, 'SIGTERM')
    assert.deepEqual(await left(folder), [])
  })

  test('stopping as usual leaves it to the next process', async () => {
    const folder = await instance({})
    const ids = named(20)
    await using devices = await startDeviceSimulator({
      url: broker.url,
      ids,
      status: false,
      behaviour: () => ({ step_ms: 100 }),
    })
    let up = await startUp(folder)
    const runId = await begin(up, { device_ids: ids, concurrency: 3 })
    assert.ok(await until(() => updated(devices) >= 3, 30_000))
    await endUp(up, 'SIGTERM')
    const before = list(devices).filter((each) => each.told.length > 0).length
    await delay(800)
    assert.equal(list(devices).filter((each) => each.told.length > 0).length, before)
    up = await startUp(folder)
    const { status, data } = await ending(up, runId)
    assert.deepEqual([status, data?.updated], ['completed', 20])
    assert.ok(list(devices).every((each) => each.installs() === 1))
    await endUp(up, 'SIGTERM')
  })
})
