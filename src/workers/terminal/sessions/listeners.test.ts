import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createListeners } from './listeners.ts'

function logged() {
  const errors: string[] = []
  return { errors, log: { debug() {}, info() {}, warn() {}, error: (message: string) => void errors.push(message) } }
}

const piece = (offset: number, text: string) => ({ offset, bytes: Buffer.from(text) })

test('listeners that need no time have taken a piece at once', () => {
  const taken: number[] = []
  const listeners = createListeners(logged().log, (cursor) => taken.push(cursor))
  const seen: string[] = []
  listeners.add(({ bytes }) => void seen.push(String(bytes)))
  listeners.deliver(piece(0, 'ab'))
  listeners.deliver(piece(2, 'c'))
  assert.deepEqual(seen, ['ab', 'c'])
  assert.deepEqual(taken, [2, 3])
})

test('the slowest listener says how far all are, and others do not wait for it', async () => {
  const taken: number[] = []
  const listeners = createListeners(logged().log, (cursor) => taken.push(cursor))
  const fast: string[] = []
  const gates: (() => void)[] = []
  const slow: string[] = []
  listeners.add(({ bytes }) => void fast.push(String(bytes)))
  listeners.add(({ bytes }) => {
    slow.push(String(bytes))
    return new Promise((resolve) => gates.push(resolve))
  })
  for (const [offset, text] of ['a', 'b', 'c'].entries()) listeners.deliver(piece(offset, text))
  assert.deepEqual(fast, ['a', 'b', 'c'])
  assert.deepEqual(slow, ['a'])
  assert.deepEqual(taken, [])
  let settled = false
  void listeners.settled().then(() => {
    settled = true
  })
  for (const expected of [[1], [1, 2], [1, 2, 3]]) {
    assert.equal(settled, false)
    gates.shift()?.()
    await turn()
    assert.deepEqual(taken, expected)
  }
  assert.deepEqual(slow, ['a', 'b', 'c'])
  assert.equal(settled, true)
})

for (const [how, fails] of [
  [
    'throws',
    () => {
      throw new Error('no')
    },
  ],
  ['rejects', () => Promise.reject(new Error('no'))],
] as const) {
  test(`a listener that ${how} is told nothing more and holds nobody up`, async () => {
    const taken: number[] = []
    const { log, errors } = logged()
    const listeners = createListeners(log, (cursor) => taken.push(cursor))
    let calls = 0
    listeners.add(() => {
      calls += 1
      return fails()
    })
    listeners.deliver(piece(0, 'a'))
    listeners.deliver(piece(1, 'b'))
    await turn()
    listeners.deliver(piece(2, 'c'))
    assert.equal(calls, 1)
    assert.equal(taken.at(-1), 3)
    assert.equal(errors.length, 1)
    assert.equal(listeners.count(), 0)
  })
}

test('a listener that is removed while it is busy holds nobody up', async () => {
  const taken: number[] = []
  const listeners = createListeners(logged().log, (cursor) => taken.push(cursor))
  const remove = listeners.add(() => new Promise(() => undefined))
  listeners.deliver(piece(0, 'a'))
  assert.deepEqual(taken, [])
  remove()
  remove()
  assert.deepEqual(taken, [1])
  await listeners.settled()
})
