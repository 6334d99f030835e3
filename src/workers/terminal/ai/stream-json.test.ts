import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createStreamJson, MAX_LINE_BYTES } from './stream-json.ts'

const TEXT = `{"type":"system"}\r\nnotice\n{"type":"assistant","text":"ü {\\"type\\":\\"result\\"}"}\n[1]\n\x1b[0m{"type":"result","result":"done"}\x1b[K\n`

test('every message comes once, with its offset, however the bytes come and however often', () => {
  const bytes = Buffer.from(TEXT)
  for (const size of [1, 2, 7, bytes.length]) {
    const seen: [number, string][] = []
    const stream = createStreamJson(({ offset, type }) => seen.push([offset, type]))
    for (let at = 0; at < bytes.length; at += size) {
      stream.push(at, bytes.subarray(at, at + size))
      // What was there already, again: from the beginning, as after a reconnection.
      stream.push(0, bytes.subarray(0, Math.min(bytes.length, at + size)))
    }
    stream.end()
    assert.deepEqual(seen, [
      [0, 'system'],
      [bytes.indexOf('{"type":"assistant"'), 'assistant'],
      [bytes.indexOf('\x1b[0m'), 'result'],
    ])
    assert.equal(stream.result()?.value.result, 'done')
    assert.deepEqual([stream.messages(), stream.otherLines(), stream.offset()], [3, 2, bytes.length])
  }
})

test('a last line without a line feed counts at the end; a line with a hole does not', () => {
  const stream = createStreamJson()
  stream.push(0, Buffer.from('{"type":"result","result":"x"}'))
  assert.equal(stream.result(), null)
  stream.end()
  assert.equal(stream.result()?.value.result, 'x')
  const holed = createStreamJson()
  holed.push(0, Buffer.from('{"type":'))
  holed.push(20, Buffer.from('"result"}\n{"type":"result"}\n'))
  assert.equal(holed.messages(), 1)
  assert.equal(holed.otherLines(), 1)
})

test('a line beyond the bound is passed over and held by nobody', () => {
  const stream = createStreamJson()
  const chunk = Buffer.alloc(1_048_576, 0x61)
  let offset = 0
  for (; offset <= MAX_LINE_BYTES; offset += chunk.length) stream.push(offset, chunk)
  stream.push(offset, Buffer.from('\n{"type":"result"}\n'))
  assert.deepEqual([stream.messages(), stream.otherLines()], [1, 1])
})
