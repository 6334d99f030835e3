import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { createRegistry } from '../../core/registry.ts'
import { CONTROL_CALLS } from '../../runtime/control.ts'
import { workers } from '../../workers/index.ts'
import { effectWith } from './confirm.ts'
import { runControl } from './run-control.ts'
import type { Session } from './session.ts'

describe('what is asked for', () => {
  test('a command over SSH is not: it may destroy at most, and counts as a write', () => {
    const operation = createRegistry(workers).operation('ssh.execute')
    assert.equal(operation.spec.effect, 'destroy')
    assert.equal(effectWith(operation, { command: 'rm -rf /' }), 'write')
  })
})

describe('a control call that destroys', () => {
  /** A session on a terminal where this is typed; the instance only counts how often it is opened. */
  function sessionTyping(text: string) {
    let opened = 0
    let asked = ''
    const stdin = Object.assign(new PassThrough(), { isTTY: true })
    stdin.end(text)
    const stderr = { isTTY: true, write: () => undefined, on: () => undefined }
    const open = async () => {
      opened += 1
      throw new Error('opened')
    }
    const session = {
      app: { instances: { open, use: open, read: open, look: open } },
      io: { stdin, stderr },
      out: { prompt: (question: string) => (asked += question), complain: () => undefined },
      globals: { place: {}, json: false, quiet: false },
      interrupt: new AbortController().signal,
    } as unknown as Session
    return { session, opened: () => opened, asked: () => asked }
  }

  const cancel = CONTROL_CALLS.find(({ name }) => name === 'run_cancel')
  assert.ok(cancel !== undefined)
  const purge = {
    ...cancel,
    name: 'dead_letter_purge',
    cli: ['dead-letters', 'purge'] as const,
    effect: 'destroy' as const,
  }
  const call = { kind: 'control', control: purge, input: { run_id: 'R1' }, confirmed: false } as const
  const globals = { place: {}, json: false, quiet: false }

  test('asks for its argument, and is made when that is typed', async () => {
    const { session, opened, asked } = sessionTyping('R1\n')
    await assert.rejects(runControl(session, { ...call, globals }), /opened/)
    assert.match(asked(), /^dead-letters purge R1 may destroy .*\nType R1 to go on: $/)
    assert.equal(opened(), 1)
  })

  test('is not made when something else is typed, or nothing', async () => {
    for (const text of ['R2\n', '\n', '']) {
      const { session, opened } = sessionTyping(text)
      await assert.rejects(runControl(session, { ...call, globals }), { code: 'MHV_CLI_NOT_CONFIRMED' })
      assert.equal(opened(), 0)
    }
  })

  test('without an argument asks for its own words', async () => {
    const { session, asked } = sessionTyping('no\n')
    await assert.rejects(runControl(session, { ...call, input: {}, globals }), { code: 'MHV_CLI_NOT_CONFIRMED' })
    assert.match(asked(), /Type dead-letters purge to go on: $/)
  })

  test('with --yes asks nothing, and one that destroys nothing does not either', async () => {
    for (const other of [{ confirmed: true }, { control: { ...purge, effect: 'write' as const } }]) {
      const { session, opened, asked } = sessionTyping('')
      await assert.rejects(runControl(session, { ...call, ...other, globals }), /opened/)
      assert.deepEqual([opened(), asked()], [1, ''])
    }
  })
})
