import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../testing/fake-clock.ts'
import { isId, newId } from './ids.ts'

test('ids are ULIDs and rise, whatever the clock does', () => {
  const clocks = [createFakeClock(1_000), createFakeClock(2_000), createFakeClock(500), createFakeClock(2_000.5)]
  const ids = clocks.flatMap((clock) => Array.from({ length: 100 }, () => newId(clock)))
  assert.ok(ids.every(isId))
  assert.deepEqual(ids, ids.toSorted())
  assert.equal(new Set(ids).size, ids.length)
})

test('what only looks like an id is none', () => {
  const id = newId(createFakeClock(0))
  for (const text of ['', id.slice(1), `${id}0`, id.toLowerCase().replace(/^./, 'i'), `8${id.slice(1)}`, `${id}\n`]) {
    assert.equal(isId(text), false, JSON.stringify(text))
  }
})
