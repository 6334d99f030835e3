import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fakeSession } from '../../../../test/helpers/terminal-fake-session.ts'
import type { PtyListener, PtySession } from '../sessions/pty-session.ts'
import { followSession } from './session-screen.ts'

/** A session as it is after a restart: this much was written before, and the scrollback has the end of it. */
function oldSession(before: string, lost: number) {
  const written: string[] = []
  const size = { rows: 24, cols: 80 }
  let refuses = false
  const fake = fakeSession(before, (output) => ({
    size: () => ({ ...size }),
    async write(bytes) {
      written.push(Buffer.from(bytes).toString())
    },
    async resize(rows, cols) {
      if (refuses) throw new Error('the program has ended')
      Object.assign(size, { rows, cols })
    },
    async read(offset, max = 100) {
      await delay(20)
      const from = Math.max(offset, lost)
      return {
        offset: from,
        bytes: output().subarray(from, from + Math.min(max, 7)),
        lost_bytes: from - offset,
        end: output().length,
      }
    },
  }))
  return {
    ...fake,
    written,
    refuse: () => {
      refuses = true
    },
  }
}

const follow = (session: PtySession) => followSession(session, { failed: (error) => assert.fail(String(error)) })

test('after a restart the screen is made again from the scrollback, and old questions are not answered again', async () => {
  const old = oldSession('one\r\n\x1b[ctwo \x1b[5n', 0)
  const screen = follow(old.session)
  await old.print('three\x1b[6n')
  const { lines, offset, complete } = await screen.snapshot()
  assert.deepEqual([lines[0], lines[1], complete], ['one', 'two three', true])
  assert.equal(offset, screen.end())
  assert.deepEqual(old.written, ['\x1b[2;10R'])
})

test('a screen that is made from the middle of the output says so', async () => {
  const old = oldSession('lost\r\nkept', 6)
  const screen = follow(old.session)
  await old.print('.')
  const { lines, complete } = await screen.snapshot()
  assert.deepEqual([lines[0], complete], ['kept.', false])
})

test('a look right after the restart sees what is in the scrollback', async () => {
  const old = oldSession('there before', 0)
  assert.equal((await follow(old.session).snapshot()).lines[0], 'there before')
})

test('a size that the session refuses is not taken by the screen either', async () => {
  const old = oldSession('', 0)
  const screen = follow(old.session)
  await screen.resize(30, 100)
  assert.equal((await screen.snapshot()).rows, 30)
  old.refuse()
  await assert.rejects(screen.resize(50, 200), /the program has ended/)
  const { rows, cols } = await screen.snapshot()
  assert.deepEqual([rows, cols], [30, 100])
})

test('answers wait for a program only up to a bound: one that asks on and on and reads nothing leaves room for what is typed', async () => {
  const { session } = oldSession('', 0)
  const listeners: PtyListener[] = []
  const written: number[] = []
  let read: () => void = () => undefined
  const asking: PtySession = {
    ...session,
    cursor: () => 0,
    onData(listener) {
      listeners.push(listener)
      return () => undefined
    },
    write(bytes) {
      written.push(bytes.length)
      return new Promise((resolve) => {
        read = resolve
      })
    },
  }
  const screen = followSession(asking, { failed: (error) => assert.fail(String(error)) })
  let offset = 0
  const ask = async () => {
    const bytes = Buffer.from('\x1b[c\x1b[6n'.repeat(500))
    await listeners[0]?.({ bytes, offset })
    offset += bytes.length
    await screen.modes()
  }
  for (let round = 0; round < 20; round++) await ask()
  const waiting = written.reduce((sum, each) => sum + each, 0)
  assert.ok(waiting > 0 && waiting <= 4_096, `${waiting} bytes wait`)
  const count = written.length
  read()
  await delay(1)
  await ask()
  assert.equal(written.length, count + 1, 'it reads again and is answered again')
  screen.dispose()
})
