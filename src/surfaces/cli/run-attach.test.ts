import assert from 'node:assert/strict'
import { test } from 'node:test'
import { noticeLine } from './run-attach.ts'

test('a notice stands in the last line, no longer than that, and what is in it moves no cursor', () => {
  const line = noticeLine('not taken: \x1b[2J\r\nfull', 12)
  assert.equal(line, '\x1b7\x1b[999;1H\x1b[0;7m not taken: \x1b[0m\x1b[K\x1b8\x07')
  assert.equal(noticeLine('x', 0).includes('x'), false)
})
