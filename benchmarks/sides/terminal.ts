/** Sides of the terminal benchmark: sessions as the worker has them, or the package below them by itself. */
import { createRequire } from 'node:module'
import { systemClock } from '../../src/core/clock.ts'
import { followSession } from '../../src/workers/terminal/screen/session-screen.ts'
import { createPtySessions } from '../../src/workers/terminal/sessions/manage-sessions.ts'
import type { PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import type { PtySessions } from '../../src/workers/terminal/sessions/pty-sessions.ts'
import { terminalSettings } from '../../src/workers/terminal/settings.ts'
import { waitFor } from '../../src/workers/terminal/wait/wait-for.ts'
import { serveSide } from '../harness/side.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const SIZE = { rows: 24, cols: 80 }

let sessions: PtySessions | undefined
let folder = ''

function opened(): PtySessions {
  if (sessions === undefined) throw new Error('not open')
  return sessions
}

function start(command: readonly string[]): Promise<PtySession> {
  const owner = 'user:bench'
  return opened().startLocal({ owner, run_id: 'BENCH', command, term: 'xterm-256color', ...SIZE })
}

const noAnswer = { failed: () => undefined }

/** What a program has to be told from the beginning; seconds from its start to the end of its output. */
interface Flood {
  readonly file: string
  readonly bytes: number
  /** The last line of the file. */
  readonly last: string
}

/** In the terminal every line feed becomes two bytes. */
function assertWhole(seen: number, { bytes, file }: Flood): void {
  if (seen < bytes) throw new Error(`${seen} of ${bytes} bytes of ${file} came`)
}

const methods = {
  async open(given: { folder: string }): Promise<void> {
    folder = given.folder
    const settings = terminalSettings.parse({
      directories: ['/'],
      max_sessions: 200,
      max_sessions_per_owner: 200,
      host_idle_timeout: 1,
    })
    const need = () => Promise.reject(new Error('no port here'))
    sessions = await createPtySessions({ settings, folder, clock: systemClock, log: silent, need })
  },

  /** Through the PTY host, without a screen. */
  async bytes(flood: Flood): Promise<number> {
    const began = performance.now()
    const session = await start(['cat', flood.file])
    let seen = 0
    session.onData(({ bytes }) => {
      seen += bytes.length
    })
    await session.exited
    const seconds = (performance.now() - began) / 1000
    assertWhole(seen, flood)
    await session.close()
    return seconds
  },

  /** The same with a screen, which shows the last line in the end. */
  async screen(flood: Flood): Promise<number> {
    const began = performance.now()
    const session = await start(['cat', flood.file])
    const screen = followSession(session, noAnswer)
    await session.exited
    const { lines } = await screen.snapshot()
    const seconds = (performance.now() - began) / 1000
    if (!lines.includes(flood.last)) throw new Error(`the screen does not show ${flood.last}`)
    screen.dispose()
    await session.close()
    return seconds
  },

  /** The same, waiting for the last line by a regular expression. */
  async wait(flood: Flood): Promise<number> {
    const began = performance.now()
    const session = await start(['sh', '-c', `cat '${flood.file}'; exec sleep 60`])
    const screen = followSession(session, noAnswer)
    const { outcome } = await waitFor(
      screen,
      { regex: flood.last, after: 0, timeoutMs: 120_000 },
      { clock: systemClock },
    )
    const seconds = (performance.now() - began) / 1000
    if (outcome !== 'regex') throw new Error(`the wait ended with ${outcome}`)
    screen.dispose()
    await session.close()
    return seconds
  },

  /** The stock terminal of the package, in this process. */
  async raw(flood: Flood): Promise<number> {
    const pty = createRequire(import.meta.url)('@lydell/node-pty') as typeof import('@lydell/node-pty')
    const began = performance.now()
    let seen = 0
    const options = { ...SIZE, name: 'xterm-256color', encoding: null } as unknown as Parameters<typeof pty.spawn>[2]
    const child = pty.spawn('cat', [flood.file], options)
    child.onData((data) => {
      seen += data.length
    })
    await new Promise<void>((done) => void child.onExit(() => done()))
    // Its exit may come before its output.
    while (seen < flood.bytes && performance.now() - began < 60_000) await systemClock.sleep(1)
    const seconds = (performance.now() - began) / 1000
    assertWhole(seen, flood)
    return seconds
  },

  /** Milliseconds from a key to the screen that shows it, in so many sessions in turn. */
  async keys({ count, strokes }: { count: number; strokes: number }): Promise<readonly number[]> {
    const all = await Promise.all(
      Array.from({ length: count }, async () => {
        const session = await start(['cat'])
        return { session, screen: followSession(session, noAnswer) }
      }),
    )
    const took: number[] = []
    for (let stroke = 0; stroke < strokes; stroke++) {
      const round = all.map(async ({ session, screen }) => {
        const wanted = 'x'.repeat((stroke % 60) + 1)
        const shown = Promise.withResolvers<number>()
        const began = performance.now()
        const stop = await screen.watch((view) => {
          if (view.lines().some((line) => line === wanted)) shown.resolve(performance.now() - began)
        })
        await session.write(Buffer.from('x'))
        took.push(await shown.promise)
        stop()
        if ((stroke + 1) % 60 === 0) {
          await session.write(Buffer.from('\x15'))
          await systemClock.sleep(20)
        }
      })
      await Promise.all(round)
    }
    for (const { session, screen } of all) {
      screen.dispose()
      await session.close()
    }
    return took
  },
}

export type TerminalSide = typeof methods

serveSide(methods, async () => {
  await sessions?.disconnect()
})
