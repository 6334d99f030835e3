import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  type Given,
  LOCAL,
  load,
  MAIN,
  makePipe,
  onlyProblem,
  problemsOf,
  USER,
} from '../../test/fixtures/config/loading.ts'
import { demo, instanceFolder, registry, ssh } from '../../test/fixtures/config/workers.ts'
import type { MhvError } from '../core/errors.ts'
import { loadSettings, SETTINGS_LAYERS, settingsFor } from './layers.ts'

test('without any layer the declared defaults are the settings', async () => {
  const { values, generation } = await load()
  assert.equal(generation, 1)
  const room = { max_queue_seconds: 300, rate_per_second: null, rate_burst: 10, full: 'reject_new' }
  assert.deepEqual(values.admission, {
    max_concurrent: 200,
    queue_size: 2000,
    ...room,
    aging_seconds: 10,
    max_loop_lag_ms: 500,
    target: { max_concurrent: 50, queue_size: 200, ...room },
    principal: { max_concurrent: 100, queue_size: 1000, ...room },
  })
  assert.deepEqual(values.runs, {
    wait_seconds: 45,
    abort_grace_seconds: 20,
    drain_timeout: 25,
    output_head_bytes: 524_288,
    output_tail_bytes: 524_288,
    text_bytes: 65_536,
    heal_seconds: 30,
    idempotency_days: 7,
  })
  assert.deepEqual(values.journal, { file: 'journal/journal.db', min_free_bytes: 67_108_864 })
  assert.equal(values.policy.file, 'settings/policy.yaml')
  assert.equal(values.inventory.file, 'settings/inventory.yaml')
  assert.equal(values.log.level, 'info')
  assert.deepEqual(settingsFor({ values } as never, ssh).admission, {
    max_concurrent: 100,
    queue_size: 1000,
    ...room,
  })
  assert.partialDeepStrictEqual(settingsFor({ values } as never, ssh).circuit_breaker, ssh.breaker)
})

test('each layer wins over the ones below it', async () => {
  const layers: Given[] = [
    { files: { [MAIN]: 'demo: {label: main}' } },
    { files: { [LOCAL]: 'demo: {label: local}' } },
    { files: { [USER]: 'demo: {label: user}' } },
    { env: { MAHAVISHNU_DEMO__LABEL: 'environment' } },
    { flags: ['demo.label=options'] },
  ]
  const expected = ['main', 'local', 'user', 'environment', 'options']
  for (let count = 1; count <= layers.length; count += 1) {
    const given = layers.slice(0, count)
    const { values } = await load({
      files: Object.assign({}, ...given.map((layer) => layer.files)),
      env: Object.assign({}, ...given.map((layer) => layer.env)),
      flags: given.flatMap((layer) => layer.flags ?? []),
    })
    assert.equal((values['demo'] as { label: string }).label, expected[count - 1])
  }
  assert.deepEqual(SETTINGS_LAYERS, ['defaults', 'project', 'local', 'user', 'manifest', 'environment', 'options'])
})

test('maps merge key by key, lists are replaced, an empty section changes nothing', async () => {
  const { values } = await load({
    files: {
      [MAIN]: 'demo:\n  hosts: [x, y, z]\n  brokers: {one: "1", two: "2"}\n  nested: {deep: {level: 9}}\n',
      [LOCAL]: 'demo:\n  hosts: [w]\n  brokers: {two: "22", three: "3"}\n  nested:\nruns:\n',
    },
    env: { MAHAVISHNU_DEMO__BROKERS: '{"four":"4"}' },
  })
  const settings = settingsFor({ values } as never, demo)
  assert.deepEqual(settings.hosts, ['w'])
  assert.deepEqual(settings.brokers, { one: '1', two: '22', three: '3', four: '4' })
  assert.equal(settings.nested.deep.level, 9)
})

