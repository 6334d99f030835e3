import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createDeadline } from '../resilience/deadline.ts'
import { isoTime, systemClock } from './clock.ts'

suite('system clock', () => {
  test('after calls back once, or never when it was cancelled', async () => {
    let called = 0
    const cancelled = systemClock.after(10, () => (called += 100))
    systemClock.after(10, () => (called += 1))
    cancelled()
    await systemClock.sleep(40)
    assert.equal(called, 1)
  })

  test('what is late already comes at once, and Node warns of nothing: a deadline that has passed, for one', async () => {
    const warnings: string[] = []
    const hear = ({ name }: Error) => warnings.push(name)
    process.on('warning', hear)
    try {
      for (const ms of [-1, -1e9, Number.NaN]) {
        await systemClock.sleep(ms)
        await new Promise<void>((resolve) => systemClock.after(ms, resolve))
      }
      // The deadline of a run that is read from a journal may have passed long ago.
      const { signal } = createDeadline(systemClock, systemClock.now() - 60_000)
      await systemClock.sleep(20)
      assert.equal(signal.reason.code, 'MHV_RUN_TIMEOUT')
      assert.deepEqual(warnings, [])
    } finally {
      process.off('warning', hear)
    }
  })

  test('a sleep ends with the reason of its signal', async () => {
    const reason = new Error('enough')
    const controller = new AbortController()
    const sleeping = systemClock.sleep(60_000, controller.signal)
    controller.abort(reason)
    await assert.rejects(sleeping, reason)
    await assert.rejects(systemClock.sleep(60_000, AbortSignal.abort(reason)), reason)
  })

  test('what is longer than a timer of Node can be is waited for in steps', async (context) => {
    const day = 86_400_000
    const controller = new AbortController()
    let slept = false
    const sleeping = systemClock.sleep(60 * day, controller.signal).then(() => {
      slept = true
    })
    await systemClock.sleep(20)
    assert.equal(slept, false)
    controller.abort(new Error('enough'))
    await assert.rejects(sleeping)

    context.mock.timers.enable({ apis: ['setTimeout'] })
    let called = 0
    systemClock.after(60 * day, () => (called += 1))
    for (let passed = 0; passed < 59; passed++) context.mock.timers.tick(day)
    assert.equal(called, 0)
    for (let passed = 0; passed < 2; passed++) context.mock.timers.tick(day)
    assert.equal(called, 1)
  })

  test('times are ISO 8601 in UTC', () => {
    assert.equal(isoTime(1), '1970-01-01T00:00:00.001Z')
  })
})
