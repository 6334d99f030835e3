import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import fc from 'fast-check'
import {
  ANY_END,
  assertEnded,
  COMMAND_MS,
  type Expected,
  type HostileClient,
  inGroups,
  startHostileClient,
} from '../helpers/hostile-client.ts'
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

/**
 * SSH-11: whatever a server does once one is logged in, a command ends with an error that has a code, in time, and nothing else is
 * hurt.
 */

/** Long enough for a hundred handshakes at once: none of these servers does wrong before. */
const CONNECT_SECONDS = 10

/** Commands that are not answered are waited for by a clock that is so many times as fast. */
const SPEED = 5

let client: HostileClient
let quick: HostileClient
before(async () => {
  ;[client, quick] = await Promise.all([
    startHostileClient({ connectSeconds: CONNECT_SECONDS }),
    startHostileClient({ connectSeconds: 2 * CONNECT_SECONDS, speed: SPEED }),
  ])
})
after(() => Promise.all([client?.stop(), quick?.stop()]))

const exitStatus = (code: number) =>
  message(98, uint32(RECIPIENT), sshString('exit-status'), Buffer.from([0]), uint32(code))

suite('SSH-11: a server that runs commands wrongly', { concurrency: true }, () => {
  const send = ({ connection }: Running, ...payloads: readonly Buffer[]) => {
    for (const payload of payloads) sendPayload(connection, payload)
  }
  const ways: Readonly<Record<string, readonly [Misdeeds, Expected?]>> = {
    'that refuses every channel': [{ session: (_accept, reject) => reject() }],
    'that refuses to run it': [{ exec: ({ reject }) => reject() }],
    'that says it started twice': [
      {
        exec: (running) => {
          runHonestly(running)
          send(running, message(99, uint32(RECIPIENT)), message(100, uint32(RECIPIENT)))
        },
      },
      { codes: /^(completed|MHV_SSH_)/ },
    ],
    'whose output comes before it started': [
      {
        exec: (running) =>
          send(running, message(94, uint32(RECIPIENT), sshString('early')), message(97, uint32(RECIPIENT))),
      },
    ],
    'that closes before it has started': [{ exec: (running) => send(running, message(97, uint32(RECIPIENT))) }],
    'that names channels that are not there': [
      {
        exec: (running) => {
          for (const channel of [2, 7, 0xffffffff]) {
            for (const type of [91, 92, 93, 94, 95, 96, 97, 99, 100])
              send(running, message(type, uint32(channel), uint32(1), uint32(1), uint32(1)))
          }
          runHonestly(running)
        },
      },
      { codes: /^(completed|MHV_SSH_)/ },
    ],
    'that sends the exit status twice': [
      {
        exec: (running) => {
          running.accept()
          send(running, exitStatus(0), exitStatus(7), message(97, uint32(RECIPIENT)))
        },
      },
    ],
    'that sends output after the close': [
      {
        exec: (running) => {
          running.accept()
          send(running, message(96, uint32(RECIPIENT)), message(97, uint32(RECIPIENT)))
          send(
            running,
            message(94, uint32(RECIPIENT), sshString('late')),
            exitStatus(0),
            message(97, uint32(RECIPIENT)),
          )
        },
      },
    ],
    'that hangs up in the middle': [
      {
        exec: ({ accept, connection }) => {
          accept().write('some')
          setTimeout(() => rawSocket(connection)?.resetAndDestroy(), 50)
        },
      },
      { codes: /^MHV_SSH_(CONNECTION_LOST|COMMAND_UNCONFIRMED)$/ },
    ],
    'that ends our half in the middle': [
      {
        exec: ({ accept, connection }) => {
          accept()
          setTimeout(() => rawSocket(connection)?.end(), 50)
        },
      },
      { codes: /^MHV_SSH_(CONNECTION_LOST|COMMAND_UNCONFIRMED)$/ },
    ],
    'that gives a window of 4 GB again and again': [
      {
        exec: (running) => {
          for (let n = 0; n < 50; n++) send(running, message(93, uint32(RECIPIENT), uint32(0xffffffff)))
          runHonestly(running)
        },
      },
      { codes: /^(completed|MHV_SSH_)/ },
    ],
    'that opens channels to us': [
      {
        ready: (connection) => {
          for (const kind of ['session', 'x11', 'forwarded-tcpip', 'auth-agent@openssh.com', 'no-such']) {
            sendPayload(
              connection,
              message(
                90,
                sshString(kind),
                uint32(5),
                uint32(1_000),
                uint32(1_000),
                sshString('h'),
                uint32(1),
                sshString('o'),
                uint32(2),
              ),
            )
          }
        },
      },
      { codes: /^(completed|MHV_SSH_)/ },
    ],
    'that asks without end': [
      {
        ready: (connection) => {
          for (let n = 0; n < 3_000; n++)
            sendPayload(connection, message(80, sshString('keepalive@openssh.com'), Buffer.from([1])))
          sendPayload(
            connection,
            message(80, sshString('hostkeys-00@openssh.com'), Buffer.from([1]), uint32(9_999), Buffer.alloc(50)),
          )
        },
      },
      { codes: /^(completed|MHV_SSH_)/ },
    ],
  }
  test('each way ends with a code, in time', async () => {
    await inGroups(Object.entries(ways), 30, async ([title, [misdeeds, expected = {}]]) => {
      assertEnded(title, await client.meet(await hostileSsh(misdeeds)), { withinMs: COMMAND_MS, ...expected })
    })
  })

  test('that never answers ends with a code, and no later than the end of its command may be waited for', async () => {
    const silences: Readonly<Record<string, readonly [Misdeeds, RegExp]>> = {
      'that never opens a channel': [{ session: () => undefined }, /^MHV_SSH_CONNECT_TIMEOUT$/],
      'that never says whether it started': [{ exec: () => undefined }, /^MHV_SSH_COMMAND_TIMEOUT$/],
      'that sends an exit status, and never closes': [
        {
          exec: (running) => {
            running.accept()
            send(running, exitStatus(0))
          },
        },
        /^MHV_SSH_COMMAND_TIMEOUT$/,
      ],
    }
    const met = Object.entries(silences).map(async ([title, [misdeeds, codes]]) => {
      const outcome = await quick.meet(await hostileSsh(misdeeds), { timeoutMs: 1_000 })
      assertEnded(title, outcome, { codes, withinMs: COMMAND_MS / SPEED + 1_000 })
    })
    await Promise.all(met)
  })

  test('messages of any kind in the middle of a command', async () => {
    const part = fc.oneof(
      fc.uint8Array({ maxLength: 60 }).map((raw) => Buffer.from(raw)),
      fc.constantFrom(
        uint32(RECIPIENT),
        uint32(0),
        uint32(0xffffffff),
        sshString('exit-signal'),
        sshString('x'),
        Buffer.from([1]),
      ),
    )
    const payload = fc
      .tuple(fc.integer({ min: 1, max: 110 }), fc.array(part, { maxLength: 5 }))
      .map(([type, parts]) => Buffer.concat([Buffer.from([type]), uint32(RECIPIENT), ...parts]))
    const sent = fc.sample(fc.array(payload, { minLength: 1, maxLength: 6 }), { seed: 1108, numRuns: 60 })
    await inGroups(sent, 30, async (payloads, place) => {
      const exec = (running: Running) => {
        runHonestly(running)
        try {
          for (const one of payloads) sendPayload(running.connection, one)
        } catch {
          // The client has hung up already.
        }
      }
      const title = `messages ${place}: ${payloads.map((one) => one.toString('hex').slice(0, 60)).join(' ')}`
      assertEnded(title, await client.meet(await hostileSsh({ exec })), ANY_END)
    })
  })
})

test('SSH-11: after all of it an honest server is served as ever', async () => {
  const outcome = await client.meet(await hostileSsh({}))
  assert.deepEqual([outcome.code, outcome.message], ['completed', '5 bytes'])
})
