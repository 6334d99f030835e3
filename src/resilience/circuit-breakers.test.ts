import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Clock } from '../core/clock.ts'
import { mhvError } from '../core/errors.ts'
import { createMemoryStore } from '../store/memory.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import type { BreakerLimits } from './circuit-breaker.ts'
import { BREAKER_STATE, type BreakerStore, createCircuitBreakers } from './circuit-breakers.ts'

const LIMITS: BreakerLimits = {
  failure_threshold: 3,
  window_seconds: 100,
  minimum_calls: 1,
  failure_ratio: 0,
  recovery_timeout: 60,
  half_open_max_calls: 2,
  success_threshold: 1,
}

/** A wall clock that can be set, and time that passes whatever it says. */
function settable() {
  const clock = createFakeClock(1_000_000_000)
  let shift = 0
  const set: Clock = { ...clock, now: () => clock.now() + shift }
  const jump = (ms: number) => {
    shift += ms
  }
  return { clock: set, advance: clock.advance, jump }
}

function fixture(clock: Clock = createFakeClock(0), store: BreakerStore | null = createMemoryStore(clock)) {
  const log: { level: string; message: string; fields: unknown }[] = []
  const write = (level: string) => (message: string, fields?: unknown) => void log.push({ level, message, fields })
  const changes: string[] = []
  const make = () =>
    createCircuitBreakers({
      clock,
      store,
      log: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') },
      limitsOf(worker) {
        if (worker !== 'ssh') throw mhvError('MHV_WORKER_UNKNOWN', worker)
        return LIMITS
      },
      onChange: (worker, target, { from, to }) => changes.push(`${worker}:${target} ${from}>${to}`),
    })
  const breakers = make()
  const fail = (target: string, from = breakers) => {
    for (let failed = 0; failed < 3; failed++) from.of('ssh', target, LIMITS).enter().failure()
  }
  return { clock, store, log, changes, breakers, make, fail }
}

