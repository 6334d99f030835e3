import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { assertEnded, COMMAND_MS, type MeetOptions, startHostileClient } from '../helpers/hostile-client.ts'
import {
  hostileSsh,
  type Misdeeds,
  message,
  RECIPIENT,
  type Running,
  rawSocket,
  runHonestly,
  sendPayload,
  sshString,
  uint32,
} from '../helpers/hostile-ssh.ts'

/** SSH-11: a server that sends without measure takes no more memory than a little, and the deadline ends it. */

/** The client has not taken so many bytes yet, and is there. */
function isBehind({ connection }: Running, bytes: number): boolean {
  const socket = rawSocket(connection)
  return socket?.writable === true && socket.writableLength < bytes
}

const MEGABYTE = 1024 * 1024
/** Bytes beyond what an honest server takes, at the most at any time. */
const MOST_MORE = 150 * MEGABYTE
/** Nothing but what they send ends the connection of those who send without measure. */
const CLIENT = { connectSeconds: 10, keepaliveSeconds: 60 }

/** Measures a client of its own that has met an honest server before, and meets one afterwards. */
async function measured(title: string, misdeeds: Misdeeds, options: MeetOptions, codes: RegExp): Promise<void> {
  const client = await startHostileClient(CLIENT)
  const honest = async () => assert.equal((await client.meet(await hostileSsh({}))).message, '5 bytes')
  try {
    await honest()
    const before = client.peak()
    const outcome = await client.meet(await hostileSsh(misdeeds), options)
    assertEnded(title, outcome, { codes, withinMs: COMMAND_MS })
    const more = outcome.rss - before
    assert.ok(more < MOST_MORE, `${title}: ${more / MEGABYTE} MB more`)
    await honest()
  } finally {
    await client.stop()
  }
}

suite('SSH-11: a server without measure', { concurrency: true }, () => {
  test('output without end takes no more memory than a little, and ends at the deadline', () =>
    measured(
      'output',
      {},
      { command: 'cat /dev/zero' },
      /^MHV_SSH_(COMMAND_TIMEOUT|CONNECTION_LOST|COMMAND_UNCONFIRMED)$/,
    ))

  test('output beyond the window, while nobody reads it, does neither, and ends the connection', () => {
    const exec = (running: Running) => {
      const command = running.command.replace('echo done', 'sleep 60')
      // Only when it was told that the command has started: else it would be a start that failed.
      const channel = runHonestly({ ...running, command }, () => flood())
      const piece = message(94, uint32(RECIPIENT), sshString(Buffer.alloc(32_000)))
      const flood = () => {
        if (channel.destroyed || rawSocket(running.connection)?.destroyed !== false) return
        // As fast as the client takes it; its window plays no part.
        for (let n = 0; n < 200 && isBehind(running, 4 * MEGABYTE); n++) sendPayload(running.connection, piece)
        setTimeout(flood, 1)
      }
    }
    return measured(
      'output beyond the window',
      { exec },
      { slow: true, timeoutMs: 20_000 },
      /^MHV_SSH_CONNECTION_LOST$/,
    )
  })

  test('questions without end, by one who reads no answer, do neither, and end the connection', () => {
    const exec = (running: Running) => {
      runHonestly({ ...running, command: running.command.replace('echo done', 'sleep 60') }, () => ask())
      rawSocket(running.connection)?.pause()
      const question = message(80, sshString('keepalive@openssh.com'), Buffer.from([1]))
      const ask = () => {
        if (rawSocket(running.connection)?.destroyed !== false) return
        for (let n = 0; n < 5_000 && isBehind(running, MEGABYTE); n++) sendPayload(running.connection, question)
        setTimeout(ask, 1)
      }
    }
    return measured('questions', { exec }, { timeoutMs: 20_000 }, /^MHV_SSH_CONNECTION_LOST$/)
  })
})
