import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { startOrder } from './start-order.ts'

const worker = (name: string, ...requires: string[]) => ({ name, requires })

suite('the order in which workers start', () => {
  test('is that of the declarations where nothing is required', () => {
    const given = [worker('b'), worker('a')]
    assert.deepEqual(startOrder(given), given)
  })

  test('has every worker after all that it requires, for any declarations without a circle', () => {
    // Each may require only earlier ones of a hidden order, and is given in a shuffled one.
    const graphs = fc
      .integer({ min: 1, max: 12 })
      .chain((count) =>
        fc.tuple(
          fc.array(fc.tuple(fc.nat(count - 1), fc.nat(count - 1)), { maxLength: 30 }),
          fc.shuffledSubarray([...Array(count).keys()], { minLength: count, maxLength: count }),
        ),
      )
    fc.assert(
      fc.property(graphs, ([pairs, shuffled]) => {
        const requires = (index: number) => pairs.filter(([a, b]) => a === index && b < index).map(([, b]) => `w${b}`)
        const order = startOrder(shuffled.map((index) => worker(`w${index}`, ...requires(index))))
        assert.equal(order.length, shuffled.length)
        const names = order.map(({ name }) => name)
        for (const each of order) {
          for (const required of each.requires) assert.ok(names.indexOf(required) < names.indexOf(each.name))
        }
      }),
    )
  })

  test('a circle and an unknown name are defects', () => {
    const circle = [worker('a', 'b'), worker('b', 'c'), worker('c', 'a')]
    assert.throws(() => startOrder(circle), /require each other: a → b → c → a/)
    assert.throws(() => startOrder([worker('a', 'a')]), /require each other: a → a/)
    assert.throws(() => startOrder([worker('a', 'nobody')]), /"a" requires "nobody", which is no worker/)
  })
})
