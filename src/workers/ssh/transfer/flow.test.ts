import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createBudget, createPending, eachOf } from './flow.ts'

suite('the flow of a transfer', () => {
  test('a budget is never overdrawn, and is given in the order of the asking', async () => {
    const budget = createBudget(10)
    assert.equal(budget.take(8), undefined)
    const order: number[] = []
    const large = budget.take(5)?.then(() => order.push(5))
    const small = budget.take(1)?.then(() => order.push(1))
    assert.equal(budget.tryTake(1), false)
    budget.give(8)
    await Promise.all([large, small])
    assert.deepEqual(order, [5, 1])
    assert.equal(budget.tryTake(4), undefined)
    assert.equal(budget.tryTake(1), false)
  })

  test('after a failure nothing more is begun, and what is under way ends first', async () => {
    const begun: number[] = []
    let ended = 0
    const work = eachOf([1, 2, 3, 4, 5, 6], 2, async (n) => {
      begun.push(n)
      if (n === 2) throw new Error('two')
      await new Promise((resolve) => setTimeout(resolve, 5))
      ended += 1
    })
    await assert.rejects(work, /two/)
    assert.deepEqual([begun, ended], [[1, 2], 1])
  })

  test('pending work rejects with its first failure, after all of it', async () => {
    const pending = createPending()
    let late = false
    pending.add(Promise.reject(new Error('first')))
    pending.add(new Promise<void>((resolve) => setTimeout(resolve, 5)).then(() => (late = true)))
    await assert.rejects(pending.done(), /first/)
    assert.equal(late, true)
  })
})
