import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Client, ClientChannel } from 'ssh2'
import {
  type HostileServer,
  hostileSsh,
  message,
  type Running,
  sendPayload,
  sshString,
  uint32,
} from '../../../test/helpers/hostile-ssh.ts'
import { until } from '../../../test/helpers/processes.ts'
import type { OutputSink } from '../../core/context.ts'
import { guardFlow, MAX_UNREAD } from './flow-guard.ts'
import { pumpOutput } from './output-pump.ts'
import { ssh2 } from './ssh2-library.ts'

const MEBIBYTE = 1024 * 1024
/** What the window is opened to: MAX_WINDOW in ssh2's lib/Channel.js. */
const WINDOW = 2 * MEBIBYTE
/** Bytes of one message; no part of the window, so that it is never exactly used up, which is all that ssh2 looks at. */
const PIECE = 32_000

interface Guarded extends AsyncDisposable {
  readonly channel: ClientChannel
  readonly violations: readonly string[]
  unread(): number
}

/** A channel of a command on a server that does as it is told, with the guard on its connection; nobody reads it. */
async function guarded(exec: (running: Running) => void): Promise<Guarded> {
  const server: HostileServer = await hostileSsh({ exec })
  const client: Client = new ssh2.Client()
  const socket = connect({ port: server.port, host: '127.0.0.1' })
  const violations: string[] = []
  client.on('error', () => undefined)
  const ready = once(client, 'ready')
  client.connect({ sock: socket, username: 'any', password: 'any' })
  await ready
  guardFlow(client, socket, (why) => violations.push(why))
  const channel = await new Promise<ClientChannel>((resolve, reject) => {
    client.exec('flood', (error, opened) => (error === undefined ? resolve(opened) : reject(error)))
  })
  return {
    channel,
    violations,
    unread: () => channel.readableLength + channel.stderr.readableLength,
    async [Symbol.asyncDispose]() {
      client.destroy()
      socket.destroy()
      await server.close()
    },
  }
}

/** Number of the channel on the wire: it is the first one of its connection. */
const CHANNEL = 0

/** What an honest host comes to at the most: half of what is allowed. */
function assertNearlyTwoWindows(most: number): void {
  assert.ok(most > 1.4 * WINDOW && most < 2 * WINDOW && 2 * WINDOW <= MAX_UNREAD / 2, `${most / MEBIBYTE} MiB`)
}

suite('SSH-11: the guard of what a host sends', () => {
  test('one that keeps to the window is not cut, as much as waits unread behind a slow sink', async () => {
    const bytes = 16 * MEBIBYTE
    await using held = await guarded(({ accept }) => {
      const channel = accept()
      for (let sent = 0; sent < bytes; sent += PIECE) channel.write(Buffer.alloc(PIECE))
    })
    let most = 0
    let taken = 0
    const sink: Pick<OutputSink, 'write'> = {
      async write(_stream, piece) {
        await delay(5)
        most = Math.max(most, held.unread())
        taken += piece.length
      },
    }
    pumpOutput(held.channel, sink as OutputSink, { push: (piece) => piece, end: () => Buffer.alloc(0) })
    assert.ok(await until(() => taken >= bytes, 20_000), `${taken} bytes`)
    assertNearlyTwoWindows(most)
    assert.deepEqual(held.violations, [])
  })

  test('one that keeps to the window is not cut, as much as waits unread where ssh2 opens it by itself', async () => {
    const bytes = 16 * MEBIBYTE
    await using held = await guarded(({ accept }) => {
      const channel = accept()
      for (let sent = 0; sent < bytes; sent += PIECE) channel.write(Buffer.alloc(PIECE))
    })
    let most = 0
    assert.ok(await until(() => held.unread() > WINDOW))
    // A little at a time, as whoever passes it on to somebody slow.
    for (let taken = 0; taken < bytes; ) {
      most = Math.max(most, held.unread())
      const piece: Buffer | null = held.channel.read(Math.min(64 * 1024, held.unread()) || undefined)
      if (piece === null) await delay(1)
      else taken += piece.length
    }
    assertNearlyTwoWindows(most)
    assert.deepEqual(held.violations, [])
  })

  test('one that goes beyond it is found out with the first byte above what is allowed, on either stream', async () => {
    for (const stderr of [false, true]) {
      const { promise: running, resolve } = Promise.withResolvers<Running>()
      await using held = await guarded((given) => {
        given.accept()
        resolve(given)
      })
      const { connection } = await running
      const send = (size: number) => {
        const data = sshString(Buffer.alloc(size))
        sendPayload(
          connection,
          stderr ? message(95, uint32(CHANNEL), uint32(1), data) : message(94, uint32(CHANNEL), data),
        )
      }
      for (let left = MAX_UNREAD; left > 0; left -= PIECE) send(Math.min(PIECE, left))
      assert.ok(await until(() => held.unread() === MAX_UNREAD), `${held.unread()} bytes`)
      assert.deepEqual(held.violations, [])
      send(1)
      assert.ok(await until(() => held.violations.length > 0))
      assert.deepEqual(held.violations, ['the host sent more than it was allowed to'])
    }
  })
})
