import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { registry } from '../../test/fixtures/config/workers.ts'
import { environmentLayer, envText, optionsLayer } from './env.ts'
import { envName, envPath, settingFields } from './schema.ts'
import { toPlain } from './source.ts'

const name = fc.stringMatching(/^[a-z][a-z0-9]{0,6}(_[a-z0-9]{1,6}){0,3}$/)

test('a variable’s name is derived from the setting’s, with two underscores between levels', () => {
  assert.equal(envName(['ssh', 'max_connections']), 'MAHAVISHNU_SSH__MAX_CONNECTIONS')
  assert.deepEqual(envPath('MAHAVISHNU_SSH__CIRCUIT_BREAKER__RECOVERY_TIMEOUT'), [
    'ssh',
    'circuit_breaker',
    'recovery_timeout',
  ])
})

test('property: names round-trip, and no two settings share one', () => {
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 4 }), (path) => {
      assert.deepEqual(envPath(envName(path)), path)
    }),
  )
  fc.assert(
    fc.property(fc.string(), (text) => {
      const path = envPath(`MAHAVISHNU_${text}`)
      if (path) assert.equal(envName(path), `MAHAVISHNU_${text}`)
    }),
  )
  const names = settingFields(registry).flatMap((field) => field.env ?? [])
  assert.equal(new Set(names).size, names.length)
})

test('every default that a setting has can be given as a variable and comes back as it is', () => {
  for (const field of settingFields(registry)) {
    if (field.env === undefined || field.default === undefined) continue
    const { root, problems } = environmentLayer(registry, { [field.env]: envText(field.default) })
    assert.deepEqual(problems, [], field.key)
    const value = field.path.reduce<unknown>((inner, part) => (inner as Record<string, unknown>)[part], toPlain(root))
    assert.deepEqual(value, field.default, field.key)
  }
})

test('values are read by the type of the setting', () => {
  const read = (key: string, text: string) => {
    const field = settingFields(registry).find((one) => one.key === key)
    const { root, problems } = environmentLayer(registry, { [field?.env ?? '']: text })
    if (problems.length > 0) return problems[0]?.message
    return field?.path.reduce<unknown>((inner, part) => (inner as Record<string, unknown>)[part], toPlain(root))
  }
  assert.equal(read('demo.least', '20'), 20)
  assert.equal(read('demo.ratio', '2.5e-1'), 0.25)
  assert.equal(read('demo.enabled', 'false'), false)
  assert.equal(read('demo.label', '20'), '20')
  assert.equal(read('demo.label', ' kept '), ' kept ')
  assert.equal(read('demo.label', '[x]'), '[x]')
  assert.equal(read('demo.limit', 'null'), null)
  assert.equal(read('demo.agent', 'true'), true)
  assert.equal(read('demo.agent', '/run/agent'), '/run/agent')
  assert.deepEqual(read('demo.hosts', '["a", "b"]'), ['a', 'b'])
  assert.deepEqual(read('demo.token', '{"exec": ["pass", "show"]}'), { exec: ['pass', 'show'] })
  assert.equal(read('demo.token', 'env:X'), 'env:X')
  for (const text of ['a,b', '[a', '', '{"__proto__": 1}']) {
    assert.match(String(read('demo.hosts', text)), /demo\.hosts must be a list of .*, written as JSON/)
  }
  assert.match(String(read('demo.brokers', '{"__proto__": {"x": 1}}')), /written as JSON/)
})

test('names that are nearly a setting stop the start; strangers with our prefix do not', () => {
  const cases: [string, RegExp | undefined][] = [
    ['MAHAVISHNU_SSH_MAX_CONNECTIONS', /did you mean "MAHAVISHNU_SSH__MAX_CONNECTIONS"/],
    ['MAHAVISHNU_SSH__MAX_CONECTIONS', /did you mean "MAHAVISHNU_SSH__MAX_CONNECTIONS"/],
    ['MAHAVISHNU_ssh__max_connections', /did you mean "MAHAVISHNU_SSH__MAX_CONNECTIONS"/],
    ['MAHAVISHNU_LOG__LVEL', /did you mean "MAHAVISHNU_LOG__LEVEL"/],
    ['MAHAVISHNU_WHATEVER__X', /no setting has this name$/],
    ['MAHAVISHNU_SSH__CONNECTION_POOL_SIZE', /is called ssh\.max_connections_per_host/],
    ['MAHAVISHNU_ORBSTACK__ENABLED', /not available yet/],
    ['MAHAVISHNU_HOME', undefined],
    ['MAHAVISHNU_VERSION', undefined],
    ['MAHAVISHNU_SSH_PASSWORD', undefined],
    ['MAHAVISHNU_DB_TOKEN', undefined],
    ['OTHER_SSH__MAX_CONNECTIONS', undefined],
  ]
  for (const [variable, message] of cases) {
    const { problems } = environmentLayer(registry, { [variable]: '1' })
    if (message === undefined) assert.deepEqual(problems, [], variable)
    else assert.match(problems[0]?.message ?? '', message, variable)
  }
})

test('--set takes KEY=VALUE; the last of two for one setting counts; a file’s version is not for it', () => {
  const { root, problems } = optionsLayer(registry, ['demo.label=a=b', 'demo.least=1', 'demo.least=2'])
  assert.deepEqual(problems, [])
  assert.deepEqual(toPlain(root), { demo: { label: 'a=b', least: 2 } })
  for (const option of ['demo.least', '=1', '', 'a b=1', 'version=1', 'ssh=1', 'demo.lest=1', 'ssh.default_host=x']) {
    assert.equal(optionsLayer(registry, [option]).problems.length, 1, option)
  }
  assert.match(optionsLayer(registry, ['demo.leest=1']).problems[0]?.message ?? '', /did you mean "demo\.least"/)
})
