import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { after, before, suite, test } from 'node:test'
import fc from 'fast-check'
import {
  assertEnded,
  type Expected,
  type HostileClient,
  inGroups,
  startHostileClient,
} from '../helpers/hostile-client.ts'
import {
  hostileSsh,
  hostileTcp,
  type Misdeeds,
  plainPacket,
  rawSocket,
  sendPayload,
  sshString,
  uint32,
} from '../helpers/hostile-ssh.ts'

/**
 * SSH-11: whatever a server does before anybody is logged in, a command ends with an error that has a code, in time, and nothing else is
 * hurt.
 */

let client: HostileClient
before(async () => {
  client = await startHostileClient()
})
after(() => client?.stop())

/** Writes on and on, as fast as it is taken. */
function endless(socket: Socket, piece: Buffer | string): void {
  const more = () => {
    while (!socket.destroyed && socket.write(piece));
  }
  socket.on('drain', more)
  more()
}

const BANNER = 'SSH-2.0-hostile\r\n'
const kexinit = (lists: readonly (string | Buffer)[]) =>
  plainPacket(
    Buffer.concat([Buffer.from([20]), Buffer.alloc(16, 7), ...lists.map(sshString), Buffer.from([0]), uint32(0)]),
  )

suite('SSH-11: a server of plain TCP', { concurrency: true }, () => {
  const ways: Readonly<Record<string, readonly [(socket: Socket) => void, Expected?]>> = {
    'a banner without end, in one line': [(socket) => endless(socket, 'x'.repeat(65_536))],
    'a banner without end, in lines': [(socket) => endless(socket, 'hello\r\n'.repeat(5_000))],
    'a banner that comes a byte at a time': [
      (socket) => {
        const timer = setInterval(() => socket.write('S'), 20)
        socket.on('close', () => clearInterval(timer))
      },
    ],
    'a banner that is too long': [(socket) => socket.write(`SSH-2.0-${'x'.repeat(100_000)}\r\n`)],
    'a banner with control characters': [
      (socket) => socket.end('\x1b[2J\x07no\x00thing\r\nSSH-2.0-\x1b[31m\r\n\x00\x00'),
    ],
    'a connection that is taken and nothing said': [() => undefined, { codes: /^MHV_SSH_CONNECT_TIMEOUT$/ }],
    'a connection of which only our half is open': [(socket) => socket.end(), { codes: /^MHV_SSH_CONNECT_FAILED$/ }],
    'a half-open connection behind the banner': [(socket) => socket.end(BANNER)],
    'a packet of 2 GB': [(socket) => socket.write(Buffer.from(`${BANNER}\x7f\xff\xff\xff\x04`, 'latin1'))],
    'a packet of 4 GB, less one byte': [
      (socket) => socket.write(Buffer.from(`${BANNER}\xff\xff\xff\xff\xff`, 'latin1')),
    ],
    'a packet without a byte': [(socket) => socket.write(Buffer.from(`${BANNER}\0\0\0\0\0\0\0\0`, 'latin1'))],
    'a packet that is all padding': [
      (socket) => socket.write(Buffer.concat([Buffer.from(BANNER), uint32(12), Buffer.alloc(12, 255)])),
    ],
    'a kexinit without a list': [(socket) => socket.write(Buffer.concat([Buffer.from(BANNER), kexinit([])]))],
    'a kexinit with lists of nonsense': [
      (socket) =>
        socket.write(Buffer.concat([Buffer.from(BANNER), kexinit(Array.from({ length: 10 }, () => 'no,such\0,\xff'))])),
    ],
    'a kexinit with lists of 30 KB': [
      (socket) =>
        socket.write(
          Buffer.concat([Buffer.from(BANNER), kexinit(Array.from({ length: 10 }, () => 'a,'.repeat(1_500)))]),
        ),
    ],
    'a kexinit whose length lies': [
      (socket) =>
        socket.write(
          Buffer.concat([
            Buffer.from(BANNER),
            plainPacket(Buffer.concat([Buffer.from([20]), Buffer.alloc(16), uint32(0xffffffff)])),
          ]),
        ),
    ],
    'messages of authentication before any key': [
      (socket) =>
        socket.write(
          Buffer.concat([Buffer.from(BANNER), plainPacket(Buffer.from([52])), plainPacket(Buffer.from([52]))]),
        ),
    ],
    'messages to ignore without end': [
      (socket) => {
        socket.write(BANNER)
        endless(socket, plainPacket(Buffer.concat([Buffer.from([2]), sshString('x'.repeat(1_000))])))
      },
    ],
  }
  test('each way ends as an error with a code, in time', async () => {
    const met = Object.entries(ways).map(async ([title, [speak, expected = {}]]) => {
      assertEnded(title, await client.meet(await hostileTcp(speak)), expected)
    })
    await Promise.all(met)
  })

  test('garbage behind the banner', async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 400 }).map((raw) => Buffer.from(raw)),
      fc.uint8Array({ maxLength: 300 }).map((raw) => plainPacket(Buffer.from(raw))),
      fc
        .tuple(
          fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 33, 50, 51, 52, 60, 80, 90, 94, 98),
          fc.uint8Array({ maxLength: 200 }),
        )
        .map(([type, raw]) => plainPacket(Buffer.concat([Buffer.from([type]), raw]))),
    )
    const pieces = fc.sample(fc.array(bytes, { minLength: 1, maxLength: 4 }), { seed: 1106, numRuns: 60 })
    await inGroups(pieces, 20, async (sent, place) => {
      const server = await hostileTcp((socket) => socket.end(Buffer.concat([Buffer.from(BANNER), ...sent])))
      assertEnded(
        `garbage ${place}: ${Buffer.concat(sent).toString('hex').slice(0, 200)}`,
        await client.meet(server),
        {},
      )
    })
  })
})

