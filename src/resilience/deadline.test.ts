import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mhvError } from '../core/errors.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createDeadline } from './deadline.ts'

suite('deadline', () => {
  test('aborts at its time, with an error of the table', async () => {
    const clock = createFakeClock(5_000)
    const deadline = createDeadline(clock, 6_000)
    await clock.advance(999)
    assert.equal(deadline.signal.aborted, false)
    await clock.advance(1)
    assert.equal(deadline.signal.reason.code, 'MHV_RUN_TIMEOUT')
  })

  test('the first reason stays', async () => {
    const clock = createFakeClock(0)
    const deadline = createDeadline(clock, 1_000)
    deadline.abort(mhvError('MHV_RUN_CANCELLED', 'first'))
    deadline.abort(mhvError('MHV_SHUTTING_DOWN', 'second'))
    await clock.advance(2_000)
    assert.equal(deadline.signal.reason.message, 'first')
  })

  test('once the run is over it does nothing more', async () => {
    const clock = createFakeClock(0)
    const deadline = createDeadline(clock, 1_000)
    deadline.clear()
    await clock.advance(2_000)
    assert.equal(deadline.signal.aborted, false)
  })

  test('one that has passed already aborts at once', async () => {
    const clock = createFakeClock(5_000)
    const deadline = createDeadline(clock, 1_000)
    await clock.advance(0)
    assert.equal(deadline.signal.aborted, true)
  })
})
