import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { instanceFolder } from '../../test/fixtures/config/workers.ts'
import type { MhvError } from '../core/errors.ts'
import { createRegistry } from '../core/registry.ts'
import { createProbeWorker } from '../testing/probe-worker.ts'
import { loadInventory } from './inventory.ts'
import { loadSchedules } from './schedules.ts'

const registry = createRegistry([createProbeWorker()])
const INVENTORY = 'version: 1\ntargets:\n  one: { tier: dev, probe: {} }\n  bare: { tier: dev }\n'

async function load(yaml: string | null) {
  const folder = instanceFolder({ 'inventory.yaml': INVENTORY, ...(yaml === null ? {} : { 'schedules.yaml': yaml }) })
  const inventory = await loadInventory({ file: join(folder, 'inventory.yaml'), registry })
  return loadSchedules({ file: join(folder, 'schedules.yaml'), registry, inventory })
}

/** The lines of what is wrong, without the file, of one schedule `a` that acts on a target every minute. */
async function wrong(...lines: string[]): Promise<string[]> {
  const keys = lines.map((line) => line.split(':')[0])
  const rest = ['operation: probe.touch', 'target: one', 'cron: "* * * * *"'].filter(
    (line) => !keys.includes(line.split(':')[0]) && !(line.startsWith('cron') && keys.includes('every')),
  )
  return problemsOf(`version: 1\nschedules:\n  a:\n${[...lines, ...rest].map((line) => `    ${line}\n`).join('')}`)
}

async function problemsOf(yaml: string): Promise<string[]> {
  const error = await load(yaml).then(
    () => assert.fail('was loaded'),
    (thrown: MhvError) => thrown,
  )
  const problems = error.details?.['problems'] as { code: string; message: string; line?: number; column?: number }[]
  return problems.map(({ code, line, column, message }) => {
    assert.ok(code === 'MHV_SCHEDULE_INVALID' || code === 'MHV_CONFIG_NEWER', code)
    return `${line}:${column} ${message}`
  })
}

test('schedules are read whole, with their defaults', async () => {
  const { list } = await load(`version: 1
schedules:
  nightly:
    description: tidies up
    operation: probe.touch
    target: one
    input: { value: hello }
    cron: "30 2 * * mon-fri"
    timezone: Europe/Berlin
    jitter: 90
    overlap: queue_one
    missed: run_all
    max_missed: 3
    timeout: 60
    priority: normal
    reason: every night
  often: { operation: probe.look, every: 300, start: "2026-01-01T00:00:00Z", end: "2027-01-01T00:00:00+01:00" }
`)
  const [nightly, often] = list.map(({ recurrence: _recurrence, ...rest }) => rest)
  assert.deepEqual(nightly, {
    name: 'nightly',
    description: 'tidies up',
    operation: 'probe.touch',
    worker: 'probe',
    target: 'one',
    input: { value: 'hello' },
    timing: '30 2 * * mon-fri Europe/Berlin',
    timezone: 'Europe/Berlin',
    jitterMs: 90_000,
    overlap: 'queue_one',
    missed: 'run_all',
    maxMissed: 3,
    timeout: 60,
    priority: 'normal',
    reason: 'every night',
  })
  assert.deepEqual(
    [often?.timing, often?.overlap, often?.missed, often?.priority, often?.target],
    ['every 300 s from 2026-01-01T00:00:00Z until 2027-01-01T00:00:00+01:00', 'skip', 'skip', 'low', null],
  )
  assert.equal(list[0]?.recurrence.next(Date.parse('2026-01-02T12:00Z')), Date.parse('2026-01-05T01:30Z'))
  assert.equal(list[1]?.recurrence.next(0), Date.parse('2026-01-01T00:00Z'))
  assert.equal(list[1]?.recurrence.next(Date.parse('2027-01-01T00:00Z')), null)
})

test('no file has no schedules, and neither has one without any', async () => {
  assert.deepEqual((await load(null)).list, [])
  assert.deepEqual((await load('version: 1\n')).list, [])
  assert.deepEqual((await load('version: 1\nschedules:\n')).list, [])
})

test('what is wrong is told with its line, and what would be right', async () => {
  assert.deepEqual(await wrong('operaton: probe.touch'), [
    '4:5 there is no "schedules.a.operaton"; did you mean "operation"?',
  ])
  assert.match(
    String(await wrong('cron: "* * * *"')),
    /^4:11 schedules\.a\.cron must be a cron expression that some date fits/,
  )
  assert.match(String(await wrong('cron: "0 0 31 2 *"')), /some date fits/)
  assert.match(String(await wrong('timezone: Europe/Berln')), /^4:15 .*IANA name of a time zone/)
  assert.deepEqual(await wrong('operation: probe.tuch'), [
    '4:16 schedules.a.operation: there is no such operation; did you mean "probe.touch"?',
  ])
  assert.deepEqual(await wrong('target: onne'), [
    '4:13 schedules.a.target: is not in the inventory; did you mean "one"?',
  ])
  assert.match(String(await wrong('target: bare')), /schedules\.a\.target: has no block "probe"/)
  assert.match(String(await wrong('operation: probe.look')), /schedules\.a\.target: probe\.look acts on no target/)
  assert.match(String(await wrong('overlap: queue')), /^4:14 schedules\.a\.overlap must be/)
  assert.match(
    String(await wrong('end: "2020-01-01T00:00:00Z"', 'start: "2021-01-01T00:00:00Z"')),
    /^4:10 .*later than "start"/,
  )
  assert.deepEqual(await wrong('every: 60', 'jitter: 60'), [
    '5:13 schedules.a.jitter: must be less than the time between two occurrences',
  ])
  assert.match(String(await wrong('every: 60', 'cron: "* * * * *"')), /give one of "cron" and "every"/)
  assert.match(
    await problemsOf('version: 1\nschedules:\n  a: { operation: probe.look }\n').then(String),
    /give one of "cron" and "every"/,
  )
  assert.match(await problemsOf('version: 2\nschedules: {}\n').then(String), /newer than format 1/)
  assert.match(await problemsOf('schedules: {}\n').then(String), /"version" must be 1/)
  assert.match(await problemsOf('version: 1\nschedules: { "a b": {} }\n').then(String), /must be letters, digits/)
})

test('the input is checked against the operation, before the time comes', async () => {
  assert.deepEqual(await wrong('input: { valeu: x }'), [
    '4:14 there is no "schedules.a.input.valeu"; did you mean "value"?',
  ])
  assert.match(String(await wrong('input: { value: [1] }')), /^4:21 schedules\.a\.input\.value must be/)
})

test('all problems of a file are told at once', async () => {
  const problems = await problemsOf(
    'version: 1\nschedules:\n  a: { operation: x.y, every: 5 }\n  b: { operation: probe.look, every: 5, jitter: 9 }\n',
  )
  assert.equal(problems.length, 2)
})