test('the user file lies in XDG_CONFIG_HOME, else in ~/.config; a relative one is ignored', async () => {
  const folder = instanceFolder({
    'xdg/mahavishnu/mahavishnu.yaml': 'demo: {label: xdg}',
    'home/.config/mahavishnu/mahavishnu.yaml': 'demo: {label: home}',
  })
  const label = async (env: Record<string, string>) => {
    const { values } = await loadSettings({ folder, registry, env, flags: [] })
    return (values['demo'] as { label: string }).label
  }
  const HOME = join(folder, 'home')
  assert.equal(await label({ XDG_CONFIG_HOME: join(folder, 'xdg'), HOME }), 'xdg')
  assert.equal(await label({ HOME }), 'home')
  assert.equal(await label({ XDG_CONFIG_HOME: 'xdg', HOME }), 'home')
  assert.equal(await label({}), 'plain')
})

test('an unknown key names file, line, column and the nearest key', async () => {
  const problem = await onlyProblem({ files: { [MAIN]: '# mine\nssh:\n  connection_ttl: 5\n  max_conections: 3\n' } })
  assert.equal(problem.code, 'MHV_CONFIG_UNKNOWN_KEY')
  assert.match(problem.file ?? '', /settings\/mahavishnu\.yaml$/)
  assert.deepEqual([problem.line, problem.column], [4, 3])
  assert.equal(problem.message, 'there is no "ssh.max_conections"; did you mean "max_connections"?')
})

test('unknown keys are found on every level, in lists and under names of Object.prototype', async () => {
  const cases: [string, string][] = [
    ['tuning: 1', 'tuning'],
    ['ssh: {circuit_breaker: {treshold: 1}}', 'ssh.circuit_breaker.treshold'],
    ['demo: {rules: [{pattern: a}, {pattern: b, qoss: 1}]}', 'demo.rules.1.qoss'],
    ['constructor: 1', 'constructor'],
    ['ssh: {toString: 1}', 'ssh.toString'],
  ]
  for (const [yaml, key] of cases) {
    const problem = await onlyProblem({ files: { [LOCAL]: yaml } })
    assert.equal(problem.code, 'MHV_CONFIG_UNKNOWN_KEY', yaml)
    assert.equal(problem.key, key)
  }
})

test('a wrong value says where it stands and what is allowed', async () => {
  const cases: [string, RegExp, number, number][] = [
    ['demo:\n  least: many', /demo\.least must be a whole number from 0 to 1000, not text/, 2, 10],
    ['demo:\n  least: 1001', /demo\.least must be a whole number from 0 to 1000$/, 2, 10],
    ['demo:\n  least: 1.5', /a whole number/, 2, 10],
    ['demo:\n  mode: slow', /demo\.mode must be one of fast, safe/, 2, 9],
    ['demo:\n  enabled: yes', /demo\.enabled must be true or false, not text/, 2, 12],
    ['demo:\n  hosts: x', /demo\.hosts must be a list of text that is not empty, not text/, 2, 10],
    ['demo:\n  hosts:\n    - a\n    - 7', /demo\.hosts\.1 must be text that is not empty, not a number/, 4, 7],
    ['demo:\n  brokers: {a: {b: c}}', /demo\.brokers\.a must be text, not a map/, 2, 16],
    ['demo:\n  rules:\n    - qos: 1', /demo\.rules\.0\.pattern is missing/, 3, 7],
    ['demo:\n  least:', /demo\.least must be a whole number from 0 to 1000, not nothing/, 2, 9],
    ['demo: 5', /demo must be a map of keys and values, not a number/, 1, 7],
    ['demo: [a]', /demo must be a map of keys and values, not a list/, 1, 7],
    ['demo: {ratio: .nan}', /demo\.ratio must be a number from 0 to 1/, 1, 15],
    ['demo: {token: hunter2}', /demo\.token must be a reference to a secret/, 1, 15],
    ['demo: {least: 10, most: 5}', /demo\.most must not be below demo\.least/, 1, 25],
  ]
  for (const [yaml, message, line, column] of cases) {
    const problem = await onlyProblem({ files: { [MAIN]: yaml } })
    assert.equal(problem.code, 'MHV_CONFIG_INVALID', yaml)
    assert.match(problem.message, message)
    assert.deepEqual([problem.line, problem.column], [line, column], yaml)
  }
})

