import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { mhvError } from '../core/errors.ts'
import type { Change } from './protocol.ts'
import { createWriteQueue, type Encoded, WRITER_LIMITS, type WriterLimits } from './write-queue.ts'

/** A queue whose messages are collected instead of sent. */
function setUp(limits: Partial<WriterLimits> = {}) {
  const messages: (readonly Change[])[] = []
  const held: boolean[] = []
  const queue = createWriteQueue(
    {
      post: (changes) => void messages.push(changes),
      hold: (busy) => void held.push(busy),
    },
    { ...WRITER_LIMITS, ...limits },
  )
  const send = (key: string, bytes = 1) =>
    queue.send((): Encoded<'stateDelete'> => ({ change: ['stateDelete', 'w', key], bytes }))
  const sent = () => messages.flat().map((change) => change[2])
  return { queue, send, messages, sent, held }
}

test('changes of one turn go in one message, in their order', async () => {
  const { queue, send, messages, sent } = setUp()
  const calls = [send('a'), Promise.resolve().then(() => send('c')), send('b')]
  await nextTurn()
  assert.equal(messages.length, 1)
  assert.deepEqual(sent(), ['a', 'b', 'c'])
  void send('d')
  await nextTurn()
  assert.equal(messages.length, 2)
  queue.settle([null, null, null, null])
  await Promise.all(calls)
})

test('many bytes go at once, while the turn goes on, and keep their place', async () => {
  const { queue, send, messages, sent } = setUp()
  const calls = [send('small'), send('large', 65_536), send('after')]
  assert.equal(messages.length, 1)
  assert.deepEqual(sent(), ['small', 'large'])
  await nextTurn()
  assert.deepEqual(sent(), ['small', 'large', 'after'])
  assert.equal(messages.length, 2)
  queue.settle([null, null])
  queue.settle([null])
  await Promise.all(calls)
})

test('never more than the limits are on their way; callers wait for room in their order', async () => {
  const { queue, send, sent } = setUp({ maxChanges: 3, maxBytes: 100 })
  const done: string[] = []
  for (const key of ['a', 'b', 'c', 'd', 'e']) void send(key, 10).then(() => done.push(key))
  void send('big', 1_000).then(() => done.push('big'))
  void send('f', 10).then(() => done.push('f'))
  await nextTurn()
  assert.deepEqual(queue.size(), { changes: 3, bytes: 30, waiting: 4 })
  assert.deepEqual(sent(), ['a', 'b', 'c'])
  queue.settle([null])
  await nextTurn()
  assert.deepEqual(sent(), ['a', 'b', 'c', 'd'])
  queue.settle([null, null, null])
  await nextTurn()
  // The big one crosses the limit by itself, and what is behind it waits for it.
  assert.deepEqual(sent(), ['a', 'b', 'c', 'd', 'e', 'big'])
  assert.deepEqual(queue.size(), { changes: 2, bytes: 1_010, waiting: 1 })
  queue.settle([null, null])
  await nextTurn()
  queue.settle([null])
  await queue.idle()
  assert.deepEqual(done, ['a', 'b', 'c', 'd', 'e', 'big', 'f'])
  assert.deepEqual(queue.size(), { changes: 0, bytes: 0, waiting: 0 })
})

test('a call that comes while others wait does not overtake them', async () => {
  const { queue, send, sent } = setUp({ maxChanges: 1 })
  const first = send('a')
  void send('b')
  await nextTurn()
  void first.then(() => send('c'))
  queue.settle([null])
  void send('d')
  for (let count = 0; count < 3; count += 1) {
    await nextTurn()
    queue.settle([null])
  }
  await nextTurn()
  assert.deepEqual(sent(), ['a', 'b', 'd', 'c'])
})

test('what cannot be encoded is refused by itself', async () => {
  const { queue, send, sent } = setUp()
  const bad = queue.send<'check'>(() => {
    throw mhvError('MHV_INTERNAL', 'not JSON')
  })
  const good = send('a')
  await assert.rejects(bad, { code: 'MHV_INTERNAL' })
  await nextTurn()
  assert.deepEqual(sent(), ['a'])
  queue.settle([null])
  await good
})

test('answers and refusals reach their own callers', async () => {
  const { queue, send } = setUp()
  const calls = Array.from({ length: 11 }, (_, index) => send(String(index)))
  await nextTurn()
  const refusal = { error: mhvError('MHV_JOURNAL_FULL', 'no room').toWire() }
  queue.settle(calls.map((_, index) => (index % 3 === 0 ? refusal : null)))
  const outcome = (await Promise.allSettled(calls)).map((one) =>
    one.status === 'rejected' ? one.reason.code : one.value,
  )
  assert.deepEqual(
    outcome,
    calls.map((_, index) => (index % 3 === 0 ? 'MHV_JOURNAL_FULL' : null)),
  )
})

test('keeps the process alive exactly while answers are expected', async () => {
  const { queue, send, held } = setUp()
  const calls = [send('a'), send('b')]
  await nextTurn()
  assert.deepEqual(held, [true])
  queue.settle([null])
  assert.deepEqual(held, [true])
  queue.settle([null])
  assert.deepEqual(held, [true, false])
  await Promise.all(calls)
})

test('a failure refuses what is on its way and what waits, but not what was answered', async () => {
  const { queue, send } = setUp({ maxChanges: 8 })
  const calls = Array.from({ length: 20 }, (_, index) => send(String(index)))
  await nextTurn()
  queue.settle([null, null, null])
  queue.fail(mhvError('MHV_JOURNAL_UNAVAILABLE', 'gone'))
  const outcome = (await Promise.allSettled(calls)).map((one) =>
    one.status === 'rejected' ? one.reason.code : one.value,
  )
  assert.deepEqual(outcome, [...Array(3).fill(null), ...Array(17).fill('MHV_JOURNAL_UNAVAILABLE')])
  await queue.idle()
})
