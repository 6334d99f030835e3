import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  createRuntimeFixture,
  type FixtureOptions,
  type RuntimeFixture,
  type Script,
} from '../../../test/helpers/runtime-parts.ts'
import { ERROR_CATEGORIES, ERROR_CODES, ERROR_TABLE, type ErrorCode } from '../../core/error-table.ts'
import { mhvError } from '../../core/errors.ts'
import type { AnyWorker } from '../../core/worker.ts'

/** A worker that wants everything tried again, three times in all: what is not, is held back for safety. */
const eager = (worker: AnyWorker): AnyWorker => ({
  ...worker,
  breaker: { ...worker.breaker, failure_threshold: 1_000 },
  recovery: {
    codes: {},
    categories: Object.fromEntries(
      ERROR_CATEGORIES.map((category) => [category, { strategy: 'retry' as const, max_attempts: 3 }]),
    ),
  },
})

/** Fails so many times with the codes, one after the other, then succeeds. */
function failing(codes: readonly ErrorCode[], options: FixtureOptions = {}) {
  const attempts: number[] = []
  const script: Script = (context) => {
    attempts.push(context.attempt)
    const code = codes[attempts.length - 1]
    if (code !== undefined) throw mhvError(code, `attempt ${context.attempt}`)
    return { value: 1 }
  }
  return { attempts, ...createRuntimeFixture({ script, worker: eager, ...options }) }
}

/** Why there was no other attempt, by the event log. */
async function denials(fixture: RuntimeFixture, run_id: string): Promise<unknown[]> {
  const { events } = await fixture.control('run_get', { run_id })
  const denied = (events as { type: string; data: { reason: unknown } }[]).filter(({ type }) => type === 'retry_denied')
  return denied.map(({ data }) => data.reason)
}

const cut = (result: { status: string; error_code: unknown; effect_certainty: unknown }) => [
  result.status,
  result.error_code,
  result.effect_certainty,
]

suite('attempts', () => {
  test('another attempt is made only where that is safe: every code, idempotent or not', async () => {
    for (const code of ERROR_CODES) {
      for (const operation of ['probe.script', 'probe.repeat']) {
        const fixture = failing([code])
        const result = await fixture.run(fixture.call(operation))
        const { phase } = ERROR_TABLE[code]
        // An operation that lost the journal had begun, whatever the code says of the journal's own writes.
        const ofJournal = /^MHV_(JOURNAL_|DISK_LOW|INSTANCE_FENCED)/.test(code)
        const safe = ofJournal ? 'unknown' : phase
        const again = safe === 'before-effect' || (safe === 'unknown' && operation === 'probe.repeat')
        assert.equal(fixture.attempts.length, again ? 2 : 1, `${code} of ${operation}`)
        assert.equal(result.attempts, fixture.attempts.length, `${code} of ${operation}`)
        assert.equal(result.status === 'completed', again, `${code} of ${operation}`)
      }
    }
  })

  test('attempts are counted, told to the operation, bounded, and in the log of the run with their waits', async () => {
    const fixture = failing([
      'MHV_SSH_CONNECT_REFUSED',
      'MHV_SSH_CONNECT_TIMEOUT',
      'MHV_SSH_CONNECT_REFUSED',
      'MHV_INTERNAL',
    ])
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(fixture.attempts, [1, 2, 3])
    assert.deepEqual([result.attempts, ...cut(result)], [3, 'failed', 'MHV_SSH_CONNECT_REFUSED', 'none'])
    const { events } = await fixture.control('run_get', { run_id: result.run_id })
    const failed = (events as { type: string; data: { wait_ms: number; error_code: string } }[]).filter(
      ({ type }) => type === 'attempt_failed',
    )
    assert.deepEqual(
      failed.map(({ data }) => data.error_code),
      ['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_TIMEOUT'],
    )
    for (const [index, { data }] of failed.entries()) assert.ok(data.wait_ms >= 0 && data.wait_ms < 200 * 2 ** index)
  })

  test('what the other side asks for is waited for, and jitter on top', async () => {
    let at = 0
    const waits: number[] = []
    const fixture = createRuntimeFixture({
      worker: eager,
      script: (context) => {
        if (at > 0) waits.push(context.clock.monotonic() - at)
        at = context.clock.monotonic()
        if (waits.length < 2) throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'later', { retryAfter: 2 })
        return { value: 1 }
      },
    })
    at = 0
    await fixture.clock.advance(1)
    await fixture.run(fixture.call('probe.script'), 1)
    assert.equal(waits.length, 2)
    for (const [index, wait] of waits.entries())
      assert.ok(wait >= 2_000 && wait < 2_000 + 200 * 2 ** index, `${wait} ms`)
  })

  test('an attempt that may have changed something is not taken back by a later one that did not', async () => {
    const table: readonly (readonly [codes: readonly ErrorCode[], certainty: string])[] = [
      [['MHV_SSH_CONNECTION_LOST', 'MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_REFUSED'], 'unknown'],
      [['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECTION_LOST', 'MHV_SSH_CONNECT_REFUSED'], 'unknown'],
      [['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_REFUSED'], 'none'],
      [['MHV_SSH_CONNECT_REFUSED', 'MHV_OUTPUT_INVALID'], 'applied'],
    ]
    for (const [codes, certainty] of table) {
      const fixture = failing(codes)
      const result = await fixture.run(fixture.call('probe.repeat', {}, { idempotency_key: 'k' }))
      assert.equal(result.effect_certainty, certainty, codes.join())
    }
  })

  test('what asks for more time than the run has is not waited for, and the caller gets to know when to return', async () => {
    const script: Script = () => {
      throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'later', { retryAfter: 1_000 })
    }
    const fixture = createRuntimeFixture({ worker: eager, script })
    const before = fixture.clock.now()
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 20 }))
    assert.deepEqual([...cut(result), result.attempts], ['failed', 'MHV_SSH_CHANNEL_REFUSED', 'none', 1])
    assert.equal(result.metadata.retry_after, 1_000)
    assert.ok(fixture.clock.now() - before < 200)
    assert.deepEqual(await denials(fixture, result.run_id), ['deadline'])
  })

  test('the wait for another attempt ends with the run', async () => {
    const script: Script = () => {
      throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'later', { retryAfter: 15 })
    }
    const fixture = createRuntimeFixture({ worker: eager, script })
    const controller = new AbortController()
    fixture.clock.after(1_000, () => controller.abort())
    const calling = fixture.call('probe.script', {}, { timeout: 20 }, { signal: controller.signal })
    assert.deepEqual(cut(await fixture.run(calling)), ['cancelled', 'MHV_SSH_CHANNEL_REFUSED', 'none'])
  })

  test('the event log says why there was no other attempt, and what was left of the budget', async () => {
    const told = async (codes: readonly ErrorCode[], options: FixtureOptions = {}) => {
      const fixture = failing(codes, options)
      const { run_id } = await fixture.run(fixture.call('probe.script'))
      return denials(fixture, run_id)
    }
    const refused = Array.from({ length: 9 }, () => 'MHV_SSH_CONNECT_REFUSED' as const)
    assert.deepEqual(await told(refused), ['attempts'])
    assert.deepEqual(await told(['MHV_SSH_CONNECTION_LOST']), ['unsafe'])
    assert.deepEqual(await told(['MHV_EXEC_NOT_FOUND'], { worker: (probe) => probe }), ['not_listed'])
    const budget = { size: 9, retry_cost: 5, timeout_cost: 10, success_return: 1 }
    assert.deepEqual(await told(refused, { retry: { budget } }), ['budget'])
    // A retry after a timeout costs more than is there.
    assert.deepEqual(await told(['MHV_SSH_CONNECT_TIMEOUT'], { retry: { budget } }), ['budget'])
  })

  test('a success gives back to the budget of its target, and only to that', async () => {
    const budget = { size: 5, retry_cost: 5, timeout_cost: 5, success_return: 1 }
    const fixture = failing(['MHV_SSH_CONNECT_REFUSED'], { retry: { budget } })
    const left = (target: string) => fixture.parts.retry.budgetOf('probe', target, budget).left()
    assert.equal((await fixture.run(fixture.call('probe.script'))).attempts, 2)
    assert.deepEqual([left('one'), left('two')], [1, 5])
    for (let call = 0; call < 9; call++) await fixture.run(fixture.call('probe.script'))
    assert.deepEqual([left('one'), left('two')], [5, 5])
  })
})

