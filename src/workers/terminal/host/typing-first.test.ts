import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../../core/clock.ts'
import { createTypingFirst } from './typing-first.ts'

function typingFirst() {
  const time = { now: 1_000 }
  return { time, first: createTypingFirst({ monotonic: () => time.now } as Clock) }
}

test('while somebody types, the other sessions together are read from in bounded slices, and the typed ones freely', () => {
  const { time, first } = typingFirst()
  assert.equal(first.read(1, 1e9), 0, 'nobody types')
  first.typed(2)
  assert.equal(first.read(2, 1e9), 0)
  assert.equal(first.read(1, 4_096), 0)
  assert.equal(first.read(3, 4_096), 10, 'the slice is for all others together')
  time.now += 6
  assert.equal(first.read(1, 4_096), 4, 'until the next slice')
  first.typed(3)
  assert.equal(first.read(3, 1e9), 0, 'two may be typed into')
  assert.equal(first.read(2, 1e9), 0)
  time.now += 4
  assert.equal(first.read(1, 4_096), 0, 'the next slice')
  time.now += 200
  assert.equal(first.read(1, 1e9), 0, 'nobody types any longer')
})
