import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../testing/fake-clock.ts'
import { newId } from './ids.ts'

test('ids are ULIDs and rise, whatever the clock does', () => {
  const clocks = [createFakeClock(1_000), createFakeClock(2_000), createFakeClock(500), createFakeClock(2_000.5)]
  const ids = clocks.flatMap((clock) => Array.from({ length: 100 }, () => newId(clock)))
  for (const id of ids) assert.match(id, /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/)
  assert.deepEqual(ids, ids.toSorted())
  assert.equal(new Set(ids).size, ids.length)
})

test('the characters of the random part are equally likely, also over many refills of the pool', () => {
  // Each id in a millisecond of its own, so that its random part is drawn anew.
  const ids = Array.from({ length: 20_000 }, (_, index) => newId(createFakeClock(10_000_000 + index)))
  const random = ids.map((id) => id.slice(10))
  assert.equal(new Set(random).size, random.length)
  const counts = new Map<string, number>()
  for (const character of random.join('')) counts.set(character, (counts.get(character) ?? 0) + 1)
  assert.equal(counts.size, 32)
  // 10,000 of each are expected, with a standard deviation of 98.
  for (const [character, count] of counts) assert.ok(Math.abs(count - 10_000) < 1_000, `${character}: ${count}`)
})
