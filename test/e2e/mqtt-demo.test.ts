import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { stringify } from 'yaml'
import { createRegistry } from '../../src/core/registry.ts'
import { workers } from '../../src/workers/index.ts'
import { runHere, surfaceApp, surfaceComposition } from '../helpers/mcp-cli-fixture.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'

const skip = mosquittoMissing()

suite('mahavishnu demo mqtt', { skip }, () => {
  const app = surfaceApp({ ...surfaceComposition(), registry: createRegistry(workers) })
  let broker: Mosquitto
  let folder: string

  before(async () => {
    broker = await startMosquitto({ passwords: { site: 'the password' } })
    folder = await mkdtemp(join(tmpdir(), 'mhv-demo-'))
    await mkdir(join(folder, 'settings'), { mode: 0o700 })
    const write = (name: string, value: object) =>
      writeFile(join(folder, 'settings', `${name}.yaml`), stringify({ version: 1, ...value }))
    await writeFile(join(folder, 'password'), 'the password\n', { mode: 0o600 })
    const mqtt = { brokers: [{ url: broker.url }], username: 'site', password: 'file:password' }
    const wrong = { brokers: [{ url: broker.url }], username: 'site' }
    await write('mahavishnu', { mqtt: { ota: { allowed_urls: ['https://firmware.example.org/pumps/'] } } })
    await write('inventory', { targets: { 'site-1': { tier: 'dev', mqtt }, wrong: { tier: 'dev', mqtt: wrong } } })
    await write('policy', { name: 'all', rules: [{ id: 'all', decision: 'allow' }] })
  })
  after(async () => {
    await broker?.stop()
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  })
  const demo = (...args: string[]) => runHere(['demo', 'mqtt', ...args, '--folder', folder], { app })

  test('shows a command, states and an update, each as the run that it is', async () => {
    const { code, stdout, stderr } = await demo('site-1', '--devices', '20')
    assert.equal(code, 0, stderr)
    assert.match(stdout, /20 devices: 18 acknowledged, 1 rejected, 1 timed out/)
    assert.match(stdout, /demo-0001 rejected: not now\n {2}demo-0002 timed_out/)
    assert.match(stdout, /demo-0001 online \(retained\)/)
    assert.match(stdout, /demo-nobody unknown \(none\)/)
    assert.match(stdout, /19 of 20 devices updated to 2\.0\.0, 1 failed/)
    assert.match(stdout, /demo-0003 failed: no luck while verified/)
    assert.doesNotMatch(stdout + stderr, /the password/)
  })

  test('--json has one document with the results of all steps', async () => {
    const { code, stdout } = await demo('site-1', '--devices', '4', '--json')
    assert.equal(code, 0)
    const { steps, devices } = JSON.parse(stdout) as {
      devices: number
      steps: { result: { operation: string; status: string } }[]
    }
    assert.equal(devices, 4)
    assert.deepEqual(
      steps.map(({ result }) => [result.operation, result.status]),
      [
        ['mqtt.publish_to_devices', 'completed'],
        ['mqtt.device_status', 'completed'],
        ['mqtt.trigger_ota', 'completed'],
      ],
    )
  })

  test('without an address that firmware may come from, no update is shown', async () => {
    const { code, stdout, stderr } = await demo('site-1', '--devices', '4', '--set', 'mqtt.ota.allowed_urls=[]')
    assert.equal(code, 0, stderr)
    assert.doesNotMatch(stdout, /trigger_ota/)
    assert.match(stderr, /no update is shown/)
  })

  const wrong: readonly (readonly [title: string, args: readonly string[], code: RegExp])[] = [
    ['a target that is not there', ['nowhere'], /MHV_TARGET_UNKNOWN/],
    ['a number that may not be', ['site-1', '--devices', '3'], /MHV_CLI_USAGE.*whole number from 4 to 10000/],
    ['a broker that refuses the devices', ['wrong'], /MHV_MQTT_AUTH_FAILED/],
  ]
  for (const [title, args, code] of wrong) {
    test(`${title} is told`, async () => {
      const ran = await demo(...args)
      assert.notEqual(ran.code, 0)
      assert.match(ran.stderr, code)
    })
  }
})
