import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type RuntimeFixture, type Script } from '../../../test/helpers/runtime-parts.ts'
import type { OperationContext } from '../../core/context.ts'
import type { ErrorCode } from '../../core/error-table.ts'
import { mhvError } from '../../core/errors.ts'
import type { Notification } from '../../core/notifier.ts'
import type { OperationFailure, OperationSpec } from '../../core/operation.ts'
import type { WorkerResult } from '../../core/result.ts'
import type { AnyWorker, RecoveryAction } from '../../core/worker.ts'

type Recovery = (context: OperationContext, input: unknown, failure: OperationFailure) => Promise<unknown>

interface Declared {
  readonly action: RecoveryAction
  readonly fallback?: Recovery
  readonly compensate?: Recovery
  readonly script?: Script
}

const CODE: ErrorCode = 'MHV_SSH_CONNECTION_LOST'

/** A worker whose operation fails with a code, and has the recoveries that the test gives it. */
function failing(code: ErrorCode, declared: Declared) {
  const { action, fallback, compensate } = declared
  let acts = 0
  const script: Script = (context, value) => {
    acts += 1
    if (declared.script) return declared.script(context, value)
    throw mhvError(code, 'it failed')
  }
  const worker = (probe: AnyWorker): AnyWorker => ({
    ...probe,
    recovery: { codes: { [code]: action }, categories: {} },
    operations: probe.operations.map((spec: OperationSpec) => ({
      ...spec,
      ...(fallback === undefined ? {} : { fallback }),
      ...(compensate === undefined ? {} : { compensate }),
    })) as OperationSpec[],
  })
  const notifications: Notification[] = []
  const fixture = createRuntimeFixture({ script, worker, notifications })
  return { ...fixture, notifications, acts: () => acts }
}

async function eventsOf(fixture: RuntimeFixture, { run_id }: WorkerResult, type: string) {
  const { events } = await fixture.control('run_get', { run_id })
  return (events as { type: string; data: Record<string, unknown> }[])
    .filter((event) => event.type === type)
    .map(({ data }) => data)
}

const ended = ({ status, error_code, effect_certainty, attempts, metadata }: WorkerResult) => [
  status,
  error_code,
  effect_certainty,
  attempts,
  metadata.recovered_by,
]

suite('recovery: fallback', () => {
  const action: RecoveryAction = { strategy: 'fallback', max_attempts: 2 }
  const other: Recovery = async () => ({ value: 'another way' })

  test('after the attempts, another way is taken, and the result says so', async () => {
    const given: OperationFailure[] = []
    const fallback: Recovery = async (_context, _input, failure) => {
      given.push(failure)
      return { value: 'another way' }
    }
    const fixture = failing('MHV_SSH_CONNECT_REFUSED', { action, fallback })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(ended(result), ['completed', null, 'applied', 2, 'fallback'])
    assert.deepEqual(result.data, { value: 'another way' })
    assert.deepEqual(given, [{ error_code: 'MHV_SSH_CONNECT_REFUSED', message: 'it failed', attempts: 2 }])
    assert.deepEqual(result.metadata.details?.failure, given[0])
    assert.equal(fixture.acts(), 2)
    assert.deepEqual(await eventsOf(fixture, result, 'fallback'), [{ ok: true, error_code: 'MHV_SSH_CONNECT_REFUSED' }])
  })

  test('where the operation may have acted, there is no other way, unless doing it twice is the same', async () => {
    const fixture = failing(CODE, { action, fallback: other })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(ended(result), ['failed', CODE, 'unknown', 1, undefined])
    assert.deepEqual(await eventsOf(fixture, result, 'fallback'), [{ ok: false, reason: 'unsafe' }])
    const repeated = failing(CODE, { action, fallback: other })
    assert.deepEqual(ended(await repeated.run(repeated.call('probe.repeat'))), [
      'completed',
      null,
      'applied',
      2,
      'fallback',
    ])
  })

  test('one that fails leaves the first error, and adds what it may have done', async () => {
    for (const [code, certainty] of [
      ['MHV_SSH_CONNECT_FAILED', 'none'],
      ['MHV_EXEC_FAILED', 'unknown'],
      ['MHV_OUTPUT_INVALID', 'applied'],
    ] as const) {
      const fallback: Recovery = async () => {
        throw mhvError(code, 'neither')
      }
      const fixture = failing('MHV_SSH_CONNECT_REFUSED', { action, fallback })
      const result = await fixture.run(fixture.call('probe.script'))
      assert.deepEqual(ended(result), ['failed', 'MHV_SSH_CONNECT_REFUSED', certainty, 2, undefined])
      const [event] = await eventsOf(fixture, result, 'fallback')
      assert.deepEqual(event, { ok: false, reason: 'failed', error_code: code, error: 'neither' })
    }
  })

  test('data of another shape than the operation declares is no success', async () => {
    const fixture = failing('MHV_SSH_CONNECT_REFUSED', { action, fallback: async () => 5 })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(ended(result), ['failed', 'MHV_OUTPUT_INVALID', 'applied', 2, undefined])
  })

  test('an operation without one just fails', async () => {
    const fixture = failing('MHV_SSH_CONNECT_REFUSED', { action })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.equal(result.status, 'failed')
    assert.deepEqual(await eventsOf(fixture, result, 'fallback'), [{ ok: false, reason: 'not_declared' }])
  })
})

