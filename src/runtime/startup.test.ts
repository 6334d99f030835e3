import assert from 'node:assert/strict'
import { afterEach, suite, test } from 'node:test'
import { createRuntimeFixture } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import { createRegistry } from '../core/registry.ts'
import type { AnyWorker } from '../core/worker.ts'
import { createWorkerInstances } from './lifecycle.ts'
import { createStartup, standingWorkers } from './startup.ts'

const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

interface Given {
  readonly requires?: readonly string[]
  readonly connect?: () => Promise<void>
  readonly close?: () => Promise<void>
  readonly heartbeat?: () => Promise<void>
}

/** Workers whose starts and ends are written down, in an instance of their own. */
function workersOf(given: Readonly<Record<string, Given>>, wanted: readonly string[] = []) {
  const fixture = createRuntimeFixture()
  const log: string[] = []
  const [probe] = fixture.parts.registry.workers as [AnyWorker]
  const workers = Object.entries(given).map(([name, { requires = [], connect, close, heartbeat }]) => ({
    ...probe,
    name,
    requires,
    operations: [],
    async connect() {
      log.push(`start ${name}`)
      await connect?.()
      log.push(`up ${name}`)
      return {
        stats: () => ({}),
        ...(heartbeat === undefined ? {} : { heartbeat }),
        async close() {
          log.push(`close ${name}`)
          await close?.()
          log.push(`down ${name}`)
        },
      }
    },
  }))
  const registry = createRegistry(workers)
  const instances = createWorkerInstances({ ...fixture.parts, registry })
  const startup = createStartup({ ...fixture.parts, registry, instances, wanted })
  stops.push(startup.stop)
  return { fixture, instances, startup, log, get: (name: string) => instances.get(registry.worker(name)) }
}

const CHAIN = { top: { requires: ['middle'] }, middle: { requires: ['base'] }, base: {} }

suite('workers that require each other', () => {
  test('start after what they require, once, and stop before it', async () => {
    const { fixture, instances, log, get } = workersOf(CHAIN)
    await fixture.run(Promise.all([get('top'), get('base'), get('middle')]))
    assert.deepEqual(
      log.filter((line) => line.startsWith('up')),
      ['up base', 'up middle', 'up top'],
    )
    assert.equal(log.length, 6)
    log.length = 0
    await fixture.run(instances.close())
    assert.deepEqual(log, ['close top', 'down top', 'close middle', 'down middle', 'close base', 'down base'])
  })

  test('one whose requirement does not start says which and why, and starts when it is there again', async () => {
    let broken = true
    const connect = async () => {
      if (broken) throw mhvError('MHV_SSH_CONNECT_REFUSED', 'nobody listens')
    }
    const { fixture, instances, get, log } = workersOf({ ...CHAIN, base: { connect } })
    await assert.rejects(fixture.run(get('top')), (error: { code: string; message: string }) => {
      assert.equal(error.code, 'MHV_WORKER_DEPENDENCY')
      assert.match(error.message, /top requires middle.*middle requires base.*nobody listens/)
      return true
    })
    assert.ok(!log.includes('start top'))
    broken = false
    await fixture.run(get('top'))
    assert.ok(instances.started('top'))
  })

  test('one that hangs at its end holds up what it requires for a bounded time, and nobody else', async () => {
    const never = () => new Promise<void>(() => undefined)
    const { fixture, instances, log, get } = workersOf({ ...CHAIN, top: { ...CHAIN.top, close: never }, other: {} })
    await fixture.run(Promise.all([get('top'), get('other')]))
    const began = fixture.clock.monotonic()
    await fixture.run(instances.close())
    assert.ok(fixture.clock.monotonic() - began < 6_000)
    assert.ok(log.indexOf('down other') < log.indexOf('close middle'))
    assert.ok(log.includes('down base'))
  })
})

suite('workers that are started with the instance', () => {
  test('are missing until they are up, and are tried again', async () => {
    let failures = 3
    const connect = async () => {
      failures -= 1
      if (failures >= 0) throw mhvError('MHV_SSH_CONNECT_REFUSED', 'nobody listens')
    }
    const { fixture, startup } = workersOf({ ...CHAIN, base: { connect } }, ['top'])
    assert.deepEqual(startup.missing(), ['top'])
    startup.begin()
    for (let step = 0; step < 2_000 && startup.missing().length > 0; step++) await fixture.clock.advance(50)
    assert.deepEqual(startup.missing(), [])
    assert.equal(failures, -1)
    const lines = fixture.log.filter(({ message }) => message === 'a worker does not start')
    assert.equal(lines.length, 3)
  })

  test('are those of the setting and those that have work of their own; why one is not up is told', async () => {
    const { fixture, instances } = workersOf({})
    const [probe] = fixture.parts.registry.workers as [AnyWorker]
    const asked: unknown[] = []
    const standing = (wants: boolean) => (settings: unknown, targets: readonly { target: { name: string } }[]) => {
      asked.push([typeof settings, targets.map(({ target }) => target.name)])
      return wants
    }
    const registry = createRegistry([
      { ...probe, name: 'busy', operations: [], standing: standing(true) },
      { ...probe, name: 'idle', operations: [], standing: standing(false) },
      { ...probe, name: 'plain', operations: [] },
    ])
    const names = fixture.parts.environment.targetNames('busy')
    assert.deepEqual(standingWorkers(registry, fixture.parts.environment), ['busy'])
    assert.ok(names.length > 0)
    assert.deepEqual(asked, [
      ['object', names],
      ['object', names],
    ])
    assert.equal(instances.started('busy'), undefined)
  })

  test('say why they are not up until they are', async () => {
    let broken = true
    const connect = async () => {
      if (broken) throw mhvError('MHV_SSH_CONNECT_REFUSED', 'nobody listens')
    }
    const { fixture, startup } = workersOf({ base: { connect } }, ['base'])
    assert.equal(startup.failed('base'), null)
    startup.begin()
    await fixture.clock.advance(10)
    const failed = startup.failed('base')
    assert.deepEqual([failed?.error_code, failed?.message], ['MHV_SSH_CONNECT_REFUSED', 'nobody listens'])
    broken = false
    for (let step = 0; step < 2_000 && startup.missing().length > 0; step++) await fixture.clock.advance(50)
    assert.equal(startup.failed('base'), null)
  })

  test('are not tried any more once the instance stops', async () => {
    let starts = 0
    const connect = async () => {
      starts += 1
      throw mhvError('MHV_SSH_CONNECT_REFUSED', 'nobody listens')
    }
    const { fixture, startup } = workersOf({ base: { connect } }, ['base'])
    startup.begin()
    await fixture.clock.advance(10)
    startup.stop()
    const before = starts
    assert.ok(before >= 1)
    for (let step = 0; step < 100; step++) await fixture.clock.advance(1_000)
    assert.equal(starts, before)
  })
})

suite('heartbeats of workers', () => {
  test('name those that fail or do not answer in time, and no others', async () => {
    const { fixture, instances, get } = workersOf({
      well: { heartbeat: async () => undefined },
      silent: { heartbeat: () => new Promise(() => undefined) },
      broken: { heartbeat: () => Promise.reject(new Error('broken')) },
      without: {},
      asleep: {},
    })
    await fixture.run(Promise.all(['well', 'silent', 'broken', 'without'].map(get)))
    assert.deepEqual(await fixture.run(instances.unwell()), ['silent', 'broken'])
  })
})
