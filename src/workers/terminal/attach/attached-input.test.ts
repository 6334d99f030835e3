import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { mhvError } from '../../../core/errors.ts'
import type { LiveSession } from '../sessions/live-session.ts'
import { createAttachedInput } from './attached-input.ts'

const FULL = 'MHV_TERMINAL_INPUT_FULL'

/** A session whose program does what the test says with what is typed. */
function joined(session: Partial<LiveSession>) {
  const lines: string[] = []
  const told: string[] = []
  const logged: string[] = []
  const log = { debug() {}, info() {}, error() {}, warn: (message: string) => void logged.push(message) }
  const live = { pty: { info: { id: 'S' } }, isHidden: async () => false, ...session } as unknown as LiveSession
  const parts = { log, onLine: (line: string) => lines.push(line), tell: (message: string) => told.push(message) }
  return { input: createAttachedInput(live, parts), lines, told, logged }
}

test('what a session refuses is told with its number of bytes, logged once, and is no typed line', async () => {
  let isFull = true
  const { input, lines, told, logged } = joined({
    type: async () => {
      if (isFull) throw mhvError(FULL, '9 bytes of input wait already')
    },
  })
  input.type(Buffer.from('lost\r'))
  input.type(Buffer.from('gone\r'))
  await turn()
  isFull = false
  input.type(Buffer.from('taken\r'))
  assert.deepEqual(await input.end(), { bytes_in: 6, bytes_refused: 10 })
  assert.deepEqual(lines, ['taken'])
  assert.deepEqual(told, [
    '5 bytes that you typed were not taken: 9 bytes of input wait already',
    '10 bytes that you typed were not taken: 9 bytes of input wait already',
  ])
  assert.deepEqual(logged, ['a terminal session did not take what was typed'])
})

test('a program that reads nothing holds up neither a resize nor the end, and what was typed is on record', async () => {
  const sizes: unknown[] = []
  const { input, lines, told } = joined({
    type: () => new Promise(() => undefined),
    resize: async (rows, cols) => void sizes.push([rows, cols]),
  })
  input.type(Buffer.from('one\rtwo'))
  input.resize({ rows: 30, cols: 100 })
  assert.deepEqual(await input.end(), { bytes_in: 7, bytes_refused: 0 })
  assert.deepEqual(sizes, [[30, 100]])
  assert.deepEqual(lines, ['one', 'two'])
  assert.deepEqual(told, [])
})

test('what waits to be typed is bounded', async () => {
  const asked = Promise.withResolvers<boolean>()
  const { input, told } = joined({ isHidden: () => asked.promise, type: async () => undefined })
  for (let at = 0; at < 20; at++) input.type(Buffer.alloc(100_000, 'x'))
  assert.equal(told.length, 10, 'a MiB waits, the rest is refused at once')
  asked.resolve(false)
  assert.deepEqual(await input.end(), { bytes_in: 1_000_000, bytes_refused: 1_000_000 })
})

test('a size that is refused or beyond what there is is told, the end of the session is not', async () => {
  let error = mhvError('MHV_TERMINAL_HOST_DOWN', 'the host does not answer')
  const { input, told, logged } = joined({
    resize: async () => {
      throw error
    },
    type: async () => {
      throw error
    },
  })
  input.resize({ rows: 30, cols: 100 })
  input.resize({ rows: 501, cols: 100 })
  await turn()
  assert.deepEqual(told.sort(), [
    'the session keeps its size: it may have 1 to 500 rows and 1 to 1000 columns',
    'the session keeps its size: the host does not answer',
  ])
  assert.equal(logged.length, 1)
  error = mhvError('MHV_TERMINAL_ENDED', 'the program has ended')
  input.resize({ rows: 30, cols: 100 })
  input.type(Buffer.from('late'))
  assert.deepEqual(await input.end(), { bytes_in: 0, bytes_refused: 4 })
  assert.equal(told.length, 2)
})
