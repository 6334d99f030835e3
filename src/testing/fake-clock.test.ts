import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from './fake-clock.ts'

test('stands still until it is moved', async () => {
  const clock = createFakeClock(1_000)
  assert.deepEqual([clock.now(), clock.monotonic()], [1_000, 0])
  await clock.advance(250)
  assert.deepEqual([clock.now(), clock.monotonic()], [1_250, 250])
  await assert.rejects(clock.advance(-1), RangeError)
})

test('runs what falls due in the order of its time, each at its own', async () => {
  const clock = createFakeClock(0)
  const seen: string[] = []
  const note = (name: string) => () => void seen.push(`${name} ${clock.now()}`)
  clock.after(30, note('late'))
  clock.after(10, note('first'))
  clock.after(10, note('second'))
  clock.after(31, note('never'))
  clock.after(20, note('cancelled'))()
  await clock.advance(30)
  assert.deepEqual(seen, ['first 10', 'second 10', 'late 30'])
  assert.equal(clock.now(), 30)
})

test('runs also what is set on the way and falls due by then', async () => {
  const clock = createFakeClock(0)
  const seen: number[] = []
  const loop = async () => {
    for (let count = 0; count < 5; count += 1) {
      await clock.sleep(10)
      seen.push(clock.now())
    }
  }
  const looping = loop()
  await clock.advance(35)
  assert.deepEqual(seen, [10, 20, 30])
  await clock.advance(15)
  await looping
  assert.deepEqual(seen, [10, 20, 30, 40, 50])
})

test('a sleep ends with the reason of its signal', async () => {
  const clock = createFakeClock(0)
  const abort = new AbortController()
  const sleeping = clock.sleep(10, abort.signal)
  abort.abort(new Error('enough'))
  await assert.rejects(sleeping, /enough/)
  await assert.rejects(clock.sleep(10, abort.signal), /enough/)
  const other = new AbortController()
  const slept = clock.sleep(10, other.signal)
  await clock.advance(10)
  other.abort()
  await slept
})
