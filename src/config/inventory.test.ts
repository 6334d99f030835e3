import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { demo, instanceFolder, registry } from '../../test/fixtures/config/workers.ts'
import type { MhvError } from '../core/errors.ts'
import { loadInventory } from './inventory.ts'
import { loadSettings, settingsFor } from './layers.ts'

async function load(yaml: string | Uint8Array) {
  const folder = instanceFolder({ 'inventory.yaml': yaml })
  return loadInventory({ file: join(folder, 'inventory.yaml'), registry })
}

async function problemsOf(yaml: string | Uint8Array) {
  const error = await load(yaml).then(
    () => assert.fail('was loaded'),
    (thrown: MhvError) => thrown,
  )
  const problems = error.details?.['problems'] as { code: string; message: string; line?: number; column?: number }[]
  return { error, problems }
}

const WHOLE = `version: 1
defaults:
  tags: [all]
  demo: {port: 99}
groups:
  linux: {tier: staging, tags: [linux], demo: {password: "env:LINUX", options: {retries: 2}}}
  slow: {demo: {port: 7, overrides: {ratio: 0.1, brokers: {a: "1"}}}}
targets:
  web1:
    tier: dev
    tags: [web, linux]
    groups: [linux, slow]
    description: the first
    demo: {host: web1.example, options: {tls: false}, overrides: {least: 2, brokers: {b: "2"}}}
  web2: {groups: [slow, linux], demo: {host: web2.example, port: 5}, ssh: {host: 10.0.0.2, user: ops}}
  bare: {demo: {host: bare.example}}
  "10": {ssh: {host: h, user: u}}
`

test('a target is resolved: defaults, groups in their order, then its own', async () => {
  const inventory = await load(WHOLE)
  assert.deepEqual(inventory.names(), ['web1', 'web2', 'bare', '10'])
  const { target, overrides } = inventory.resolve('web1', 'demo')
  assert.deepEqual(target, {
    name: 'web1',
    tier: 'dev',
    tags: ['all', 'linux', 'web'],
    groups: ['linux', 'slow'],
    address: { host: 'web1.example', port: 7, password: 'env:LINUX', options: { retries: 2, tls: false } },
  })
  assert.deepEqual(overrides, { ratio: 0.1, least: 2, brokers: { a: '1', b: '2' } })
  const second = inventory.resolve<{ port: number }>('web2', 'demo').target
  assert.deepEqual([second.tier, second.address.port], ['staging', 5])
  assert.deepEqual(inventory.resolve('web2', 'ssh').target.address, {
    host: '10.0.0.2',
    user: 'ops',
    agent: false,
    agent_forward: false,
  })
  assert.deepEqual(inventory.list()[1], {
    name: 'web2',
    tier: 'staging',
    tags: ['all', 'linux'],
    groups: ['slow', 'linux'],
    description: null,
    workers: ['ssh', 'demo'],
  })
})

test('a target without a tier counts as prod', async () => {
  const inventory = await load(WHOLE)
  assert.equal(inventory.resolve('bare', 'demo').target.tier, 'prod')
  assert.equal(
    (await load('version: 1\ndefaults: {tier: dev}\ntargets: {a: {demo: {host: h}}}')).list()[0]?.tier,
    'dev',
  )
})

test('overrides become the settings of the call', async () => {
  const inventory = await load(WHOLE)
  const loaded = await loadSettings({ folder: instanceFolder(), registry, env: {}, flags: ['demo.brokers={"c":"3"}'] })
  const { overrides } = inventory.resolve('web1', 'demo')
  const settings = settingsFor(loaded, demo, overrides)
  assert.deepEqual([settings.ratio, settings.least, settings.brokers], [0.1, 2, { a: '1', b: '2', c: '3' }])
  assert.equal(settingsFor(loaded, demo, inventory.resolve('web1', 'demo').overrides), settings)
})

test('what is resolved is frozen', async () => {
  const { target, overrides } = (await load(WHOLE)).resolve<{ options: object }>('web1', 'demo')
  assert.throws(() => Object.assign(target.address.options, { tls: true }), TypeError)
  assert.throws(() => Object.assign(overrides, { least: 9 }), TypeError)
})

