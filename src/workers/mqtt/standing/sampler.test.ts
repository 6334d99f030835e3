import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createSampler } from './sampler.ts'

suite('sampling', () => {
  test('of each topic the first, and then one of so many', () => {
    const sampler = createSampler({ sample_every: 3, min_interval: 0 })
    const kept = [1, 2, 3, 4, 5, 6, 7].filter((n) => sampler.keeps('a', n))
    assert.deepEqual(kept, [1, 4, 7])
    assert.ok(sampler.keeps('b', 8))
  })

  test('and no two within the interval', () => {
    const sampler = createSampler({ sample_every: 1, min_interval: 1 })
    assert.deepEqual(
      [0, 500, 999, 1_000, 1_500, 2_000].filter((now) => sampler.keeps('a', now)),
      [0, 1_000, 2_000],
    )
  })

  test('long topics are told apart, and take no more memory than short ones', () => {
    const sampler = createSampler({ sample_every: 2, min_interval: 0 })
    const name = (n: number) => `${'x'.repeat(60_000)}/${n}`
    const before = process.memoryUsage().heapUsed
    for (let n = 0; n < 3_000; n++) assert.ok(sampler.keeps(name(n), n))
    assert.ok(!sampler.keeps(name(2_999), 3_000))
    const grown = process.memoryUsage().heapUsed - before
    assert.ok(grown < 60_000_000, `${Math.round(grown / 1e6)} MB for 180 MB of topics`)
  })
})