suite('SSH-11: a server that authenticates wrongly', { concurrency: true }, () => {
  const ways: Readonly<Record<string, readonly [Misdeeds['authenticate'], Expected?]>> = {
    'that never answers': [() => undefined, { codes: /^MHV_SSH_CONNECT_TIMEOUT$/, message: /authentication/ }],
    'that takes nothing, and names methods without end': [
      (context) => context.reject(Array.from({ length: 500 }, (_, n) => `method-${n}`) as never, false),
      { codes: /^MHV_SSH_AUTH_FAILED$/ },
    ],
    'that takes a part of it, for ever': [
      (context) => context.reject(['password', 'publickey'], true),
      { codes: /^MHV_SSH_AUTH_FAILED$/ },
    ],
    'that asks question after question': [
      (context) => {
        if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive'])
        const ask = () => context.prompt([{ prompt: 'Pass\x1bword: ', echo: false }], ask)
        ask()
      },
      { codes: /^MHV_SSH_AUTH_FAILED$/, message: /asks what cannot be answered/ },
    ],
    'that asks three hundred questions at once': [
      (context) => {
        if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive'])
        context.prompt(
          Array.from({ length: 300 }, () => ({ prompt: 'x'.repeat(50), echo: true })),
          () => undefined,
        )
      },
      { codes: /^MHV_SSH_AUTH_FAILED$/, message: /asks what cannot be answered/ },
    ],
    'that asks none, for ever': [
      (context, connection) => {
        if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive'])
        const ask = () => {
          sendPayload(
            connection,
            Buffer.concat([Buffer.from([60]), sshString(''), sshString(''), sshString(''), uint32(0)]),
          )
          setTimeout(() => rawSocket(connection)?.destroyed === false && ask(), 5)
        }
        ask()
      },
      { codes: /^MHV_SSH_CONNECT_TIMEOUT$/ },
    ],
    'that asks to change the password': [
      (_context, connection) =>
        sendPayload(connection, Buffer.concat([Buffer.from([60]), sshString('new one'), sshString('')])),
    ],
    'that says it is a key that it takes, unasked': [
      (_context, connection) =>
        sendPayload(connection, Buffer.concat([Buffer.from([60]), sshString('ssh-ed25519'), sshString('x')])),
    ],
    'that lets one in twice': [
      (context, connection) => {
        sendPayload(connection, Buffer.from([52]))
        context.accept()
      },
      { codes: /^(completed|MHV_SSH_)/ },
    ],
    'that says goodbye at length': [
      (_context, connection) =>
        sendPayload(
          connection,
          Buffer.concat([Buffer.from([1]), uint32(2), sshString(`\x1b[2Jgo away${'!'.repeat(20_000)}`), sshString('')]),
        ),
    ],
    'that sends a banner without end': [
      (_context, connection) => {
        const send = () => {
          for (let n = 0; n < 20; n++)
            sendPayload(connection, Buffer.concat([Buffer.from([53]), sshString('x'.repeat(30_000)), sshString('')]))
          setTimeout(() => rawSocket(connection)?.destroyed === false && send(), 5)
        }
        send()
      },
      { codes: /^MHV_SSH_CONNECT_TIMEOUT$/ },
    ],
    'that opens channels before anyone is in': [
      (_context, connection) =>
        sendPayload(
          connection,
          Buffer.concat([Buffer.from([90]), sshString('session'), uint32(0), uint32(1), uint32(1)]),
        ),
    ],
  }
  test('each way ends as an error with a code, in time', async () => {
    const met = Object.entries(ways).map(async ([title, [authenticate, expected = {}]]) => {
      assertEnded(title, await client.meet(await hostileSsh({ authenticate })), expected)
    })
    await Promise.all(met)
  })
})

test('SSH-11: after all of it an honest server is served as ever', async () => {
  const outcome = await client.meet(await hostileSsh({}))
  assert.deepEqual([outcome.code, outcome.message], ['completed', '5 bytes'])
})
