import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import type { Ports } from '../../src/core/ports.ts'
import { controlHost } from '../../src/workers/terminal/host/host-client.ts'
import { hostFolder } from '../../src/workers/terminal/host/host-folder.ts'
import { createPtySessions } from '../../src/workers/terminal/sessions/manage-sessions.ts'
import type { PtyExit, PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import type { LocalStart, PtySessions } from '../../src/workers/terminal/sessions/pty-sessions.ts'
import { type TerminalSettings, terminalSettings } from '../../src/workers/terminal/settings.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

export interface TerminalFolder {
  readonly path: string
  /** Another controller of the same PTY host; the one before lets go. */
  sessions(settings?: Partial<TerminalSettings>): Promise<PtySessions>
  /** Ends the host and removes the folder. */
  end(): Promise<void>
}

/** An instance folder with a PTY host of its own, which is started with the first session. */
export async function terminalFolder(ports: Partial<Ports> = {}): Promise<TerminalFolder> {
  const path = await mkdtemp(join(tmpdir(), 'mahavishnu-terminal-'))
  const open = new Set<PtySessions>()
  return {
    path,
    async sessions(settings = {}) {
      for (const before of open) await before.disconnect()
      open.clear()
      const sessions = await createPtySessions({
        settings: { ...terminalSettings.parse({ directories: ['/'] }), ...settings },
        folder: path,
        clock: systemClock,
        log: silent,
        need: async (name) => {
          const port = ports[name]
          if (port === undefined) throw new Error(`the test has no port ${name}`)
          return port
        },
      })
      open.add(sessions)
      return sessions
    },
    async end() {
      for (const sessions of open) await sessions.disconnect()
      await endHost(path)
      await rm(path, { recursive: true, force: true })
    },
  }
}

const LIMITS = { max_sessions: 1, memory_bytes: 1, idle_ms: 1_000, close_grace_ms: 100 }

async function endHost(path: string): Promise<void> {
  const client = await controlHost(hostFolder(path), LIMITS, systemClock, false)
  if (client === null) return
  // Its end may be faster than its answer.
  await client.call('shutdown', undefined).catch(() => undefined)
  await client.closed
  await waitUntil(() => !isAlive(client.pid), 5_000, 'the PTY host ends')
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

export async function waitUntil(
  check: () => boolean | Promise<boolean>,
  withinMs: number,
  what: string,
): Promise<void> {
  const until = performance.now() + withinMs
  while (!(await check())) {
    if (performance.now() > until) throw new Error(`not within ${withinMs} ms: ${what}`)
    await delay(5)
  }
}

/** What a local session is started with, apart from its command. */
export function local(command: readonly string[], more: Partial<LocalStart> = {}): LocalStart {
  return { owner: 'user:test', run_id: 'run', command, term: 'xterm-256color', rows: 24, cols: 80, cwd: '/', ...more }
}

export interface Collected {
  readonly sha256: string
  readonly bytes: number
  readonly exit: PtyExit
}

/** All output of a session as a digest; `pause` is waited for with each piece. Fails where a piece is not the next one. */
export async function collect(
  session: PtySession,
  pause?: (piece: number) => Promise<void> | void,
): Promise<Collected> {
  const hash = createHash('sha256')
  let bytes = 0
  let pieces = 0
  let gap: string | undefined
  session.onData((output) => {
    if (output.offset !== bytes) gap ??= `${output.offset} after ${bytes}`
    hash.update(output.bytes)
    bytes += output.bytes.length
    pieces += 1
    return pause?.(pieces)
  })
  const exit = await session.exited
  if (gap !== undefined) throw new Error(`a piece does not follow the one before: ${gap}`)
  return { sha256: hash.digest('hex'), bytes, exit }
}

/** The output so far as text. */
export function readText(session: PtySession): { text(): string } {
  let text = ''
  const decoder = new TextDecoder()
  session.onData(({ bytes }) => {
    text += decoder.decode(bytes, { stream: true })
  })
  return { text: () => text }
}
