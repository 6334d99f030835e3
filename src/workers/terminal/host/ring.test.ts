import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createRing } from './ring.ts'

const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 60 })

test('property: a ring has the last bytes of the stream, at their offsets', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 900 }),
      pieces,
      fc.nat(20_000),
      fc.nat(2_000),
      (capacity, pushed, at, max) => {
        const ring = createRing(capacity)
        for (const piece of pushed) ring.push(piece)
        const all = Buffer.concat(pushed)
        assert.equal(ring.end(), all.length)
        assert.equal(ring.start(), Math.max(0, all.length - capacity))
        const from = ring.start() + (at % (ring.end() - ring.start() + 1))
        assert.deepEqual(Buffer.from(ring.copy(from, max)), all.subarray(from, from + max))
        const view = Buffer.from(ring.view(from, max))
        assert.deepEqual(view, all.subarray(from, from + view.length))
        assert.equal(view.length > 0, from < all.length && max > 0)
      },
    ),
    { numRuns: 500 },
  )
})

test('property: a view stays what it was until the capacity has come after its first byte', () => {
  fc.assert(
    fc.property(fc.nat(50_000), fc.nat(40_000), fc.nat(70_000), (before, length, after) => {
      const ring = createRing(65_536)
      const bytes = (count: number, value: number) => new Uint8Array(count).fill(value)
      ring.push(bytes(before, 1))
      ring.push(bytes(length, 2))
      const view = ring.view(before, length)
      const count = Math.min(after, 65_536 - length)
      ring.push(bytes(count, 3))
      assert.deepEqual(Buffer.from(view), Buffer.alloc(view.length, 2))
    }),
    { numRuns: 100 },
  )
})

test('a ring takes memory only as it is needed, and refuses what it does not have', () => {
  const ring = createRing(1_048_576)
  ring.push(Buffer.from('a little'))
  assert.ok(ring.size() < 10_000)
  ring.push(Buffer.alloc(3_000_000))
  assert.equal(ring.size(), 1_048_576)
  assert.throws(() => ring.copy(0, 1), RangeError)
  assert.throws(() => ring.view(ring.end() + 1, 1), RangeError)
})
