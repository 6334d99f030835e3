import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import { controlHost } from '../../src/workers/terminal/host/host-client.ts'
import { hostFolder } from '../../src/workers/terminal/host/host-folder.ts'
import { createScreen } from '../../src/workers/terminal/screen/screen.ts'
import type { PtyOutput, PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import type { PtySessions } from '../../src/workers/terminal/sessions/pty-sessions.ts'
import { local, type TerminalFolder, terminalFolder, waitUntil } from '../helpers/terminal-sessions.ts'

const ROUNDS = 10
const STROKES = 20
const LIMITS = { max_sessions: 50, memory_bytes: 1e9, idle_ms: 60_000, close_grace_ms: 200 }

let folder: TerminalFolder
let sessions: PtySessions
before(async () => {
  folder = await terminalFolder()
  sessions = await folder.sessions()
})
after(() => folder?.end())

/** Milliseconds from keystrokes to their echoes. */
async function echoTimes(session: PtySession, strokes: number): Promise<number[]> {
  const times: number[] = []
  let got = Promise.withResolvers<void>()
  const remove = session.onData(() => got.resolve())
  for (let stroke = 0; stroke < strokes; stroke += 1) {
    got = Promise.withResolvers<void>()
    const from = performance.now()
    await session.write(Buffer.from('k'))
    await got.promise
    times.push(performance.now() - from)
    await delay(2)
  }
  remove()
  return times
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)] as number
}

/** The middle times alone and beside something that can be let go and held, in turns: whatever else the machine does meets both. */
async function compareEchoes(
  typing: PtySession,
  beside: { go(): void | Promise<void>; hold(): void | Promise<void> },
): Promise<{ readonly alone: number; readonly beside: number }> {
  const times = { alone: [] as number[], beside: [] as number[] }
  await echoTimes(typing, STROKES)
  for (let round = 0; round < ROUNDS; round += 1) {
    await beside.hold()
    await delay(50)
    times.alone.push(...(await echoTimes(typing, STROKES)))
    await beside.go()
    await delay(50)
    times.beside.push(...(await echoTimes(typing, STROKES)))
  }
  return { alone: median(times.alone), beside: median(times.beside) }
}

