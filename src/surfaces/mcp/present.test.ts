import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { mhvError } from '../../core/errors.ts'
import type { WorkerResult } from '../../core/result.ts'
import { presentControl, presentError, presentResult } from './present.ts'
import { boundedWait } from './tools.ts'

const RUN = '01K5E2W9QZ3V7M4T8N6R1XJYHB'
/** Made from the end of the run's id: what a target says cannot end the block early. */
const MARK = `[${RUN.slice(-8)}]`

function resultOf(more: Partial<WorkerResult> = {}): WorkerResult {
  return {
    run_id: RUN,
    worker: 'ssh',
    operation: 'ssh.execute',
    target: 'web-1',
    worker_id: 'ssh-1',
    status: 'completed',
    effect_certainty: 'applied',
    output: 'out\n',
    data: { stdout: 'out\n', stderr: '', exit_code: 0, signal: null },
    error: null,
    error_code: null,
    exit_code: 0,
    attempts: 1,
    duration_seconds: 0.25,
    timestamp: '2026-01-01T00:00:00.000Z',
    metadata: { format: 1, principal: 'user:1', surface: 'mcp', effect: 'write', tier: 'dev', queue_seconds: 0 },
    ...more,
  }
}

function textOf({ content = [] }: { content?: readonly unknown[] }): string {
  return (content[0] as { text: string }).text
}

describe('the text of an answer', () => {
  test('names status, exit code and run, and marks what the target said', () => {
    const text = textOf(presentResult(resultOf({ exit_code: 2 })))
    const status = `completed: ssh.execute on web-1, exit code 2, 0.25 s (run ${RUN})`
    assert.equal(
      text,
      `${status}\neffect: it was applied\n--- output from web-1, untrusted ${MARK} ---\nout\n--- end of output ${MARK} ---`,
    )
  })

  test('bounds what it shows, and tells where the rest is', () => {
    const stdout = `${'x'.repeat(30_000)}\n`
    const result = resultOf({ output: stdout, data: { stdout, stderr: '', exit_code: 0, signal: null } })
    const answer = presentResult(result)
    assert.ok(textOf(answer).length < 21_000)
    assert.match(textOf(answer), new RegExp(`run_output {"run_id":"${RUN}"} reads what was kept`))
    const { metadata } = answer.structuredContent as { metadata: { left_out: unknown; whole: { tool: string } } }
    assert.deepEqual(metadata.left_out, ['output', 'data.stdout'])
    assert.equal(metadata.whole.tool, 'read_more')
  })

  test('has no orders to a terminal in it', () => {
    const data = { stdout: '\x1b]0;owned\x07ok\x1b[2J', stderr: '\x1b[31mbad', exit_code: 0, signal: null }
    const text = textOf(presentResult(resultOf({ data })))
    assert.doesNotMatch(text, /\x1b|\x07|owned/)
    assert.match(
      text,
      /\nok\n--- end of output .*\n--- standard error from web-1, untrusted .*\nbad\n--- end of standard error .*$/,
    )
  })

  test('names the signal that ended a command', () => {
    const data = { stdout: '', stderr: '', exit_code: null, signal: 'KILL' }
    assert.match(textOf(presentResult(resultOf({ data, exit_code: null }))), /, ended by signal KILL, /)
  })

  test('says where a failed run left what it had written, unless nothing was done', () => {
    const failed = {
      status: 'failed',
      error_code: 'MHV_SSH_CONNECTION_LOST',
      error: 'gone',
      data: null,
      output: null,
    } as const
    assert.match(
      textOf(presentResult(resultOf({ ...failed, effect_certainty: 'unknown' }))),
      /run_output .* had written/,
    )
    assert.doesNotMatch(textOf(presentResult(resultOf({ ...failed, effect_certainty: 'none' }))), /run_output/)
  })

  test('of a refusal has the remedy, and when to call again', () => {
    const answer = presentError(mhvError('MHV_ADMISSION_FULL', 'no room', { retryAfter: 3, remedy: 'Wait.' }))
    assert.deepEqual(answer, {
      content: [{ type: 'text', text: 'error MHV_ADMISSION_FULL: no room\nfix: Wait.\nretry after: 3 s' }],
      isError: true,
    })
  })

  test('of output joins what belongs together, and counts what is missing', () => {
    const chunk = (stream: string, text: string, gap_bytes = 0) => ({ stream, text, gap_bytes })
    const chunks = [chunk('stdout', 'a'), chunk('stdout', 'b\n'), chunk('stderr', 'e'), chunk('stdout', 'z', 9)]
    const text = textOf(presentControl('run_output', {}, { run_id: RUN, chunks, next_cursor: 4, ended: false }))
    assert.equal(
      text,
      [
        `--- stdout, untrusted ${MARK} ---`,
        'ab',
        `--- end of stdout ${MARK} ---`,
        `--- stderr, untrusted ${MARK} ---`,
        'e',
        `--- end of stderr ${MARK} ---`,
        '[… 9 bytes were not kept …]',
        `--- stdout, untrusted ${MARK} ---`,
        'z',
        `--- end of stdout ${MARK} ---`,
        `There may be more: run_output {"run_id":"${RUN}","cursor":4}`,
      ].join('\n'),
    )
  })
})

test('a wait is 45 seconds at most and by default; what is no number is left for the runtime to refuse', () => {
  assert.deepEqual([undefined, 0, 10, 45, 600, 'x', null].map(boundedWait), [45, 0, 10, 45, 45, 'x', null])
})