test('an unknown target is answered with the nearest name, a worker it is not for with what is missing', async () => {
  const inventory = await load(WHOLE)
  assert.throws(() => inventory.resolve('wbe1', 'demo'), { code: 'MHV_TARGET_UNKNOWN', message: /did you mean "web1"/ })
  assert.throws(() => inventory.resolve('constructor', 'demo'), { code: 'MHV_TARGET_UNKNOWN' })
  assert.throws(() => inventory.resolve('-oProxyCommand=x', 'demo'), {
    code: 'MHV_TARGET_UNKNOWN',
    message: /no target of this name/,
  })
  assert.throws(() => inventory.resolve('bare', 'ssh'), {
    code: 'MHV_TARGET_UNSUPPORTED',
    message: /"bare" has no block "ssh"/,
  })
  assert.throws(() => inventory.resolve('bare', 'shs'), { code: 'MHV_WORKER_UNKNOWN' })
})

test('without a file there is no target, and the remedy says which file to write', async () => {
  const file = join(instanceFolder(), 'settings', 'inventory.yaml')
  const inventory = await loadInventory({ file, registry })
  assert.deepEqual([inventory.names(), inventory.list()], [[], []])
  assert.throws(
    () => inventory.resolve('web1', 'demo'),
    (error: MhvError) =>
      error.code === 'MHV_TARGET_UNKNOWN' && error.remedy.includes(file) && error.message.includes(file),
  )
})

test('what is wrong is told with its place', async () => {
  const head = 'version: 1\ntargets:\n'
  const cases: [string, RegExp, number?, number?][] = [
    [`${head}  a: {tier: production, demo: {host: h}}`, /targets\.a\.tier must be one of dev, staging, prod/, 3, 13],
    [`${head}  a: {tier: , demo: {host: h}}`, /targets\.a\.tier must be one of dev, staging, prod/, 3],
    [`${head}  a: {tags: web, demo: {host: h}}`, /targets\.a\.tags must be a list/, 3, 13],
    [`${head}  a: {tags: ["a b"], demo: {host: h}}`, /targets\.a\.tags\.0 must be a list of words/, 3, 14],
    [`${head}  a: {demo: {hots: h}}`, /there is no "targets\.a\.demo\.hots"; did you mean "host"/, 3, 14],
    [`${head}  a: {dem: {host: h}}`, /there is no "targets\.a\.dem"; did you mean "demo"/, 3, 7],
    [`${head}  a: {mqtt: {host: h}}`, /the worker "mqtt" is known, but not available yet/, 3, 7],
    [`${head}  a: {demo: {port: 5}}`, /targets\.a\.demo\.host is missing: it must be text/, 3, 7],
    [`${head}  a: {demo: }`, /targets\.a\.demo\.host is missing/, 3],
    [
      `${head}  a: {demo: {host: -oProxyCommand=x}}`,
      /targets\.a\.demo\.host must be a host name without a leading dash/,
      3,
      20,
    ],
    [
      `${head}  a: {ssh: {host: -oProxyCommand=x, user: u}}`,
      /targets\.a\.ssh\.host must be a host name or address/,
      3,
      19,
    ],
    [`${head}  a: {demo: {host: h, port: 0}}`, /targets\.a\.demo\.port must be a whole number from 1 to 65535/, 3, 29],
    [`${head}  a: {demo: {host: h, password: hunter2}}`, /password must be a reference to a secret/, 3, 33],
    [
      `${head}  a: {demo: {host: h, overrides: {leest: 1}}}`,
      /there is no "targets\.a\.demo\.overrides\.leest"; did you mean "least"/,
      3,
      35,
    ],
    [
      `${head}  a: {demo: {host: h, overrides: {least: x}}}`,
      /targets\.a\.demo\.overrides\.least must be a whole number/,
      3,
      42,
    ],
    [`${head}  a: {groups: [web], demo: {host: h}}`, /targets\.a: there is no group "web"/, 3, 16],
    [`${head}  -a: {demo: {host: h}}`, /a key of targets must be letters, digits/, 3, 3],
    [`${head}  "a b": {demo: {host: h}}`, /a key of targets must be letters, digits/, 3, 3],
    [`${head}  ${'a'.repeat(129)}: {demo: {host: h}}`, /a key of targets must be letters, digits/, 3, 3],
    [`${head}  a: 5`, /targets\.a must be a map/, 3, 6],
    ['version: 1\ntargets: [a]', /targets must be a map/, 2, 10],
    ['version: 1\nhosts: {}', /there is no "hosts"/, 2, 1],
    ['version: 1\ngroups: {g: {demo: {prot: 1}}}', /there is no "groups\.g\.demo\.prot"; did you mean "port"/, 2, 21],
    ['version: 1\ngroups: {g: {groups: [h]}}', /there is no "groups\.g\.groups"/, 2, 14],
    ['version: 1\ngroups: {g: {demo: {port: x}}}', /groups\.g\.demo\.port must be a whole number/, 2, 27],
    ['targets: {}', /"version" must be 1.*missing/, 1],
    ['version: one', /"version" must be 1/, 1, 10],
    ['version: 1\ntargets:\n  a: {}\n  a: {}\n', /a key stands here twice/, 4],
    ['- a', /must be a map/, 1],
  ]
  for (const [yaml, message, line, column] of cases) {
    const { error, problems } = await problemsOf(yaml)
    assert.equal(error.code, 'MHV_INVENTORY_INVALID', yaml)
    assert.equal(problems.length, 1, JSON.stringify(problems))
    assert.match(problems[0]?.message ?? '', message)
    if (line !== undefined) assert.equal(problems[0]?.line, line, yaml)
    if (column !== undefined) assert.equal(problems[0]?.column, column, yaml)
    assert.doesNotMatch(JSON.stringify(error.toWire()), /hunter2|ProxyCommand/)
  }
})