test('a rule over two settings holds over layers, and names the layer that counts', async () => {
  const problem = await onlyProblem({
    files: { [MAIN]: 'demo: {least: 10}' },
    env: { MAHAVISHNU_DEMO__MOST: '5' },
  })
  assert.deepEqual(
    [problem.variable, problem.message],
    ['MAHAVISHNU_DEMO__MOST', 'demo.most must not be below demo.least'],
  )
})

test('a layer that is wrong is refused even where a higher one hides it', async () => {
  const problem = await onlyProblem({ files: { [MAIN]: 'demo: {least: x}' }, flags: ['demo.least=3'] })
  assert.match(problem.file ?? '', /mahavishnu\.yaml/)
})

test('what is not YAML says where, and never quotes the file', async () => {
  const bomb = Array.from({ length: 9 }, (_, level) =>
    level === 0
      ? 'x0: &x0 [hunter2]'
      : `x${level}: &x${level} [${Array(9)
          .fill(`*x${level - 1}`)
          .join(', ')}]`,
  )
  const cases: [string, number?][] = [
    ['a: hunter2\na: hunter2\n', 2],
    ['log:\n\tlevel: hunter2', 2],
    ['log: "hunter2', 1],
    ['log: level: hunter2', 1],
    ['log: !hunter2 x', 1],
    ['log: *hunter2', 1],
    ['log: &a [*a]', 1],
    ['log: {}\n---\nlog: hunter2', 2],
    ['? [hunter2]\n: 1', 1],
    ['"": hunter2', 1],
    ['__proto__: {hunter2: 1}', 1],
    [`log: ${'['.repeat(3000)}hunter2`, 1],
    [`log: ${'{a: '.repeat(40)}1${'}'.repeat(40)}`, 1],
    [bomb.join('\n')],
    ['log: {level: info}\n  hunter2', 2],
  ]
  for (const [yaml, line] of cases) {
    const { error, problems } = await problemsOf({ files: { [MAIN]: yaml } })
    assert.equal(error.code, 'MHV_CONFIG_UNPARSABLE', yaml.slice(0, 60))
    if (line !== undefined) assert.equal(problems[0]?.line, line, yaml.slice(0, 60))
    assert.doesNotMatch(JSON.stringify(error.toWire()), /hunter2/)
  }
})

test('anchors and aliases within reason are fine', async () => {
  const { values } = await load({
    files: { [MAIN]: 'demo:\n  hosts: &h [x]\n  rules: [{pattern: &p q}, {pattern: *p}]\n' },
  })
  assert.deepEqual((values['demo'] as { rules: unknown }).rules, [
    { pattern: 'q', qos: 0 },
    { pattern: 'q', qos: 0 },
  ])
})

test('a file that is empty or has only comments is an empty layer', async () => {
  for (const yaml of ['', '# nothing\n', '---\n', 'null\n', '\uFEFFlog: {level: info}\n'])
    await load({ files: { [MAIN]: yaml } })
})

test('a root that is no map, a directory, a pipe, bytes that are not UTF-8, a huge file: each is refused', async () => {
  for (const yaml of ['- a', 'text', '42']) {
    assert.equal((await onlyProblem({ files: { [MAIN]: yaml } })).code, 'MHV_CONFIG_INVALID')
  }
  const notText = await onlyProblem({ files: { [MAIN]: Buffer.from([0x6c, 0xff, 0xfe]) } })
  assert.equal(notText.code, 'MHV_CONFIG_UNPARSABLE')
  assert.match(notText.message, /not UTF-8/)
  const huge = await onlyProblem({ files: { [MAIN]: `# ${'x'.repeat(1_048_576)}` } })
  assert.equal(huge.code, 'MHV_CONFIG_UNREADABLE')
  assert.match(huge.message, /larger than 1048576 bytes/)

  const folder = instanceFolder()
  mkdirSync(join(folder, MAIN), { recursive: true })
  await makePipe(join(folder, LOCAL))
  await assert.rejects(loadSettings({ folder, registry, env: {}, flags: [] }), (error: MhvError) => {
    assert.match(error.message, /is a directory, not a file \(and 1 more problem\)/)
    assert.match(JSON.stringify(error.details), /is not a regular file/)
    return error.code === 'MHV_CONFIG_UNREADABLE'
  })
})