suite('the breaker of a target', () => {
  test('opens, refuses without acting, is no attempt, lets trials through, and closes; other targets are untouched', async () => {
    let broken = true
    let acts = 0
    const script: Script = () => {
      acts += 1
      if (broken) throw mhvError('MHV_SSH_CONNECTION_LOST', 'lost')
      return { value: 1 }
    }
    const fixture = createRuntimeFixture({ script })
    const call = (target = 'one', envelope = {}) =>
      fixture.run(fixture.call('probe.script', {}, { target, ...envelope }))
    for (let failed = 0; failed < 5; failed++) assert.equal((await call()).error_code, 'MHV_SSH_CONNECTION_LOST')
    const refused = await call()
    assert.deepEqual([...cut(refused), refused.attempts], ['failed', 'MHV_BREAKER_OPEN', 'none', 0])
    assert.equal(refused.metadata.retry_after, 300)
    assert.equal(acts, 5)
    broken = false
    assert.equal((await call('two')).status, 'completed')

    // With a key the refused run may be done later, as the same run.
    const keyed = await call('one', { idempotency_key: 'k' })
    assert.deepEqual(cut(keyed), ['failed', 'MHV_BREAKER_OPEN', 'none'])
    await fixture.clock.advance(300_000)
    const again = await call('one', { idempotency_key: 'k' })
    assert.deepEqual([again.run_id, again.status, again.attempts], [keyed.run_id, 'completed', 1])
    assert.deepEqual(fixture.parts.breakers.list(), [])
    const { events } = await fixture.control('run_get', { run_id: refused.run_id })
    assert.deepEqual(
      (events as { type: string }[]).map(({ type }) => type),
      ['accepted', 'breaker', 'finished'],
    )
  })

  test('holds back what would be tried again', async () => {
    const fixture = failing(
      Array.from({ length: 20 }, () => 'MHV_SSH_CONNECT_REFUSED' as const),
      {
        worker: (probe) => ({
          ...eager(probe),
          breaker: { failure_threshold: 2, recovery_timeout: 60, half_open_max_calls: 1 },
        }),
      },
    )
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual([...cut(result), result.attempts], ['failed', 'MHV_BREAKER_OPEN', 'none', 2])
  })
})
