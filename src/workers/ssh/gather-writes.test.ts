import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { gatherWrites } from './gather-writes.ts'

/** A stream that notes which pieces come by one call. */
function startStream() {
  const calls: string[][] = []
  const stream = new Duplex({
    read: () => undefined,
    write(bytes, _encoding, done) {
      calls.push([String(bytes)])
      done()
    },
    writev(pieces, done) {
      calls.push(pieces.map(({ chunk }) => String(chunk)))
      done()
    },
  })
  gatherWrites(stream)
  return { stream, calls }
}

test('what is written in one turn goes by one call, in its order, also from microtasks', async () => {
  const { stream, calls } = startStream()
  stream.write('a')
  await Promise.resolve()
  stream.write('b')
  assert.deepEqual(calls, [])
  await turn()
  assert.deepEqual(calls, [['a', 'b']])
  stream.write('c')
  await turn()
  assert.deepEqual(calls, [['a', 'b'], ['c']])
})

test('much is written at once, and what comes after it in the same turn is not lost', async () => {
  const { stream, calls } = startStream()
  const much = 'x'.repeat(70_000)
  stream.write(much)
  assert.deepEqual(calls, [[much]])
  stream.write('after')
  await turn()
  assert.deepEqual(calls, [[much], ['after']])
})

test('the end of the stream writes what waits', async () => {
  const { stream, calls } = startStream()
  stream.write('a')
  stream.end('b')
  await turn()
  assert.deepEqual(calls.flat(), ['a', 'b'])
  assert.equal(stream.writableFinished, true)
})
