import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../core/clock.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import type { Admission, AdmissionRequest } from './admission.ts'
import { createLoopLag, shedOnLag } from './loop-lag.ts'

const request = (priority: AdmissionRequest['priority']): AdmissionRequest => ({
  worker: 'w',
  target: null,
  principal: 'p',
  priority,
  deadline: 0,
})

suite('the lag of the event loop', () => {
  test('is what lasts: a second of it is needed, and a second without it ends it', async () => {
    const clock = createFakeClock(0)
    let median = 0
    const fake = { percentile: () => median, count: 1, reset: () => undefined, enable: () => true, disable: () => true }
    const lag = createLoopLag(clock, fake)
    median = 700e6
    assert.equal(lag.ms(), 0)
    await clock.advance(1_000)
    assert.equal(lag.ms(), 700)
    median = 20e6
    assert.equal(lag.ms(), 20)
    lag.stop()
  })

  test('is measured: a loop whose every turn is long is behind, one that stalled once is not', async () => {
    const lag = createLoopLag(systemClock)
    const blockFor = async (ms: number, turns: number) => {
      for (let turn = 0; turn < turns; turn++) {
        const until = performance.now() + ms
        while (performance.now() < until);
        await new Promise((done) => setTimeout(done, 0))
      }
    }
    await delay(300)
    await blockFor(500, 1)
    await delay(900)
    assert.ok(lag.ms() < 150, `${lag.ms()} ms after one stall`)
    await blockFor(200, 11)
    assert.ok(lag.ms() >= 150, `${lag.ms()} ms`)
    lag.stop()
  })

  test('RES-10: above the limit new runs of low priority are refused, all others are taken', () => {
    let ms = 0
    const place = {} as ReturnType<Admission['enter']>
    const admission = shedOnLag({ enter: () => place } as unknown as Admission, { ms: () => ms }, 500)
    assert.equal(admission.enter(request('low')), place)
    ms = 501
    assert.equal(admission.enter(request('normal')), place)
    assert.equal(admission.enter(request('critical')), place)
    assert.throws(
      () => admission.enter(request('low')),
      (error: { code?: string; details?: { limit?: string }; retryAfter?: number }) => {
        assert.deepEqual(
          [error.code, error.details?.limit, error.retryAfter],
          ['MHV_ADMISSION_FULL', 'event_loop_lag', 1],
        )
        return true
      },
    )
  })

  test('without a limit admission is left as it is', () => {
    const admission = { enter: () => undefined } as unknown as Admission
    assert.equal(shedOnLag(admission, { ms: () => 1e9 }, null), admission)
  })
})
