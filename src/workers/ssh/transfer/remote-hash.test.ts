import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { parseHashes } from './remote-hash.ts'

const one = 'a'.repeat(64)
const two = 'b'.repeat(64)

suite('what a host says of its files', () => {
  test('digests between the marks, whatever a profile prints around them', () => {
    const text = `hello\nM\n${one}  ./x\n\\${two} *./new\\nline\nM 0\n`
    assert.deepEqual(parseHashes(text, 'M', 2), { kind: 'hashes', hashes: [one, two] })
  })

  test('SSH-06: a name that looks like a line of its own makes too many digests, never a wrong one', () => {
    const text = `M\n${one}  ./x\n${two}  y\nM 0\n`
    assert.equal(parseHashes(text, 'M', 1).kind, 'failed')
  })

  test('SSH-06: an answer that was cut off, a failure of one file and an empty answer are no digests', () => {
    assert.equal(parseHashes(`M\n${one}  ./x\n`, 'M', 1).kind, 'failed')
    assert.equal(parseHashes('', 'M', 1).kind, 'failed')
    const failed = parseHashes(`M\n${one}  ./x\nsha256sum: ./y: Permission denied\nM 123\n`, 'M', 2)
    assert.deepEqual(failed, { kind: 'failed', said: 'sha256sum: ./y: Permission denied' })
  })

  test('a host without a program says so', () => {
    assert.equal(parseHashes('M none\n', 'M', 1).kind, 'none')
  })
})
