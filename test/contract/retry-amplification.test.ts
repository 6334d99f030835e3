import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mhvError } from '../../src/core/errors.ts'
import { createRetryPolicy, type RetryPolicy } from '../../src/resilience/retry.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { createFakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { createRuntimeFixture } from '../helpers/runtime-parts.ts'

/** RES-06: calls of the whole path against a target that is down, with time that passes only where it is waited for. */

const CALLS = 10_000

/** Sleeps end at once, and the time has passed. */
function instant(): FakeClock {
  const clock = createFakeClock(Date.parse('2026-01-01T00:00:00Z'))
  let skipped = 0
  return {
    ...clock,
    now: () => clock.now() + skipped,
    monotonic: () => clock.monotonic() + skipped,
    async sleep(ms, signal) {
      signal?.throwIfAborted()
      skipped += ms
    },
  }
}

interface Load {
  readonly breaker: boolean
  readonly calls?: number
  readonly code?: 'MHV_SSH_CONNECT_REFUSED' | 'MHV_SSH_CONNECT_TIMEOUT'
  readonly retry?: RetryPolicy
  /** Calls after which the target is back. */
  readonly backAfter?: number
}

async function load({ breaker, calls: total = CALLS, code = 'MHV_SSH_CONNECT_REFUSED', retry, backAfter }: Load) {
  const clock = instant()
  let attempts = 0
  let calls = 0
  let acknowledged = 0
  const fixture = createRuntimeFixture({
    clock,
    store: createMemoryStore(clock),
    script() {
      attempts += 1
      if (backAfter !== undefined && calls > backAfter) return { value: 1 }
      throw mhvError(code, 'nobody is there')
    },
    worker: (probe) => ({
      ...probe,
      breaker: breaker
        ? { failure_threshold: 5, recovery_timeout: 0.5, half_open_max_calls: 3 }
        : { ...probe.breaker, failure_threshold: 1_000_000 },
      recovery: { codes: {}, categories: { network: { strategy: 'retry', max_attempts: 3 } } },
    }),
    ...(retry === undefined ? {} : { change: (parts) => ({ ...parts, retry }) }),
  })
  const counted = { refused: 0, failed: 0 }
  for (calls = 1; calls <= total; calls++) {
    const result = await fixture.call('probe.peek', {}, { target: calls % 2 === 0 ? 'one' : 'two' })
    assert.ok(['failed', 'completed'].includes(result.status))
    acknowledged += result.attempts
    if (result.error_code === 'MHV_BREAKER_OPEN') counted.refused += 1
    else if (result.error_code !== null) counted.failed += 1
  }
  assert.equal(acknowledged, attempts, 'attempts that no result tells of')
  return { attempts, amplification: attempts / total, ...counted }
}

suite('retries and a target that is down', () => {
  test(`RES-06: ${CALLS} calls make at most 1.1 times as many attempts, by the budget alone`, async () => {
    const { amplification, attempts } = await load({ breaker: false })
    assert.ok(amplification <= 1.1, `${amplification}`)
    // Two targets, each with 500 tokens, 5 a retry: not one more, and not fewer.
    assert.equal(attempts, CALLS + 200)
    assert.equal((await load({ breaker: false, calls: 1_000, code: 'MHV_SSH_CONNECT_TIMEOUT' })).attempts, 1_100)
  })

  test('RES-06: and with the breaker fewer than calls', async () => {
    const { amplification, refused, failed } = await load({ breaker: true })
    assert.ok(amplification < 1, `${amplification}`)
    assert.ok(refused > CALLS / 2 && failed > 0, `${refused} refused, ${failed} failed`)
  })

  test('RES-06: a target that comes back gets its calls, and its budget again', async () => {
    const { attempts, failed } = await load({ breaker: false, calls: 2_000, backAfter: 1_000 })
    assert.equal(failed, 1_000)
    assert.equal(attempts, 2_200)
  })

  test('RES-06: negative control: without a budget every call makes three attempts', async () => {
    const unbounded = { left: () => Number.POSITIVE_INFINITY, take: () => true, success: () => undefined }
    const retry = { ...createRetryPolicy(), budgetOf: () => unbounded }
    const { amplification } = await load({ breaker: false, calls: 1_000, retry })
    assert.equal(amplification, 3)
  })
})
