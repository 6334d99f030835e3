import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blocksFrom, directoryOf, newBytes, parseStatus } from './poll-answer.ts'

const status = (line: string) => parseStatus(line.split(' '))

test('a status is read whole, or not at all', () => {
  assert.deepEqual(status('exit.3 10 20 no 5 77 same yes'), {
    state: 'exit',
    exit_code: 3,
    stdout_bytes: 10,
    stderr_bytes: 20,
    stdout_cut: null,
    stderr_cut: 5,
    session: 77,
    rebooted: false,
    supervisorGone: false,
  })
  assert.equal(status('none')?.state, 'none')
  for (const bad of [
    '',
    'open',
    'exit.3 x 20 no no 77 same yes',
    'what 1 2 no no 77 same yes',
    'open 1 2 no no 77 same',
    'exit 1 2 no no 77 same yes',
    'open.3 1 2 no no 77 same yes',
    'exit.99999999999999999999 1 2 no no 77 same yes',
    'exit.3 -1 2 no no 77 same yes',
    'exit.3 1  no no 77 same yes',
    'exit.3 1 2 x no 77 same yes',
    'exit.3 1 2 no 9e99 77 same yes',
    'exit.3 1 2 no no Infinity same yes',
    'exit.3 1 2 no no 77 same perhaps',
  ]) {
    assert.equal(status(bad), undefined, bad)
  }
})

test('another boot and a supervisor that is gone mean something only while there is no exit code', () => {
  assert.deepEqual(
    [status('open 0 0 no no 7 other no')?.rebooted, status('open 0 0 no no 7 same no')?.supervisorGone],
    [true, true],
  )
  assert.deepEqual(
    [status('exit.0 0 0 no no 7 other no')?.rebooted, status('exit.0 0 0 no no 7 same no')?.supervisorGone],
    [false, false],
  )
  assert.deepEqual(
    [status('open 0 0 no no 0 unknown unknown')?.rebooted, status('open 0 0 no no 0 unknown unknown')?.session],
    [false, undefined],
  )
})

test('the bytes at an offset are cut out of the blocks around it', () => {
  const file = Buffer.from(Array.from({ length: 10_000 }, (_, i) => i % 251))
  const at = (offset: number, size = file.length) => {
    const range = blocksFrom(offset, 2)
    const start = range.from * 4096
    return newBytes(file.subarray(start, start + 2 * 4096), range, offset, size)
  }
  for (const offset of [0, 1, 4095, 4096, 5000, 9_999]) {
    const end = (Math.floor(offset / 4096) + 2) * 4096
    assert.deepEqual(at(offset), file.subarray(offset, end), `${offset}`)
  }
  assert.equal(at(10_000)?.length, 0)
  // The file grew while it was looked at.
  assert.equal(at(0, 5_000)?.length, 8_192)
})

test('less than the host said it has is no answer', () => {
  const range = blocksFrom(5_000, 2)
  assert.equal(newBytes(Buffer.alloc(100), range, 5_000, 9_000), undefined)
  assert.equal(newBytes(Buffer.alloc(0), range, 5_000, 4_000), undefined)
  assert.equal(newBytes(Buffer.alloc(0), blocksFrom(4_096, 2), 4_096, 4_096)?.length, 0)
})

test('only a directory that our script makes is taken for one', () => {
  assert.equal(
    directoryOf('/home/a b/.local/state/mahavishnu/detached/R', 'R'),
    '/home/a b/.local/state/mahavishnu/detached/R',
  )
  for (const said of [
    '',
    '/',
    '/etc',
    'x/detached/R',
    '/x/detached/S',
    '/x/../detached/R',
    '/\u009b2J/detached/R',
    `/${'x'.repeat(5_000)}/detached/R`,
  ]) {
    assert.equal(directoryOf(said, 'R'), undefined, said)
  }
})