suite('recovery: rollback', () => {
  const action: RecoveryAction = { strategy: 'rollback', max_attempts: 1 }

  test('what may have been done is taken back, once, without another attempt, and both are told', async () => {
    let taken = 0
    const compensate: Recovery = async () => {
      taken += 1
    }
    const fixture = failing(CODE, { action, compensate })
    // Also of an idempotent operation: rollback is rollback.
    for (const operation of ['probe.script', 'probe.repeat']) {
      const result = await fixture.run(fixture.call(operation))
      assert.deepEqual(ended(result), ['failed', CODE, 'none', 1, 'compensation'])
      assert.deepEqual(await eventsOf(fixture, result, 'compensated'), [
        { ok: true, certainty_before: 'unknown', certainty: 'none' },
      ])
    }
    assert.deepEqual([fixture.acts(), taken], [2, 2])
  })

  test('where nothing was done nothing is taken back', async () => {
    const fixture = failing('MHV_SSH_CONNECT_REFUSED', { action, compensate: () => assert.fail('called') })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(ended(result), ['failed', 'MHV_SSH_CONNECT_REFUSED', 'none', 1, undefined])
    assert.deepEqual(await eventsOf(fixture, result, 'compensated'), [{ ok: false, reason: 'nothing_done' }])
  })

  test('one that fails never makes the certainty better', async () => {
    for (const [of, by, certainty] of [
      [CODE, 'MHV_SSH_CONNECT_REFUSED', 'unknown'],
      [CODE, 'MHV_EXEC_FAILED', 'unknown'],
      ['MHV_OUTPUT_INVALID', 'MHV_SSH_CONNECT_REFUSED', 'applied'],
      ['MHV_OUTPUT_INVALID', 'MHV_EXEC_FAILED', 'unknown'],
    ] as const) {
      const compensate: Recovery = async () => {
        throw mhvError(by, 'stuck')
      }
      const fixture = failing(of, { action, compensate })
      const result = await fixture.run(fixture.call('probe.script'))
      assert.deepEqual(ended(result).slice(0, 3), ['failed', of, certainty], `${of}, then ${by}`)
      assert.equal(result.metadata.recovered_by, undefined)
    }
  })

  test('it has its own time where that of the run was up, and no more than the run had', async () => {
    const seen: boolean[] = []
    const compensate: Recovery = async (context) => {
      seen.push(context.signal.aborted)
      await context.clock.sleep(1e9, context.signal)
    }
    const script: Script = (context) => context.clock.sleep(1e9, context.signal)
    const fixture = failing('MHV_RUN_TIMEOUT', { action, compensate, script })
    const before = fixture.clock.now()
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 10 }))
    assert.deepEqual(ended(result), ['timeout', 'MHV_RUN_TIMEOUT', 'unknown', 1, undefined])
    assert.deepEqual(seen, [false])
    const took = fixture.clock.now() - before
    assert.ok(took >= 20_000 && took < 21_000, `${took} ms`)
  })
})

suite('recovery: notify', () => {
  test('somebody is told of what ended so, once a run, with the facts', async () => {
    const fixture = failing(CODE, { action: { strategy: 'notify', max_attempts: 1 } })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.equal(fixture.notifications.length, 1)
    const { kind, severity, title, facts, dedupe_key } = fixture.notifications[0] as Notification
    assert.deepEqual([kind, severity, title], ['run_failed', 'critical', `probe.script on one failed: ${CODE}`])
    assert.equal(dedupe_key, `run_failed:probe.script:one:${CODE}`)
    assert.deepEqual([facts.run_id, facts.effect_certainty, facts.attempts], [result.run_id, 'unknown', 1])
    assert.equal((await eventsOf(fixture, result, 'notified')).length, 1)
  })

  test('any action may want it too, but nobody is told of what was made good', async () => {
    const fixture = failing('MHV_SSH_CONNECT_REFUSED', { action: { strategy: 'retry', max_attempts: 3, notify: true } })
    await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(
      fixture.notifications.map(({ severity, facts }) => [severity, facts.attempts]),
      [['warning', 3]],
    )
    const good = failing('MHV_SSH_CONNECT_REFUSED', {
      action: { strategy: 'fallback', max_attempts: 1, notify: true },
      fallback: async () => ({ value: 1 }),
    })
    await good.run(good.call('probe.script'))
    assert.deepEqual(good.notifications, [])
  })

  test('a notifier that throws costs the notification, not the run', async () => {
    const { parts } = failing(CODE, { action: { strategy: 'notify', max_attempts: 1 } })
    const notify = () => {
      throw new Error('no')
    }
    const fixture = createRuntimeFixture({
      worker: () => parts.registry.worker('probe'),
      change: (others) => ({ ...others, notifier: { notify } }),
    })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(ended(result).slice(0, 2), ['failed', CODE])
    assert.ok(fixture.log.some(({ message }) => message === 'nobody could be told of a failure'))
  })

  test('the value of a secret is not told', async () => {
    const script: Script = async (context) => {
      await context.secrets.resolve('env:KEY')
      throw mhvError(CODE, 'denied: value-of-env:KEY')
    }
    const fixture = failing(CODE, { action: { strategy: 'notify', max_attempts: 1 }, script })
    await fixture.run(fixture.call('probe.script'))
    assert.ok(!JSON.stringify(fixture.notifications).includes('value-of'))
    assert.equal(fixture.notifications.length, 1)
  })

  test('skip does nothing at all', async () => {
    const fixture = failing(CODE, {
      action: { strategy: 'skip', max_attempts: 1 },
      fallback: () => assert.fail('called'),
      compensate: () => assert.fail('called'),
    })
    const result = await fixture.run(fixture.call('probe.repeat'))
    assert.deepEqual(ended(result), ['failed', CODE, 'unknown', 1, undefined])
    assert.deepEqual(fixture.notifications, [])
  })
})