/** Resident memory of the process that is the parent of this one, in bytes. */
function hostMemory(session: PtySession): number {
  const stat = readFileSync(`/proc/${session.info.pid}/stat`, 'latin1')
  const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${parent}/status`, 'latin1'))?.[1]) * 1024
}

const raw = (): Promise<PtySession> => sessions.startLocal(local(['sh', '-c', 'stty raw -echo; exec cat']))

/** A listener that takes nothing while it is held: then its program waits, and keeps nobody busy. */
function gate(take: (output: PtyOutput) => void | Promise<void>) {
  let open = Promise.withResolvers<void>()
  let isHeld = true
  return {
    hold() {
      if (!isHeld) open = Promise.withResolvers<void>()
      isHeld = true
    },
    go() {
      isHeld = false
      open.resolve()
    },
    async listener(output: PtyOutput) {
      await open.promise
      await take(output)
    },
  }
}

const FLOODS: Readonly<Record<string, readonly string[]>> = {
  'plain lines': ['yes'],
  'what has to be emulated byte by byte': ['sh', '-c', 'yes "$(printf \'\\033[5;5H\\033[31mred\\033[0m\\033[K\')"'],
}

for (const [name, command] of Object.entries(FLOODS)) {
  test(`TTY-03 a session that floods (${name}) slows another one at most twofold`, async (context) => {
    const typing = await raw()
    const flood = await sessions.startLocal(local(command))
    const screen = createScreen({ rows: 24, cols: 80, answer: () => undefined })
    let bytes = 0
    const { listener, ...held } = gate((output) => {
      bytes += output.bytes.length
      return screen.feed(output.bytes, output.offset)
    })
    flood.onData(listener)
    await delay(200)
    const memory = hostMemory(typing)
    const { alone, beside } = await compareEchoes(typing, held)
    const grown = hostMemory(typing) - memory
    held.go()
    await Promise.all([flood.close(), typing.close()])
    screen.dispose()
    const said = `${beside.toFixed(2)} ms beside ${(bytes / 1e6).toFixed(1)} MB, ${alone.toFixed(2)} ms alone`
    context.diagnostic(said)
    assert.ok(bytes > 1e6, `the flood went on: ${bytes} bytes`)
    assert.ok(grown < 16 * 1_048_576, `the host has grown by ${grown} bytes`)
    assert.ok(beside <= 2 * alone, said)
  })
}

test('TTY-03 a session whose reader is stuck slows no other, and its program waits', async (context) => {
  const typing = await raw()
  const stuck = await sessions.startLocal(local(['yes']))
  let pieces = 0
  stuck.onData(() => {
    pieces += 1
    return new Promise(() => undefined)
  })
  await delay(300)
  const memory = hostMemory(typing)
  const { end } = await stuck.read(0)
  const beside = median(await echoTimes(typing, ROUNDS * STROKES))
  assert.equal((await stuck.read(0)).end, end, 'the program waits')
  assert.ok(end <= 400_000, `${end} bytes were read from a program whose output nobody takes`)
  assert.equal(pieces, 1)
  const grown = hostMemory(typing) - memory
  assert.ok(grown < 16 * 1_048_576, `the host has grown by ${grown} bytes`)
  await stuck.close()
  const alone = median(await echoTimes(typing, ROUNDS * STROKES))
  await typing.close()
  context.diagnostic(`${beside.toFixed(2)} ms beside the stuck one, ${alone.toFixed(2)} ms alone`)
  assert.ok(beside <= 2 * alone, `${beside.toFixed(2)} ms beside the stuck one, ${alone.toFixed(2)} ms alone`)
})

test('TTY-09 what a program leaves behind in its terminal is ended after it, also what hears no HUP', async () => {
  const own = await terminalFolder()
  try {
    const sessions = await own.sessions({ close_grace: 0.3 })
    const command = ['sh', '-c', 'trap "" HUP; sleep 61 & exit 1']
    const session = await sessions.startLocal(local(command))
    session.onData(() => undefined)
    assert.equal((await session.exited).exit_code, 1)
    const leaders = new Set([session.info.pid as number])
    await waitUntil(
      () => membersOf(leaders).length === 0,
      5_000,
      'nothing is left, without anybody having closed the session',
    )
  } finally {
    await own.end()
  }
})

test('TTY-09 of 1,000 sessions no process and no descriptor is left', async (context) => {
  const own = await terminalFolder()
  try {
    const many = await own.sessions({ max_sessions: 50, max_sessions_per_owner: 50, close_grace: 0.2 })
    const warm = await many.startLocal(local(['true']))
    await warm.exited
    await warm.close()
    const counts = async () => {
      await many.disconnect()
      const client = await controlHost(hostFolder(own.path), LIMITS, systemClock, false)
      assert.ok(client !== null, 'the host is there')
      const stats = await client.call('stats', undefined)
      await client.disconnect()
      return stats
    }
    const first = await counts()
    const sessions = await own.sessions({ max_sessions: 50, max_sessions_per_owner: 50, close_grace: 0.2 })
    const began = performance.now()
    const pids: number[] = []
    // Programs that end by themselves, that have to be ended, that leave a job behind, and that hear no HUP.
    const commands = [['true'], ['cat'], ['sh', '-c', 'sleep 60 & exit 1'], ['sh', '-c', 'trap "" HUP; sleep 60']]
    for (let round = 0; round < 1_000; round += 20) {
      const batch = await Promise.all(
        Array.from({ length: 20 }, async (_, at) => {
          const session = await sessions.startLocal(local(commands[at % commands.length] as string[]))
          session.onData(() => undefined)
          pids.push(session.info.pid as number)
          return session
        }),
      )
      await Promise.all(batch.map((session) => session.close()))
    }
    const seconds = (performance.now() - began) / 1_000
    assert.equal(sessions.list().length, 0)
    await sessions.disconnect()
    const last = await counts()
    const left = membersOf(new Set(pids))
    assert.deepEqual(left, [], 'processes of the sessions')
    assert.equal(last.sessions, 0)
    assert.ok(
      last.descriptors <= first.descriptors,
      `${first.descriptors} descriptors before, ${last.descriptors} after`,
    )
    context.diagnostic(
      `${seconds.toFixed(1)} s, ${last.descriptors} descriptors, ${Math.round(last.rss_bytes / 1e6)} MB`,
    )
    assert.ok(seconds < 120, `it took ${seconds.toFixed(0)} s`)
  } finally {
    await own.end()
  }
})

/** Processes whose session has one of these leaders; what has ended and waits for init to ask is none. */
function membersOf(leaders: ReadonlySet<number>): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return pids.filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const [state, parent, , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return leaders.has(Number(session)) && !(state === 'Z' && parent === '1')
    } catch {
      return false
    }
  })
}