suite('circuit breakers', () => {
  test('each target has its own, and changes are told', () => {
    const { breakers, changes, log, fail } = fixture()
    fail('web1')
    breakers.of('ssh', 'web3', LIMITS).enter().failure()
    assert.throws(() => breakers.of('ssh', 'web1', LIMITS).check())
    breakers.of('ssh', 'web2', LIMITS).check()
    breakers.of('mqtt', 'web1', LIMITS).check()
    assert.deepEqual(
      breakers.list().map(({ worker, target, state, failures }) => [worker, target, state, failures]),
      [
        ['ssh', 'web1', 'open', 3],
        ['ssh', 'web3', 'closed', 1],
      ],
    )
    assert.deepEqual(changes, ['ssh:web1 closed>open'])
    assert.equal(log[0]?.level, 'warn')
  })

  test('names without end do not fill the memory, and what is open or forced is not forgotten', async () => {
    const { breakers, fail } = fixture()
    fail('bad')
    await breakers.force('ssh', 'held', 'closed')
    const first = breakers.of('ssh', 'host-0', LIMITS)
    for (let host = 0; host < 10_001; host++) breakers.of('ssh', `host-${host}`, LIMITS)
    assert.notEqual(breakers.of('ssh', 'host-0', LIMITS), first)
    assert.deepEqual(
      breakers.list().map(({ target, state, forced }) => [target, state, forced]),
      [
        ['bad', 'open', null],
        ['held', 'closed', 'closed'],
      ],
    )
  })

  test('a state survives the process, with the time that is left of it', async () => {
    const { clock, advance } = settable()
    const { breakers, make, fail } = fixture(clock)
    fail('web1')
    await breakers.force('ssh', 'web2', 'open')
    await breakers.flush()
    await advance(20_000)
    const next = make()
    await next.load()
    assert.throws(() => next.of('ssh', 'web1', LIMITS).check(), { retryAfter: 40, message: /3 failures/ })
    assert.throws(() => next.of('ssh', 'web2', LIMITS).check(), { message: /an operator/ })
    await advance(40_000)
    next.of('ssh', 'web1', LIMITS).enter().success()
    await next.force('ssh', 'web2', 'auto')
    await next.flush()
    const last = make()
    await last.load()
    assert.deepEqual(last.list(), [])
  })

  test('a wall clock that was set never holds calls back for longer than the recovery takes', async () => {
    for (const [jump, left] of [
      [-365 * 86_400_000, 60],
      [-5_000, 60],
      [+5_000, 55],
      [+365 * 86_400_000, null],
    ] as const) {
      const { clock, jump: set } = settable()
      const { breakers, make, fail } = fixture(clock)
      fail('web1')
      await breakers.flush()
      set(jump)
      // The process that had it open is not moved by the clock.
      assert.throws(() => breakers.of('ssh', 'web1', LIMITS).check(), { retryAfter: 60 })
      const next = make()
      await next.load()
      const { state } = next.of('ssh', 'web1', LIMITS).view()
      assert.equal(state, left === null ? 'half-open' : 'open', `${jump}`)
      if (left !== null) assert.throws(() => next.of('ssh', 'web1', LIMITS).check(), { retryAfter: left })
    }
  })

  test('what the journal has and nobody can read starts closed, and is told', async () => {
    const { store, breakers, log } = fixture()
    await store?.stateSet(BREAKER_STATE, 'ssh:web1', { forced: 'half', open_until: 'soon' })
    await store?.stateSet(BREAKER_STATE, 'gone:web1', { forced: 'open', open_until: null, failures: 0 })
    await breakers.load()
    assert.deepEqual(breakers.list(), [])
    assert.deepEqual(
      log.map(({ level, fields }) => [level, fields]),
      [['warn', { worker: 'ssh', target: 'web1' }]],
    )
    // That of a worker that is not there now is left for when it is.
    assert.deepEqual((await store?.stateList(BREAKER_STATE, 'gone'))?.length, 1)
  })

  test('changes while one is written are written after it, one at a time; the last one stays', async () => {
    const memory = createMemoryStore(createFakeClock(0))
    const waiting: (() => void)[] = []
    let active = 0
    const slow = (write: () => Promise<void>) => async () => {
      assert.equal(++active, 1, 'two writes of one breaker at once')
      await new Promise<void>((resolve) => waiting.push(resolve))
      await write()
      active -= 1
    }
    const store: BreakerStore = {
      stateList: memory.stateList,
      stateSet: (...args) => slow(() => memory.stateSet(...args))(),
      stateDelete: (...args) => slow(() => memory.stateDelete(...args))(),
    }
    const { breakers } = fixture(createFakeClock(0), store)
    const forced = (['open', 'closed', 'auto', 'open'] as const).map((state) => breakers.force('ssh', 'web1', state))
    let flushed = false
    const flush = breakers.flush().then(() => {
      flushed = true
    })
    await new Promise(setImmediate)
    assert.equal(flushed, false)
    while (!flushed) {
      waiting.shift()?.()
      await new Promise(setImmediate)
    }
    await Promise.all([flush, ...forced])
    const [entry] = await memory.stateList(BREAKER_STATE, '')
    assert.deepEqual(entry?.value, { forced: 'open', open_until: null, failures: 0 })
  })

  test('a journal that does not take it does not keep the breaker from working, and an operator is told', async () => {
    const memory = createMemoryStore(createFakeClock(0))
    const refuse = async () => {
      throw mhvError('MHV_JOURNAL_FULL', 'no room')
    }
    const store: BreakerStore = { stateList: memory.stateList, stateSet: refuse, stateDelete: refuse }
    const { breakers, log, fail } = fixture(createFakeClock(0), store)
    fail('web1')
    await breakers.flush()
    assert.throws(() => breakers.of('ssh', 'web1', LIMITS).check(), { code: 'MHV_BREAKER_OPEN' })
    assert.deepEqual(
      log.map(({ level }) => level),
      ['warn', 'error'],
    )
    await assert.rejects(breakers.force('ssh', 'web2', 'open'), { code: 'MHV_JOURNAL_FULL' })
    // It holds calls back all the same.
    assert.throws(() => breakers.of('ssh', 'web2', LIMITS).check(), { code: 'MHV_BREAKER_OPEN' })
  })
})
