import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { instanceFolder, registry } from '../../test/fixtures/config/workers.ts'
import { explainSetting, explanationText, showSettings } from './explain.ts'
import { loadSettings } from './layers.ts'

async function load(files: Record<string, string>, env: Record<string, string> = {}, flags: string[] = []) {
  return loadSettings({ folder: instanceFolder(files), registry, env, flags })
}

test('explains a value: where it comes from, what it overrides, what it may be', async () => {
  const loaded = await load(
    {
      'settings/mahavishnu.yaml': 'ssh:\n  max_connections: 10\n',
      'settings/local.yaml': 'ssh: {max_connections: 20}',
    },
    { MAHAVISHNU_SSH__MAX_CONNECTIONS: '30' },
  )
  const file = (name: string) => join(loaded.folder, 'settings', name)
  const explanation = explainSetting(loaded, 'ssh.max_connections')
  assert.deepEqual(explanation, {
    key: 'ssh.max_connections',
    value: 30,
    layer: 'environment',
    source: 'MAHAVISHNU_SSH__MAX_CONNECTIONS',
    description: 'connections to all hosts together; up to 10 more may be made to end commands whose connection broke',
    type: 'a whole number from 1 to 1000',
    default: 50,
    env: 'MAHAVISHNU_SSH__MAX_CONNECTIONS',
    overrides: [
      { layer: 'local', source: `${file('local.yaml')}:1:24`, value: 20 },
      { layer: 'project', source: `${file('mahavishnu.yaml')}:2:20`, value: 10 },
      { layer: 'defaults', source: 'declared default', value: 50 },
    ],
  })
  const text = explanationText(explanation)
  assert.match(text, /^ssh\.max_connections = 30\n {2}from {6}MAHAVISHNU_SSH__MAX_CONNECTIONS \(environment\)\n/)
  assert.match(text, /overrides 10, from .*mahavishnu\.yaml:2:20 \(project\)/)
})

test('a default is its own origin and overrides nothing', async () => {
  const { layer, source, value, overrides } = explainSetting(await load({}), 'runs.wait_seconds')
  assert.deepEqual(
    { layer, source, value, overrides },
    { layer: 'defaults', source: 'declared default', value: 45, overrides: [] },
  )
})

test('an option is named', async () => {
  const explanation = explainSetting(await load({}, {}, ['log.level=debug']), 'log.level')
  assert.deepEqual([explanation.layer, explanation.source], ['options', '--set log.level'])
})

test('an unknown setting is answered with the nearest, a section with what is in it, a seed key with its name here', async () => {
  const loaded = await load({})
  const fails = (key: string, message: RegExp) =>
    assert.throws(() => explainSetting(loaded, key), { code: 'MHV_CONFIG_KEY_UNKNOWN', message })
  fails('ssh.max_conections', /did you mean "ssh\.max_connections"/)
  fails('log', /"log" is a section; in it are log\.level/)
  fails('ssh.connection_pool_size', /is called ssh\.max_connections_per_host/)
  fails('constructor', /there is no setting "constructor"/)
  fails('', /there is no setting ""/)
})

test('all settings are shown, secrets as references without the arguments of their program', async () => {
  const exec = await load({ 'settings/local.yaml': 'demo: {token: {exec: [pass, show, hunter2]}}' })
  const shown = showSettings(exec).find((setting) => setting.key === 'demo.token')
  assert.equal(shown?.value, 'exec:pass')
  assert.equal(explainSetting(exec, 'demo.token').value, 'exec:pass')
  const higher = await load(
    { 'settings/local.yaml': 'demo: {token: "exec:pass hunter2"}' },
    { MAHAVISHNU_DEMO__TOKEN: 'env:TOKEN' },
  )
  assert.doesNotMatch(JSON.stringify([showSettings(higher), explainSetting(higher, 'demo.token')]), /hunter2/)
  assert.equal(explainSetting(higher, 'demo.token').value, 'env:TOKEN')
  assert.deepEqual(explainSetting(higher, 'demo.token').overrides[0]?.value, 'exec:pass')
})
