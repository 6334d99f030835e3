import assert from 'node:assert/strict'
import { after, afterEach, before, suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { WINDOW_BYTES } from '../../src/workers/terminal/host/protocol.ts'
import { followSession } from '../../src/workers/terminal/screen/session-screen.ts'
import type { PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import { sshdMissing } from '../helpers/sshd.ts'
import {
  type Beside,
  type Compared,
  compare,
  compared,
  echoes,
  gate,
  hostOf,
  lines,
  PRINTER,
  residentBytes,
} from '../helpers/terminal-latency.ts'
import { type RemoteSessions, remoteSessions } from '../helpers/terminal-remote.ts'
import { local, waitUntil } from '../helpers/terminal-sessions.ts'

const MEBIBYTE = 1_048_576
/** A flood that gave less did not flood. */
const FLOOD_BYTES = 131_072
const ROUNDS = 7
const STROKES = 20
/** Lines of each half of a round: 0.25 s. */
const LINES = 5
const LINE_ROUNDS = 5
/** Program of a session into which somebody types. */
const RAW = 'stty raw -echo; exec cat'
const EMULATED = 'yes "$(printf \'\\033[5;5H\\033[31mred\\033[0m\\033[K\')"'
const FLOODS: Readonly<Record<string, string>> = {
  'plain lines': 'exec yes',
  'what has to be emulated byte by byte': EMULATED,
  'questions to its terminal': 'exec yes "$(printf \'\\033[6n\')"',
}

let here: RemoteSessions
before(async () => {
  here = await remoteSessions(sshdMissing() === undefined)
})
// Also after a test that fails: nothing of it floods beside the next one.
afterEach(() => Promise.all((here?.sessions.list() ?? []).map((session) => session.close())))
after(() => here?.close())

const start = (script: string): Promise<PtySession> => here.sessions.startLocal(local(['sh', '-c', script]))

interface Flood extends Beside {
  readonly bytes: () => number
}

/** Sessions that flood, with screens, while they are not held. */
async function flooding(...sessions: readonly PtySession[]): Promise<Flood> {
  let bytes = 0
  const all = sessions.map((session) => {
    const held = gate()
    const screen = followSession(
      {
        ...session,
        onData: (take) =>
          session.onData(async (output) => {
            await held.opened()
            bytes += output.bytes.length
            await take(output)
          }),
      },
      { failed: () => undefined },
    )
    void session.exited.then(() => screen.dispose())
    return held
  })
  await delay(200)
  return {
    bytes: () => bytes,
    go() {
      for (const each of all) each.go()
    },
    hold() {
      for (const each of all) each.hold()
    },
  }
}

function assertTwofold(context: TestContext, { alone, beside, said }: Compared, flood?: Flood): void {
  const all = flood === undefined ? said : `${said}, ${(flood.bytes() / 1e6).toFixed(1)} MB of the flood`
  context.diagnostic(all)
  if (flood !== undefined) assert.ok(flood.bytes() > FLOOD_BYTES, `the flood went on: ${flood.bytes()} bytes`)
  assert.ok(beside <= 2 * alone, all)
}

suite('a key, beside', () => {
  for (const [name, script] of Object.entries(FLOODS)) {
    test(`TTY-03 a session that floods (${name}), is shown in at most twice the time`, async (context) => {
      const typing = await start(RAW)
      const flood = await flooding(await start(script))
      assertTwofold(context, await compare(echoes(typing, STROKES), flood, ROUNDS), flood)
    })
  }

  test('TTY-03 three sessions that flood, is shown in at most twice the time', async (context) => {
    const typing = await start(RAW)
    const flood = await flooding(...(await Promise.all([start('exec yes'), start(EMULATED), start('exec yes')])))
    assertTwofold(context, await compare(echoes(typing, STROKES), flood, ROUNDS), flood)
  })

  test('TTY-03 a stopped program that is typed at, is shown in at most twice the time', async (context) => {
    const typing = await start(RAW)
    const stuck = await start('stty raw -echo; kill -STOP $$; exec cat')
    stuck.onData(() => undefined)
    const counts = { taken: 0, refused: 0 }
    const count = (what: keyof typeof counts) => {
      counts[what] += 1
    }
    let isHeld = true
    const full = setInterval(() => {
      if (isHeld) return
      stuck.write(Buffer.alloc(65_536, 'x')).then(
        () => count('taken'),
        () => count('refused'),
      )
    }, 5)
    const beside = {
      go: () => {
        isHeld = false
      },
      hold: () => {
        isHeld = true
      },
    }
    const measured = await compare(echoes(typing, STROKES), beside, ROUNDS)
    clearInterval(full)
    assert.equal(counts.taken, 0)
    assert.ok(counts.refused > 20, `${counts.refused} pieces of input were refused`)
    assertTwofold(context, measured)
  })
})

suite('a line that a program prints, beside', () => {
  const floods: Readonly<Record<string, () => Promise<readonly PtySession[]>>> = {
    'a session that floods': async () => [await start(EMULATED)],
    'three sessions that flood': () => Promise.all([start('exec yes'), start(EMULATED), start('exec yes')]),
    'a session of a host that floods': async () => [await here.startRemote('exec yes')],
  }
  for (const [name, begin] of Object.entries(floods)) {
    const skip = (name.includes('host') && sshdMissing()) || false
    test(`TTY-03 ${name}, comes in at most twice the time`, { skip }, async (context) => {
      const printing = await here.sessions.startLocal(local([process.execPath, '-e', PRINTER]))
      const flood = await flooding(...(await begin()))
      assertTwofold(context, await compare(lines(printing, LINES), flood, LINE_ROUNDS), flood)
    })
  }
})

suite('sessions here and on a host', { skip: sshdMissing() ?? false }, () => {
  for (const [name, typed, floods] of [
    ['a local session beside a flood of a host', 'here', 'there'],
    ['a session of a host beside a local flood', 'there', 'here'],
  ] as const) {
    test(`TTY-03 ${name}: a key is shown in at most twice the time`, async (context) => {
      const on = { here: start, there: here.startRemote }
      const typing = await on[typed](RAW)
      const flood = await flooding(await on[floods]('exec yes'))
      assertTwofold(context, await compare(echoes(typing, STROKES), flood, ROUNDS), flood)
    })
  }
})

suite('memory', () => {
  test('TTY-03 three sessions that flood and whose readers are slow or stuck grow no process past their limits', async (context) => {
    const floods = await Promise.all([start('exec yes'), start(EMULATED), start('exec yes')])
    const host = hostOf(floods[0] as PtySession)
    const before = { host: residentBytes(host), main: residentBytes(process.pid) }
    let bytes = 0
    floods.forEach((session, at) => {
      session.onData(async (output) => {
        bytes += output.bytes.length
        await (at === 2 ? new Promise(() => undefined) : delay(1))
      })
      const screen = followSession(session, { failed: () => undefined })
      void session.exited.then(() => screen.dispose())
    })
    await delay(2_000)
    const grown = {
      host: residentBytes(host) - before.host,
      main: residentBytes(process.pid) - before.main,
    }
    const said = `host ${Math.round(grown.host / MEBIBYTE)} MiB, main ${Math.round(grown.main / MEBIBYTE)} MiB, ${bytes} bytes`
    context.diagnostic(said)
    assert.ok(bytes > FLOOD_BYTES, said)
    assert.ok(grown.host < 16 * MEBIBYTE, said)
    assert.ok(grown.main < 48 * MEBIBYTE, said)
  })
})

test('TTY-03 a session whose reader is stuck slows no other, and its program waits', async (context) => {
  const typing = await start(RAW)
  const stuck = await start('exec yes')
  let pieces = 0
  stuck.onData(() => {
    pieces += 1
    return new Promise(() => undefined)
  })
  await waitUntil(async () => (await stuck.read(0)).end >= WINDOW_BYTES, 5_000, 'the window is full')
  await delay(50)
  const memory = residentBytes(hostOf(typing))
  const { end } = await stuck.read(0)
  const times = { beside: await echoes(typing, ROUNDS * STROKES)(), alone: [] as readonly number[] }
  assert.equal((await stuck.read(0)).end, end, 'the program waits')
  assert.ok(end <= 400_000, `${end} bytes were read from a program whose output nobody takes`)
  assert.equal(pieces, 1)
  const grown = residentBytes(hostOf(typing)) - memory
  assert.ok(grown < 16 * MEBIBYTE, `the host has grown by ${grown} bytes`)
  await stuck.close()
  times.alone = await echoes(typing, ROUNDS * STROKES)()
  assertTwofold(context, compared(times))
})
