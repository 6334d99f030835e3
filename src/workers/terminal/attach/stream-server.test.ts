import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Clock, systemClock } from '../../../core/clock.ts'
import { frameBytes, STREAM_FORMAT, streamKeyDigest, streamSocketPath } from '../../../core/terminal-stream.ts'
import { createStreamServer } from './stream-server.ts'

test('a terminal that comes before its run stays attached when the time to wait for one has passed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-stream-'))
  const timers = new Set<() => void>()
  const clock = {
    after(_: number, call: () => void) {
      timers.add(call)
      return () => timers.delete(call)
    },
  } as unknown as Clock
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const server = createStreamServer({ folder, clock, log })
  try {
    const stop = new AbortController()
    // The socket is there from the first call on.
    const nobody = server.meet('0'.repeat(64), stop.signal).catch(() => undefined)
    await delay(100)
    const socket = connect(streamSocketPath(folder))
    await once(socket, 'connect')
    socket.write(frameBytes('hello', { format: STREAM_FORMAT, key: 'early' }))
    await delay(100)
    const peer = await server.meet(streamKeyDigest('early'), new AbortController().signal)
    for (const call of [...timers]) call()
    peer.send('data', Buffer.from('still there'))
    const [bytes] = (await once(socket, 'data')) as [Buffer]
    assert.deepEqual(bytes, Buffer.from(frameBytes('data', Buffer.from('still there'))))
    stop.abort()
    await nobody
    socket.destroy()
  } finally {
    await server.close()
    await rm(folder, { recursive: true, force: true })
  }
})

test('TTY-04: a run that shows the digest of a key that another run waits with gets nobody, and takes nobody away', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-stream-'))
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const server = createStreamServer({ folder, clock: systemClock, log })
  try {
    const digest = streamKeyDigest('mine')
    const first = server.meet(digest, new AbortController().signal)
    await delay(100)
    const second = server.meet(digest, AbortSignal.timeout(2_000))
    await assert.rejects(second, { code: 'MHV_TERMINAL_NOT_ATTACHED' })
    const socket = connect(streamSocketPath(folder))
    socket.write(frameBytes('hello', { format: STREAM_FORMAT, key: 'mine' }))
    const peer = await first
    peer.send('data', Buffer.from('yours'))
    const [bytes] = (await once(socket, 'data')) as [Buffer]
    assert.deepEqual(bytes, Buffer.from(frameBytes('data', Buffer.from('yours'))))
    socket.destroy()
  } finally {
    await server.close()
    await rm(folder, { recursive: true, force: true })
  }
})
