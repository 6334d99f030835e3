import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { needsAcknowledgement, replayDelayMs, settleReplay, togetherCertain } from './dead-letters.ts'

const DELAYS = { delay_seconds: 60, max_delay_seconds: 600 }

describe('delays before replays that are made by themselves', () => {
  const rows = [
    ['never', [null, null, null]],
    ['immediate', [0, 0, 0]],
    ['linear', [60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 600]],
    ['exponential', [60, 120, 240, 480, 600, 600]],
  ] as const
  for (const [policy, seconds] of rows) {
    test(policy, () => {
      const got = seconds.map((_, replays) => replayDelayMs(policy, replays, DELAYS))
      assert.deepEqual(
        got,
        seconds.map((each) => (each === null ? null : each * 1000)),
      )
    })
  }

  test('a letter with very many replays has a delay too', () => {
    assert.equal(replayDelayMs('exponential', 100_000, DELAYS), 600_000)
  })
})

test('only what is idempotent, or has surely done nothing, needs nobody who has looked', () => {
  assert.equal(needsAcknowledgement({ idempotent: true, effect_certainty: 'unknown' }), false)
  assert.equal(needsAcknowledgement({ idempotent: false, effect_certainty: 'none' }), false)
  assert.equal(needsAcknowledgement({ idempotent: false, effect_certainty: 'unknown' }), true)
  assert.equal(needsAcknowledgement({ idempotent: false, effect_certainty: 'applied' }), true)
})

test('the certainty of several runs together is the least certain one', () => {
  assert.equal(togetherCertain('none', 'none'), 'none')
  assert.equal(togetherCertain('unknown', 'none'), 'unknown')
  assert.equal(togetherCertain('none', 'unknown'), 'unknown')
  assert.equal(togetherCertain('applied', 'none'), 'applied')
  assert.equal(togetherCertain('applied', 'unknown'), 'unknown')
})

describe('what becomes of a letter by the end of its replay', () => {
  const letter = { replays: 1, max_replays: 3, policy: 'linear', effect_certainty: 'none' } as const
  const rules = { idempotent: false, delays: DELAYS }

  test('completed', () => {
    const run = { status: 'completed', effect_certainty: 'applied' } as const
    assert.deepEqual(settleReplay(letter, run, rules), {
      to: 'replayed',
      effect_certainty: 'applied',
      next_in_ms: null,
    })
  })
  test('failed without having done anything: it is replayed by itself later', () => {
    const run = { status: 'failed', effect_certainty: 'none' } as const
    assert.deepEqual(settleReplay(letter, run, rules), { to: 'open', effect_certainty: 'none', next_in_ms: 120_000 })
  })
  test('failed, and may have acted: never by itself, unless it is idempotent', () => {
    const run = { status: 'failed', effect_certainty: 'unknown' } as const
    assert.equal(settleReplay(letter, run, rules).next_in_ms, null)
    assert.equal(settleReplay(letter, run, { ...rules, idempotent: true }).next_in_ms, 120_000)
  })
  test('cancelled: somebody did not want it', () => {
    const run = { status: 'cancelled', effect_certainty: 'none' } as const
    assert.deepEqual(settleReplay(letter, run, rules), { to: 'open', effect_certainty: 'none', next_in_ms: null })
  })
  test('failed for the last time: poison', () => {
    const run = { status: 'timeout', effect_certainty: 'none' } as const
    const last = { ...letter, replays: 3 }
    assert.deepEqual(settleReplay(last, run, rules), { to: 'poison', effect_certainty: 'none', next_in_ms: null })
  })
})
