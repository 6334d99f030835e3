import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createFifo } from './fifo.ts'

test('gives the items in the order in which they came, however many there were', () => {
  /** So many are pushed; where the number is negative, so many are taken. */
  const steps = fc.array(fc.integer({ min: -1_500, max: 1_500 }), { maxLength: 20 })
  fc.assert(
    fc.property(steps, (given) => {
      const fifo = createFifo<number>()
      const model: number[] = []
      for (const [index, step] of given.entries()) {
        for (let count = step; count > 0; count -= 1) {
          fifo.push(index * 10_000 + count)
          model.push(index * 10_000 + count)
        }
        for (let count = step; count < 0; count += 1) assert.equal(fifo.shift(), model.shift())
        assert.equal(fifo.size(), model.length)
      }
    }),
    { numRuns: 50 },
  )
})
