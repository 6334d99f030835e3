import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createPingTimer } from './ping-timer.ts'

/** Timers of Node as far as they are used here; its mocked ones cannot be refreshed. */
function fakeIntervals() {
  const intervals = new Set<{ readonly tick: () => void; readonly ms: number; refreshed: number }>()
  return {
    intervals,
    tick() {
      for (const { tick } of intervals) tick()
    },
    setInterval(tick: () => void, ms: number) {
      const interval = {
        tick,
        ms,
        refreshed: 0,
        unref: () => interval,
        refresh() {
          interval.refreshed += 1
          return interval
        },
      }
      intervals.add(interval)
      return interval
    },
    clearInterval: (interval: never) => void intervals.delete(interval),
  }
}

suite('the timer of pings', () => {
  test('one interval begins anew whenever it is cleared and set again', ({ mock }) => {
    const fake = fakeIntervals()
    mock.method(globalThis, 'setInterval', fake.setInterval as never)
    mock.method(globalThis, 'clearInterval', fake.clearInterval as never)
    const timer = createPingTimer()
    const ticks: string[] = []
    timer.set(() => ticks.push('first'), 100)
    timer.clear()
    timer.set(() => ticks.push('second'), 100)
    assert.deepEqual(
      [...fake.intervals].map(({ ms, refreshed }) => [ms, refreshed]),
      [[100, 1]],
    )
    fake.tick()
    fake.tick()
    assert.deepEqual(ticks, ['second', 'second'])
  })

  test('another interval takes its place', ({ mock }) => {
    const fake = fakeIntervals()
    mock.method(globalThis, 'setInterval', fake.setInterval as never)
    mock.method(globalThis, 'clearInterval', fake.clearInterval as never)
    const timer = createPingTimer()
    timer.set(() => undefined, 100)
    timer.set(() => undefined, 1_000)
    assert.deepEqual(
      [...fake.intervals].map(({ ms }) => ms),
      [1_000],
    )
  })

  test('once it is cleared it is silent, ends, and can be set again', ({ mock }) => {
    mock.timers.enable({ apis: ['setInterval'] })
    const timer = createPingTimer()
    let ticks = 0
    const count = () => {
      ticks += 1
    }
    timer.set(count, 100)
    timer.clear()
    mock.timers.tick(5_000)
    assert.equal(ticks, 0)
    timer.set(count, 100)
    mock.timers.tick(250)
    assert.equal(ticks, 2)
  })
})