test('a value from a group that is wrong only for one target is told where the group has it', async () => {
  const { problems } = await problemsOf(
    'version: 1\ngroups:\n  g:\n    demo: {host: h}\ntargets:\n  a: {groups: [g], demo: {}}\n  b: {demo: {}}\n',
  )
  assert.deepEqual(
    problems.map(({ line, message }) => [line, message.replace(/:.*/, '')]),
    [[7, 'targets.b.demo.host is missing']],
  )
})

test('all problems come at once, and a newer format is refused by name', async () => {
  const { error, problems } = await problemsOf('version: 1\ntargets: {a: {x: 1}, b: {y: 1}, -c: {}}')
  assert.equal(problems.length, 3)
  assert.match(error.message, /\(and 2 more problems\)/)
  const newer = await problemsOf('version: 2\nregions: {}')
  assert.equal(newer.error.code, 'MHV_CONFIG_NEWER')
  assert.match(newer.error.message, /format 2 of the inventory is newer than format 1/)
})

test('what cannot be read is refused', async () => {
  assert.match((await problemsOf(Buffer.from([0xff, 0xfe]))).error.message, /not UTF-8/)
  await assert.rejects(loadInventory({ file: instanceFolder(), registry }), {
    code: 'MHV_INVENTORY_INVALID',
    message: /is a directory/,
  })
})

test('a thousand targets load quickly', async () => {
  const lines = Array.from({ length: 1000 }, (_, index) => `  t${index}: {groups: [g], demo: {host: h${index}}}`)
  const before = performance.now()
  const inventory = await load(`version: 1\ngroups: {g: {tier: dev}}\ntargets:\n${lines.join('\n')}\n`)
  assert.equal(inventory.names().length, 1000)
  assert.ok(performance.now() - before < 10_000)
})

const JUMPS = (first: string) => `
version: 1
targets:
  gate: { tier: prod, ssh: { host: gate.example, user: g, proxy_jump: ${first} } }
  inner: { tier: dev, ssh: { host: 10.0.0.5, user: i, proxy_jump: [gate, root@other.example] } }
`

test('jump hosts that are targets come along with what the inventory says of them', async () => {
  const inventory = await load(JUMPS('none'))
  const address = inventory.resolve<{ jump_targets: Record<string, unknown> }>('inner', 'ssh').target.address
  assert.deepEqual(address.jump_targets, {
    gate: { host: 'gate.example', user: 'g', proxy_jump: 'none', agent: false, agent_forward: false },
  })
  assert.equal(Object.isFrozen(address.jump_targets), true)
})

test('jump hosts that lead in a circle are a problem of the inventory, with its place', async () => {
  await assert.rejects(load(JUMPS('inner')), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'MHV_INVENTORY_INVALID')
    assert.match(
      error.message,
      /:[0-9]+:[0-9]+: targets\.gate\.ssh: proxy_jump leads in a circle: inner, then gate, then inner/,
    )
    return true
  })
})
