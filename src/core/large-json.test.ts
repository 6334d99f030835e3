import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepLargeJson, largeJson } from './large-json.ts'

test('the text of a large value is kept for that value and no other; small ones are not worth it', () => {
  const large = { text: 'x'.repeat(5_000) }
  const json = JSON.stringify(large)
  keepLargeJson(large, json)
  assert.equal(largeJson(large), json)
  assert.equal(largeJson({ ...large }), undefined)
  const small = { text: 'x' }
  keepLargeJson(small, JSON.stringify(small))
  assert.equal(largeJson(small), undefined)
  for (const other of [null, undefined, 'x', 1]) assert.equal(largeJson(other), undefined)
})
