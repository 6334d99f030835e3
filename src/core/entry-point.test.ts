import assert from 'node:assert/strict'
import { test } from 'node:test'
import { entryPoint } from './entry-point.ts'

test("a module that is started has its caller's extension", () => {
  assert.equal(
    entryPoint('file:///p/src/store/sqlite.ts', './sqlite-writer').href,
    'file:///p/src/store/sqlite-writer.ts',
  )
  assert.equal(entryPoint('file:///p/dist/store/sqlite.js', '../a/b').href, 'file:///p/dist/a/b.js')
})

test('what a loader adds to the URL of the caller is no part of its extension', () => {
  assert.equal(entryPoint('file:///p/my%20src/a.ts?x=1.js#y', './b').href, 'file:///p/my%20src/b.ts')
})
