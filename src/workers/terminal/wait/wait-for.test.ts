import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fakeSession } from '../../../../test/helpers/terminal-fake-session.ts'
import { systemClock } from '../../../core/clock.ts'
import { followSession } from '../screen/session-screen.ts'
import type { PtyExit } from '../sessions/pty-session.ts'
import { regexPattern } from './pattern.ts'
import { type WaitRequest, waitFor } from './wait-for.ts'

/** A session whose output the test writes. */
function writtenSession() {
  const ended = Promise.withResolvers<PtyExit>()
  const { session, listeners, print } = fakeSession('', () => ({
    write: async () => undefined,
    exited: ended.promise,
  }))
  return {
    screen: followSession(session, { failed: (error) => assert.fail(String(error)) }),
    listeners,
    print,
    end: (code: number) => ended.resolve({ exit_code: code, signal: null, reason: 'exited', at: 0 }),
  }
}

const wait = (on: ReturnType<typeof writtenSession>, request: WaitRequest, signal?: AbortSignal) =>
  waitFor(on.screen, request, { clock: systemClock, ...(signal ? { signal } : {}) })

test('TTY-10: property: a wait ends at its bound whatever the program does, and its cursor goes on exactly there', async () => {
  const request = fc.constantFrom<Omit<WaitRequest, 'timeoutMs'>>(
    { text: 'never' },
    { regex: '(a|a)*never$' },
    { text: 'never', after: 0 },
    { stableMs: 5_000 },
    { prompt: true },
    { exit: true },
    { regex: '^never', prompt: 'looks', exit: true, stableMs: 9_000 },
  )
  const output = fc.array(
    fc.constantFrom(
      'a',
      'x\r\n',
      '\x1b[2J',
      '\x1b]0;never',
      'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
      '\x1b[?25l',
      '宽',
      '\x1bPx',
    ),
    { maxLength: 30 },
  )
  await fc.assert(
    fc.asyncProperty(request, fc.integer({ min: 0, max: 60 }), output, async (wanted, timeoutMs, pieces) => {
      const on = writtenSession()
      const started = performance.now()
      const waiting = wait(on, { ...wanted, timeoutMs })
      for (const piece of pieces) {
        await on.print(piece)
        await systemClock.sleep(1)
      }
      const result = await waiting
      const took = performance.now() - started
      // One look at the screen may stand between the bound and the end.
      assert.ok(
        result.outcome === 'timeout' && took < timeoutMs + 300 + 4 * pieces.length,
        `${result.outcome} after ${took} of ${timeoutMs} ms`,
      )
      assert.ok(result.offset <= on.screen.end())
      // Not a byte is missed by waiting again from the cursor.
      const again = wait(on, { text: '<found>', after: result.offset, timeoutMs: 5_000 })
      await on.print('\x18\x1b[0m<fo')
      await on.print('und>')
      assert.equal((await again).outcome, 'text')
    }),
    { numRuns: 60 },
  )
})

test('text is found on the screen, over a line break of the screen, and in lines that scrolled by at once', async () => {
  const on = writtenSession()
  await on.print(`${'x'.repeat(75)}wrapped text`)
  assert.deepEqual((await wait(on, { text: 'wrapped text', timeoutMs: 1_000 })).match, {
    text: 'wrapped text',
    groups: [],
  })
  const scrolled = wait(on, { regex: '^line (\\d+) of it$', timeoutMs: 2_000 })
  await systemClock.sleep(30)
  await on.print(`\r\nline 7 of it\r\n${'other\r\n'.repeat(5_000)}`)
  assert.deepEqual((await scrolled).match, { text: 'line 7 of it', groups: ['7'] })
})

test('with a cursor only what came after it counts, control sequences left out', async () => {
  const on = writtenSession()
  await on.print('ready\r\n')
  const after = on.screen.end()
  assert.equal((await wait(on, { text: 'ready', after, timeoutMs: 30 })).outcome, 'timeout')
  const waiting = wait(on, { text: 'ready now', after, timeoutMs: 2_000 })
  await on.print('\x1b[31mrea')
  await on.print('\x1b[')
  await on.print('1mdy\x1b]0;title\x07 now')
  assert.equal((await waiting).offset, on.screen.end())
  assert.equal(
    (await wait(on, { text: 'ready now', after, timeoutMs: 1_000 })).outcome,
    'text',
    'also when it is there already',
  )
})

test('stable, prompt by looks, prompt by marks, exit', async () => {
  const on = writtenSession()
  await on.print('user@host:~$ ')
  assert.equal((await wait(on, { stableMs: 20, timeoutMs: 2_000 })).outcome, 'stable')
  assert.equal((await wait(on, { prompt: true, timeoutMs: 2_000 })).prompt_by, 'looks')
  await on.print('\x1b]133;A\x07$ \x1b]133;B\x07')
  const start = performance.now()
  assert.equal((await wait(on, { prompt: true, timeoutMs: 2_000 })).prompt_by, 'marks')
  assert.ok(performance.now() - start < 200, 'marks need no quiet time')
  await on.print('sleep\r\n\x1b]133;C\x07not back > ')
  assert.equal(
    (await wait(on, { prompt: true, timeoutMs: 400 })).outcome,
    'timeout',
    'looks do not count against marks',
  )
  const waiting = wait(on, { text: 'never', timeoutMs: 2_000 })
  on.end(3)
  const ended = await waiting
  assert.deepEqual([ended.outcome, ended.exit?.exit_code], ['exit', 3])
})

test('a wait leaves nothing behind, and can be aborted', async () => {
  const on = writtenSession()
  const before = on.listeners.size
  const stop = new AbortController()
  const waiting = wait(on, { text: 'never', prompt: true, timeoutMs: 10_000 }, stop.signal)
  await systemClock.sleep(10)
  stop.abort(new Error('enough'))
  await assert.rejects(waiting, /enough/)
  assert.equal(on.listeners.size, before)
  await assert.rejects(wait(on, { timeoutMs: 10 }), { code: 'MHV_INPUT_INVALID' })
  await assert.rejects(wait(on, { text: 'a', regex: 'b', timeoutMs: 10 }), { code: 'MHV_INPUT_INVALID' })
})

test('no pattern takes more than linear time, and one that could is refused by name', async () => {
  const evil = await regexPattern('^(([a-z])+.)+[A-Z]([a-z])+$')
  const start = performance.now()
  assert.equal(evil.find('a'.repeat(30_000)), null)
  assert.ok(performance.now() - start < 2_000)
  await assert.rejects(regexPattern('(a)\\1'), { code: 'MHV_INPUT_INVALID' })
  await assert.rejects(regexPattern('x'.repeat(1001)), /1 to 1000 characters/)
})
