import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { ParsedCall } from './parse.ts'
import { inputDigest } from './parse.ts'

function digest(input: unknown, target: string | undefined = 'one', id = 'probe.touch'): string {
  return inputDigest({ operation: { id }, envelope: { target }, input } as unknown as ParsedCall)
}

/** The same JSON with the keys of every object the other way round. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, each]) => [key, reversed(each)] as const)
      .toReversed(),
  )
}

const json = fc.jsonValue({ maxDepth: 4 })

suite('the digest of an input', () => {
  test('does not depend on the order of keys', () => {
    fc.assert(
      fc.property(json, (input) => {
        assert.equal(digest(reversed(input)), digest(input))
      }),
    )
  })

  test('differs where the input, the target or the operation differs', () => {
    fc.assert(
      fc.property(json, json, (one, two) => {
        const same = JSON.stringify(one) === JSON.stringify(two)
        fc.pre(same || JSON.stringify(reversed(one)) !== JSON.stringify(two))
        if (!same && digest(one) === digest(two)) assert.deepEqual(normal(one), normal(two))
      }),
    )
    assert.notEqual(digest({}, 'one'), digest({}, 'two'))
    assert.notEqual(digest({}, undefined), digest({}, 'undefined'))
    assert.notEqual(digest({}, 'one', 'a.b'), digest({}, 'one', 'a.c'))
    assert.notEqual(digest({ a: '1' }), digest({ a: 1 }))
    assert.notEqual(digest({ a: null }), digest({}))
  })
})

const normal = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
