import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../../core/clock.ts'
import { createQuietFirst } from './quiet-first.ts'

function quietFirst() {
  const time = { now: 1_000 }
  const first = createQuietFirst({ monotonic: () => time.now } as Clock)
  const read = (session: number, bytes: number) => {
    first.gave(session, bytes)
    return first.rest(session, bytes)
  }
  /** Bytes that these sessions give in a second, each a piece whenever it may. */
  function perSecond(sessions: readonly number[], each: () => void, bytes = 4_096): number {
    const next = new Map(sessions.map((session) => [session, time.now]))
    let total = 0
    for (const end = time.now + 1_000; time.now < end; time.now += 1) {
      each()
      for (const session of sessions) {
        // At most so many: nothing holds them up where nobody is waited for.
        for (let piece = 0; piece < 4 && (next.get(session) as number) <= time.now; piece += 1) {
          total += bytes
          next.set(session, time.now + read(session, bytes))
        }
      }
    }
    return total
  }
  return { time, first, read, perSecond }
}

test('while somebody types, all others together are read from at a bounded rate, and the typed ones freely', () => {
  const { time, first, read, perSecond } = quietFirst()
  assert.equal(read(1, 1e9), 0, 'nobody types')
  for (const floods of [[1], [1, 3, 4], [1, 3, 4, 5, 6, 7]]) {
    const bytes = perSecond(floods, () => first.typed(2))
    assert.ok(bytes > 220_000 && bytes < 290_000, `${floods.length} floods gave ${bytes} bytes`)
  }
  const large = perSecond([8], () => first.typed(2), 32_768)
  assert.ok(large > 220_000 && large < 300_000, `in large pieces: ${large} bytes`)
  assert.equal(read(2, 30_000), 0)
  first.typed(3)
  assert.equal(read(3, 30_000), 0, 'two may be typed into')
  assert.equal(read(2, 1_000), 0)
  assert.equal(read(3, 10_000) > 0, true, 'but not to flood')
  time.now += 101
  assert.equal(read(1, 1e9), 0, 'nobody types any longer')
})

test('while a session prints a little, those that write much are read from at a bounded rate', () => {
  const { time, first, read, perSecond } = quietFirst()
  const print = () => {
    if (time.now % 50 === 0) assert.equal(read(9, 80), 0, 'it is never slowed itself')
  }
  const bytes = perSecond([1, 2, 3], print)
  assert.ok(bytes > 1_400_000 && bytes < 1_800_000, `${bytes} bytes`)
  const typed = perSecond([1, 2, 3], () => {
    print()
    first.typed(4)
  })
  assert.ok(typed < 300_000, `whoever types goes before: ${typed} bytes`)
  time.now += 101
  assert.equal(read(1, 1e9), 0, 'it has printed nothing for a while')
})

test('sessions that all write much do not slow each other, and one that begins to does not stay quiet', () => {
  const { first, perSecond } = quietFirst()
  assert.equal(first.gave(1, 1_000), true)
  assert.equal(first.gave(1, 2_000), false)
  assert.equal(
    perSecond([1, 2], () => undefined),
    2 * 4 * 4_096 * 1_000,
  )
})

test('a session of a host is waited for as one of this process, until it is forgotten', () => {
  const { first, read } = quietFirst()
  first.gave(1, 1e6)
  first.elsewhere(true)
  assert.equal(read(1, 1e6), 250, 'no rest is longer')
  const { first: other, read: readOther } = quietFirst()
  other.typed(2)
  other.gave(2, 1)
  other.forget(2)
  assert.equal(readOther(1, 1e6), 0)
})
