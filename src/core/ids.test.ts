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
