import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { RemotePty, RemotePtyEvents, RemotePtyRequest } from '../../../core/ports.ts'
import { createFakeClock } from '../../../testing/fake-clock.ts'
import { createAttention } from './attention.ts'
import { openRemoteSession } from './remote-session.ts'

const MEBIBYTE = 1_048_576
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const info = {
  id: '01J00000000000000000000000',
  kind: 'remote',
  owner: 'user:test',
  run_id: 'run',
  target: 'web',
  command: ['top'],
  term: 'xterm',
  started_at: 0,
  pid: null,
} as const

/** A far host that does what the test says. */
async function opened({ slow = false, ...parts }: { idle_ms?: number; lifetime_ms?: number; slow?: boolean } = {}) {
  const calls: unknown[] = []
  const clock = createFakeClock(0)
  let events: RemotePtyEvents | undefined
  let forgotten = 0
  const gone = Promise.withResolvers<void>()
  const writes = Promise.withResolvers<void>()
  const port: RemotePty = {
    async open(request: RemotePtyRequest, given) {
      calls.push(['open', request])
      events = given
      return {
        async write(bytes) {
          calls.push(['write', String(bytes)])
          if (slow) await writes.promise
        },
        resize: async (rows, cols) => void calls.push(['resize', rows, cols]),
        signal: async (name) => void calls.push(['signal', name]),
        echo: async () => 'hidden',
        close: async () => void calls.push(['close']),
        ended: () => gone.promise,
      }
    },
  }
  const session = await openRemoteSession(
    info,
    { rows: 24, cols: 80 },
    'top',
    {
      port,
      clock,
      log: silent,
      attention: createAttention(clock, () => undefined).remote(info.id),
      scrollback_bytes: MEBIBYTE,
      idle_ms: 1_800_000,
      lifetime_ms: 86_400_000,
      forgotten: () => {
        forgotten += 1
      },
      ...parts,
    },
    new AbortController().signal,
  )
  return { session, calls, clock, events: events as RemotePtyEvents, forgotten: () => forgotten, gone, writes }
}

test('a remote session passes everything on to the port', async () => {
  const { session, calls } = await opened()
  await session.write(Buffer.from('q'))
  await session.resize(50, 132)
  await session.signal('SIGINT')
  assert.deepEqual(session.size(), { rows: 50, cols: 132 })
  assert.deepEqual(calls, [
    ['open', { target: 'web', term: 'xterm', rows: 24, cols: 80, command: 'top' }],
    ['write', 'q'],
    ['resize', 50, 132],
    ['signal', 'INT'],
  ])
})

test('TTY-01 every byte of a remote session reaches a slow listener in order, and the far host waits for it', async () => {
  const { session, events } = await opened()
  const gates: (() => void)[] = []
  const received: Uint8Array[] = []
  session.onData(({ offset, bytes }) => {
    assert.equal(
      offset,
      received.reduce((sum, each) => sum + each.length, 0),
    )
    received.push(bytes)
    return new Promise((resolve) => gates.push(resolve))
  })
  const all = Buffer.from(Array.from({ length: 3 * MEBIBYTE }, (_, at) => (at * 31) % 251))
  let accepted = 0
  let highest = 0
  void (async () => {
    for (let at = 0; at < all.length; at += 40_000) {
      await events.data(all.subarray(at, at + 40_000))
      accepted = Math.min(all.length, at + 40_000)
    }
    events.exit({ exit_code: 3, signal: null })
  })()
  let taken = 0
  while (taken < all.length) {
    await turn()
    highest = Math.max(highest, accepted - taken)
    assert.equal(session.exit(), null)
    taken += received[gates.length === 0 ? 0 : received.length - gates.length]?.length ?? 0
    gates.shift()?.()
  }
  assert.deepEqual(await session.exited, { exit_code: 3, signal: null, reason: 'exited', at: 0 })
  assert.ok(Buffer.concat(received).equals(all))
  assert.ok(highest <= 400_000, `the far host was at most ${highest} bytes ahead`)
})

test('a connection that ends without a word leaves the session lost', async () => {
  const { session, events } = await opened()
  events.exit({ exit_code: null, signal: null })
  assert.deepEqual(await session.exited, { exit_code: null, signal: null, reason: 'lost', at: 0 })
  await assert.rejects(session.write(Buffer.from('x')), { code: 'MHV_TERMINAL_LOST' })
})

test('a worker that is gone with the connection leaves the session lost', async () => {
  const { session, gone } = await opened()
  gone.reject(new Error('its process ended'))
  assert.equal((await session.exited).reason, 'lost')
  assert.equal(await session.echo(), 'unknown')
})

test('a signal that ended a remote program has the name that it has for a local one', async () => {
  const { session, events } = await opened()
  events.exit({ exit_code: null, signal: 'KILL' })
  assert.deepEqual(await session.exited, { exit_code: null, signal: 'SIGKILL', reason: 'exited', at: 0 })
})

test('what was typed into a connection that breaks meanwhile is not said to be typed', async () => {
  const { session, events, writes } = await opened({ slow: true })
  const typed = session.write(Buffer.from('x'))
  await assert.rejects(session.write(Buffer.alloc(MEBIBYTE)), { code: 'MHV_TERMINAL_INPUT_FULL' })
  events.exit({ exit_code: null, signal: null })
  writes.resolve()
  await assert.rejects(typed, { code: 'MHV_TERMINAL_LOST' })
})

test('the scrollback of a remote session says what is gone', async () => {
  const { session, events } = await opened()
  session.onData(() => undefined)
  await events.data(Buffer.alloc(MEBIBYTE, 'a'))
  await events.data(Buffer.from('end'))
  const read = await session.read(0)
  assert.equal(read.lost_bytes, 3)
  assert.equal(read.end, MEBIBYTE + 3)
  assert.ok(String(read.bytes).endsWith('aaaend'))
})

test('a remote session that nobody uses is ended, and forgotten after as long again', async () => {
  const { session, calls, clock, events, forgotten } = await opened({ idle_ms: 1_000 })
  session.onData(() => undefined)
  await clock.advance(900)
  await events.data(Buffer.from('still here'))
  await clock.advance(900)
  assert.equal(session.exit(), null)
  await clock.advance(200)
  assert.equal((await session.exited).reason, 'idle')
  assert.deepEqual(calls.at(-1), ['close'])
  assert.equal(forgotten(), 0)
  await clock.advance(1_000)
  assert.equal(forgotten(), 1)
})

test('a remote session ends at the end of its life, used or not', async () => {
  const { session, clock, events } = await opened({ idle_ms: 1_000, lifetime_ms: 2_500 })
  session.onData(() => undefined)
  for (let step = 0; step < 5; step += 1) {
    await events.data(Buffer.from('busy'))
    await clock.advance(500)
  }
  assert.equal((await session.exited).reason, 'lifetime')
})

test('closing a remote session lets a far host go on that waits for room', async () => {
  const { session, events, calls } = await opened()
  const waiting = events.data(Buffer.alloc(2 * MEBIBYTE))
  await turn()
  await session.close()
  await session.close()
  await waiting
  assert.equal((await session.exited).reason, 'closed')
  assert.equal(calls.filter((call) => (call as string[])[0] === 'close').length, 1)
  await assert.rejects(session.write(Buffer.from('x')), { code: 'MHV_TERMINAL_ENDED' })
})
