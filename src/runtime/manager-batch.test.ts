import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assign } from './manager-batch.ts'
import { createHistory } from './manager-history.ts'
import type { TaskResult } from './manager-types.ts'

test('the history is bounded and says so', () => {
  const history = createHistory({ history: 3, history_characters: 10_000 })
  const result = (worker_id: string, output = '') => ({ worker_id, output }) as TaskResult
  for (const worker of ['a', 'b', 'a', 'b', 'b']) history.add(result(worker))
  assert.deepEqual(
    history.since(0, null).results.map(({ offset }) => offset),
    [2, 3, 4],
  )
  assert.deepEqual(
    [0, 1, 2].map((since) => history.since(since, null).gap),
    [true, true, false],
  )
  assert.deepEqual([history.since(1, new Set('a')).gap, history.since(1, new Set('b')).gap], [false, true])
  assert.equal(history.since(0, new Set('c')).gap, false)
  history.add(result('a', 'x'.repeat(20_000)))
  assert.deepEqual(
    history.since(0, null).results.map(({ offset }) => offset),
    [5],
  )
})

test('who does what in a batch', () => {
  const tasks = (...prompts: string[]) => prompts.map((prompt) => ({ prompt }))
  const made = (ids: string[], ...prompts: string[]) =>
    assign(ids, tasks(...prompts)).map(({ worker_id, task }) => `${worker_id}${task.prompt}`)
  assert.deepEqual(made(['a', 'b'], '1', '2'), ['a1', 'b2'])
  assert.deepEqual(made(['a', 'b', 'c'], '1'), ['a1', 'b1', 'c1'])
  assert.deepEqual(made(['a', 'b'], '1', '2', '3', '4', '5'), ['a1', 'b2', 'a3', 'b4', 'a5'])
  assert.deepEqual(made(['a', 'a'], '1', '2'), ['a1', 'a2'])
  assert.deepEqual(made([]), [])
  assert.throws(() => made([], '1'), /at least one worker/)
  assert.throws(() => made(['a', 'b', 'c'], '1', '2'), /2 for 3 workers/)
})
