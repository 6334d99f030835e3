import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { stringify } from 'yaml'
import { createRegistry } from '../../src/core/registry.ts'
import { workers } from '../../src/workers/index.ts'
import { runHere, surfaceApp, surfaceComposition } from '../helpers/mcp-cli-fixture.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { until } from '../helpers/processes.ts'

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
  async function nothingIsKept(): Promise<void> {
    const looked = await runHere(['mqtt', 'retained', 'site-1', '--filters', '#', '--json', '--folder', folder], {
      app,
    })
    assert.equal(looked.code, 0, looked.stderr)
    const { data } = JSON.parse(looked.stdout) as { data: { messages: readonly { topic: string }[] } }
    assert.deepEqual(
      data.messages.map(({ topic }) => topic).filter((topic) => !topic.startsWith('mahavishnu/clients/')),
      [],
    )
  }
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
    await nothingIsKept()
  })

  test('Ctrl-C ends it, and nothing of it stays at the broker', async () => {
    const bin = join(import.meta.dirname, '../../src/bin.ts')
    const args = [bin, 'demo', 'mqtt', 'site-1', '--devices', '50', '--folder', folder]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    try {
      const ended = once(child, 'exit')
      let said = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
      assert.ok(await until(() => said.includes('simulated devices are connected'), 30_000), said)
      child.kill('SIGINT')
      const late = new AbortController()
      const outcome = await Promise.race([ended, delay(20_000, 'it runs on', { signal: late.signal })])
      late.abort()
      assert.ok(Array.isArray(outcome) && outcome[0] !== 0, `${outcome}`)
      assert.match(said, /MHV_RUN_CANCELLED/)
      await nothingIsKept()
    } finally {
      child.kill('SIGKILL')
    }
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
