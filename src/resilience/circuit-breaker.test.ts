import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { ERROR_CODES } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createCircuitBreaker, createCircuitBreakers, speaksAgainstTarget } from './circuit-breaker.ts'

const LIMITS = { failure_threshold: 3, recovery_timeout: 60, half_open_max_calls: 2 }

function fresh() {
  const clock = createFakeClock(0)
  return { clock, breaker: createCircuitBreaker('ssh:web1', LIMITS, clock) }
}

function open({ breaker }: ReturnType<typeof fresh>): void {
  for (let failed = 0; failed < LIMITS.failure_threshold; failed++) breaker.enter().failure()
}

suite('circuit breaker', () => {
  test('opens after so many failures in a row, and says when to come back', async () => {
    const { breaker, clock } = fresh()
    breaker.enter().failure()
    breaker.enter().failure()
    breaker.enter().success()
    breaker.enter().failure()
    breaker.enter().neutral()
    breaker.enter().failure()
    assert.equal(breaker.state(), 'closed')
    breaker.enter().failure()
    assert.equal(breaker.state(), 'open')
    await clock.advance(500)
    const held = { code: 'MHV_BREAKER_OPEN', retryAfter: 60, message: /^ssh:web1: 3 failures in a row/ }
    assert.throws(() => breaker.check(), held)
    assert.throws(() => breaker.enter(), held)
  })

  test('half-open lets so many through at once; a success closes it, a failure opens it again', async () => {
    for (const outcome of ['success', 'failure'] as const) {
      const parts = fresh()
      const { breaker, clock } = parts
      open(parts)
      await clock.advance(60_000)
      assert.equal(breaker.state(), 'half-open')
      const trial = breaker.enter()
      const other = breaker.enter()
      assert.throws(() => breaker.enter(), { code: 'MHV_BREAKER_OPEN', retryAfter: 1 })
      trial[outcome]()
      assert.equal(breaker.state(), outcome === 'success' ? 'closed' : 'open')
      // The other trial is from before: it neither closes what has just opened nor opens what has just closed.
      other[outcome === 'success' ? 'failure' : 'success']()
      assert.equal(breaker.state(), outcome === 'success' ? 'closed' : 'open')
      if (outcome === 'failure') assert.throws(() => breaker.check(), { retryAfter: 60 })
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
    assert.equal(parts.breaker.state(), 'half-open')
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
    assert.equal(parts.breaker.state(), 'half-open')
  })

  test('whatever happens, it lets at most so many trials through at once', async () => {
    const step = fc.oneof(fc.constantFrom('enter', 'success', 'failure', 'neutral'), fc.nat(70_000))
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
        const { breaker, clock } = fresh()
        let passes: ReturnType<typeof breaker.enter>[] = []
        let since: string = breaker.state()
        for (const each of steps) {
          if (typeof each === 'number') await clock.advance(each)
          else if (each !== 'enter') passes.shift()?.[each as 'success']()
          if (since !== breaker.state()) [since, passes] = [breaker.state(), []]
          if (each !== 'enter') continue
          try {
            passes.push(breaker.enter())
            assert.notEqual(since, 'open')
            if (since === 'half-open') assert.ok(passes.length <= LIMITS.half_open_max_calls)
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'MHV_BREAKER_OPEN')
            assert.notEqual(since, 'closed')
          }
        }
      }),
    )
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

suite('circuit breakers', () => {
  test('each target has its own', () => {
    const breakers = createCircuitBreakers(createFakeClock(0))
    for (let failed = 0; failed < 3; failed++) breakers.of('ssh', 'web1', LIMITS).enter().failure()
    assert.throws(() => breakers.of('ssh', 'web1', LIMITS).check())
    breakers.of('ssh', 'web2', LIMITS).check()
    breakers.of('mqtt', 'web1', LIMITS).check()
    assert.deepEqual(breakers.open(), [{ name: 'ssh:web1', state: 'open' }])
  })

  test('names without end do not fill the memory, and an open one is not forgotten', () => {
    const breakers = createCircuitBreakers(createFakeClock(0))
    for (let failed = 0; failed < 3; failed++) breakers.of('ssh', 'bad', LIMITS).enter().failure()
    const first = breakers.of('ssh', 'host-0', LIMITS)
    for (let host = 0; host < 10_001; host++) breakers.of('ssh', `host-${host}`, LIMITS)
    assert.notEqual(breakers.of('ssh', 'host-0', LIMITS), first)
    assert.equal(breakers.of('ssh', 'bad', LIMITS).state(), 'open')
  })
})