test('a file that cannot be reached is refused, not taken for a missing one', async () => {
  const problems = await problemsOf({ files: { settings: 'a file where the folder should be' } })
  assert.deepEqual(
    problems.problems.map(({ code, message }) => [code, message]),
    Array(2).fill(['MHV_CONFIG_UNREADABLE', 'cannot be read (ENOTDIR)']),
  )
})

test('a newer format is refused by name, before its keys are', async () => {
  const problem = await onlyProblem({ files: { [MAIN]: 'version: 2\nfuture: {}\n' } })
  assert.equal(problem.code, 'MHV_CONFIG_NEWER')
  assert.match(problem.message, /format 2 of the settings is newer than format 1/)
  await load({ files: { [MAIN]: 'version: 1\n' } })
  assert.equal((await onlyProblem({ files: { [MAIN]: 'version: "1"' } })).code, 'MHV_CONFIG_INVALID')
  assert.equal((await onlyProblem({ files: { [MAIN]: 'version: 0' } })).code, 'MHV_CONFIG_INVALID')
})

test('all problems of all layers are reported at once; the message has the first and the count', async () => {
  const { error, problems } = await problemsOf({
    files: { [MAIN]: 'demo: {least: x, nope: 1}', [LOCAL]: 'log: "' },
    env: { MAHAVISHNU_DEMO__MODE: 'slow' },
    flags: ['demo.nope=1'],
  })
  assert.deepEqual(
    problems.map((problem) => problem.code),
    [
      'MHV_CONFIG_INVALID',
      'MHV_CONFIG_UNKNOWN_KEY',
      'MHV_CONFIG_UNPARSABLE',
      'MHV_CONFIG_INVALID',
      'MHV_CONFIG_UNKNOWN_KEY',
    ],
  )
  assert.match(error.message, /mahavishnu\.yaml:1:15: demo\.least must be .* \(and 4 more problems\)$/)
  assert.equal(error.details?.['count'], 5)
})

test('a generation is frozen through and through, and numbered', async () => {
  const first = await load({ files: { [MAIN]: 'demo: {rules: [{pattern: a}]}' } })
  const settings = settingsFor(first, demo)
  assert.throws(() => Object.assign(first.values.runs, { wait_seconds: 1 }), TypeError)
  assert.throws(() => settings.hosts.push('x'), TypeError)
  assert.throws(() => Object.assign(settings.rules[0] as object, { qos: 1 }), TypeError)
  assert.throws(() => Object.assign(first, { generation: 7 }), TypeError)
  const second = await loadSettings({ folder: first.folder, registry, env: {}, flags: [], previous: first })
  assert.equal(second.generation, 2)
})

test('settings of a call are the worker’s with the target’s overrides, made once per target', async () => {
  const loaded = await load({ files: { [MAIN]: 'demo: {least: 10, brokers: {a: "1"}}' } })
  assert.equal(settingsFor(loaded, demo), loaded.values['demo'])
  const overrides = { most: 20, brokers: { b: '2' }, nested: { deep: { level: 1 } } }
  const settings = settingsFor(loaded, demo, overrides)
  assert.deepEqual([settings.least, settings.most, settings.nested.deep.level], [10, 20, 1])
  assert.deepEqual(settings.brokers, { a: '1', b: '2' })
  assert.equal(settingsFor(loaded, demo, overrides), settings)
  assert.equal(settingsFor(loaded, demo).most, 1000)
  assert.throws(() => Object.assign(settings, { most: 1 }), TypeError)
  assert.throws(() => settingsFor(loaded, demo, { most: 5 }), {
    code: 'MHV_INVENTORY_INVALID',
    message: /must not be below/,
  })
})
