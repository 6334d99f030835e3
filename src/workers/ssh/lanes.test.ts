import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../core/clock.ts'
import { createLanes } from './lanes.ts'

test('so much at once, in order; a slow one holds up nobody while another lane is free', async () => {
  const lanes = createLanes(2)
  const order: string[] = []
  const job = (name: string, ms: number) =>
    lanes.run(systemClock, 5_000, async () => {
      order.push(name)
      await delay(ms)
      return name
    })
  const all = [job('slow', 200), job('a', 10), job('b', 10), job('c', 10)]
  assert.deepEqual(await Promise.all(all), ['slow', 'a', 'b', 'c'])
  assert.deepEqual(order, ['slow', 'a', 'b', 'c'])
})

test('whose turn does not come in time is told so, and a failure frees its lane', async () => {
  const lanes = createLanes(1)
  const failing = lanes.run(systemClock, 5_000, async () => {
    await delay(100)
    throw new Error('failed')
  })
  const rejected = assert.rejects(failing, /failed/)
  assert.equal(await lanes.run(systemClock, 20, async (leftMs) => leftMs), 0)
  await rejected
  assert.ok((await lanes.run(systemClock, 1_000, async (leftMs) => leftMs)) > 900)
})
