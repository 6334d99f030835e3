import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeEnd, parseAnswer } from './remote-kill.ts'
import { plainText } from './remote-text.ts'

const answer = (...lines: string[]) =>
  parseAnswer({ stdout: lines.map((line) => `mahavishnu-end ${line}\n`).join(''), stderr: '', exit_code: 0 }, true)

test('the answer of the script is read; other lines and half an answer are not', () => {
  assert.deepEqual(answer('session 5', 'done'), { remote: 'ended', left_session: [], still_running: [] })
  assert.deepEqual(answer('session 5', 'still 7 a b', 'gone 9 x', 'done'), {
    remote: 'left',
    left_session: [{ pid: 9, command: 'x' }],
    still_running: [{ pid: 7, command: 'a b' }],
  })
  assert.equal(answer('session 5').remote, 'unknown')
  assert.equal(answer('session 5', 'blind').remote, 'unknown')
  assert.equal(
    parseAnswer({ stdout: 'Welcome\nmahavishnu-end session 5\nmahavishnu-end done\n', stderr: '', exit_code: 0 }, false)
      .remote,
    'ended',
  )
})

test('a session without a sign of the run is not ours: its processes are not listed', () => {
  assert.deepEqual(answer('session 5', 'foreign', 'still 7 init', 'done'), {
    remote: 'unknown',
    left_session: [],
    still_running: [],
  })
})

test('names of processes are text from the host: no control characters, not too long, not too many', () => {
  const { still_running } = answer('session 5', `still 7 \x1b[31m${'x'.repeat(100)}`, 'done')
  assert.equal(still_running[0]?.command, `${'x'.repeat(64)}…`)
  assert.equal(answer(...Array.from({ length: 500 }, (_, n) => `still ${n + 2} bomb`), 'done').still_running.length, 50)
  assert.equal(plainText('a\x1b]0;title\x07b\r\nc\u009bd'), 'a ]0;title b c d')
})

test('what is known is said in plain words', () => {
  const none = { left_session: [], still_running: [] }
  const sleep = [{ pid: 7, command: 'sleep' }]
  assert.equal(describeEnd({ remote: 'ended', ...none }, 5), 'its session on the host was ended')
  assert.equal(
    describeEnd({ remote: 'unknown', ...none }, 5),
    'whether it still runs on the host is unknown (its shell was process 5)',
  )
  assert.equal(describeEnd({ remote: 'unknown', ...none }, undefined), 'whether it still runs on the host is unknown')
  assert.equal(
    describeEnd({ remote: 'left', left_session: sleep, still_running: [] }, 5),
    'its session on the host was ended; outside its session there still run 7 (sleep), which were left alone',
  )
  assert.equal(
    describeEnd({ remote: 'left', left_session: [], still_running: sleep }, 5),
    'it could not be ended: there still run 7 (sleep)',
  )
})
