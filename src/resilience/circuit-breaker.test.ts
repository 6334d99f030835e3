import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ERROR_CODES } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { type BreakerLimits, createCircuitBreaker, speaksAgainstTarget } from './circuit-breaker.ts'

const LIMITS: BreakerLimits = {
  failure_threshold: 3,
  window_seconds: 100,
  minimum_calls: 1,
  failure_ratio: 0,
  recovery_timeout: 60,
  half_open_max_calls: 2,
  success_threshold: 1,
}

function fresh(limits: Partial<BreakerLimits> = {}) {
  const clock = createFakeClock(0)
  return { clock, breaker: createCircuitBreaker('ssh:web1', { ...LIMITS, ...limits }, clock) }
}

function open({ breaker }: ReturnType<typeof fresh>): void {
  for (let failed = 0; failed < LIMITS.failure_threshold; failed++) breaker.enter().failure()
}

const stateOf = ({ view }: ReturnType<typeof fresh>['breaker']) => view().state

suite('circuit breaker', () => {
  test('opens after so many failures within the window, whatever came between, and says when to come back', async () => {
    const { breaker, clock } = fresh()
    breaker.enter().failure()
    breaker.enter().failure()
    breaker.enter().success()
    breaker.enter().neutral()
    assert.equal(stateOf(breaker), 'closed')
    assert.deepEqual(breaker.enter().failure(), { from: 'closed', to: 'open', forced: null, failures: 3, calls: 4 })
    await clock.advance(500)
    const held = { code: 'MHV_BREAKER_OPEN', retryAfter: 60, message: /^ssh:web1: 3 failures lately/ }
    assert.throws(() => breaker.check(), held)
    assert.throws(() => breaker.enter(), held)
    assert.deepEqual(breaker.view(), { state: 'open', forced: null, failures: 3, calls: 0, open_until: 60_000 })
  })

  test('failures from before the window do not count', async () => {
    const { breaker, clock } = fresh()
    for (let failed = 0; failed < 10; failed++) {
      breaker.enter().failure()
      await clock.advance(50_000)
    }
    assert.equal(stateOf(breaker), 'closed')
    await clock.advance(1e9)
    assert.deepEqual(breaker.view(), { state: 'closed', forced: null, failures: 0, calls: 0, open_until: null })
  })

  test('too few calls, or failures among too small a part of them, do not open it', () => {
    const few = fresh({ minimum_calls: 6 }).breaker
    for (let call = 1; call <= 5; call++) few.enter().failure()
    assert.equal(stateOf(few), 'closed')
    few.enter().failure()
    assert.equal(stateOf(few), 'open')

    const busy = fresh({ failure_ratio: 0.5 }).breaker
    for (let call = 0; call < 100; call++) busy.enter().success()
    for (let call = 0; call < 99; call++) busy.enter().failure()
    assert.equal(stateOf(busy), 'closed')
    busy.enter().failure()
    assert.equal(stateOf(busy), 'open')
  })

  test('half-open lets so many through at once; a success closes it, a failure opens it again', async () => {
    for (const outcome of ['success', 'failure'] as const) {
      const parts = fresh()
      const { breaker, clock } = parts
      open(parts)
      await clock.advance(60_000)
      assert.equal(stateOf(breaker), 'half-open')
      const trial = breaker.enter()
      const other = breaker.enter()
      assert.equal(trial.trial, true)
      assert.throws(() => breaker.enter(), { code: 'MHV_BREAKER_OPEN', retryAfter: 1 })
      assert.equal(trial[outcome]()?.from, 'half-open')
      assert.equal(stateOf(breaker), outcome === 'success' ? 'closed' : 'open')
      // The other trial is from before: it neither closes what has just opened nor opens what has just closed.
      assert.equal(other[outcome === 'success' ? 'failure' : 'success'](), null)
      assert.equal(stateOf(breaker), outcome === 'success' ? 'closed' : 'open')
      if (outcome === 'failure') assert.throws(() => breaker.check(), { retryAfter: 60 })
    }
  })

  test('as many successes close it as the setting says', async () => {
    const parts = fresh({ success_threshold: 3 })
    open(parts)
    await parts.clock.advance(60_000)
    for (const state of ['half-open', 'half-open', 'closed']) {
      parts.breaker.enter().success()
      assert.equal(stateOf(parts.breaker), state)
    }
  })

  test('a trial that says nothing gives its place back, and what is told twice counts once', async () => {
    const parts = fresh()
    open(parts)
    await parts.clock.advance(60_000)
    for (let call = 0; call < 10; call++) {
      const pass = parts.breaker.enter()
      pass.neutral()
      pass.neutral()
      pass.failure()
    }
    assert.equal(stateOf(parts.breaker), 'half-open')
    parts.breaker.enter()
    parts.breaker.enter()
    assert.throws(() => parts.breaker.enter(), { code: 'MHV_BREAKER_OPEN' })
  })

  test('trials that never end do not keep it from trying again after it opened anew', async () => {
    const parts = fresh()
    open(parts)
    await parts.clock.advance(60_000)
    parts.breaker.enter()
    parts.breaker.enter().failure()
    await parts.clock.advance(60_000)
    parts.breaker.enter()
    parts.breaker.enter()
    assert.throws(() => parts.breaker.enter(), { code: 'MHV_BREAKER_OPEN' })
  })

  test('a failure of a call that began before it opened does not keep it open for longer', async () => {
    const parts = fresh()
    const late = parts.breaker.enter()
    open(parts)
    await parts.clock.advance(59_000)
    late.failure()
    await parts.clock.advance(1_000)
    assert.equal(stateOf(parts.breaker), 'half-open')
  })

  test('an operator holds it open or closed, and leaves it to itself again', async () => {
    const parts = fresh()
    const { breaker, clock } = parts
    assert.deepEqual(breaker.force('open'), { from: 'closed', to: 'open', forced: 'open', failures: 0, calls: 0 })
    assert.equal(breaker.force('open'), null)
    await clock.advance(1e9)
    assert.throws(() => breaker.check(), { code: 'MHV_BREAKER_OPEN', retryAfter: undefined, message: /an operator/ })
    breaker.force('closed')
    open(parts)
    open(parts)
    breaker.check()
    breaker.force('auto')
    assert.deepEqual(breaker.view(), { state: 'closed', forced: null, failures: 0, calls: 0, open_until: null })
    assert.equal(breaker.force('auto'), null)
    open(parts)
    assert.equal(stateOf(breaker), 'open')
  })

  test('only the network speaks against a target: a table over every code', () => {
    const against = ERROR_CODES.filter((code) => speaksAgainstTarget(mhvError(code, '')))
    assert.deepEqual(
      against,
      ERROR_CODES.filter((code) => mhvError(code, '').spec.category === 'network'),
    )
    assert.ok(against.includes('MHV_SSH_CONNECT_REFUSED'))
    assert.ok(!against.includes('MHV_SSH_AUTH_FAILED') && !against.includes('MHV_EXEC_FAILED'))
  })
})
