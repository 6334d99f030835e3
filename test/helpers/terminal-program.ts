import { systemClock } from '../../src/core/clock.ts'
import { startLocalPty } from '../../src/workers/terminal/host/local-pty.ts'
import { loadNativePty } from '../../src/workers/terminal/host/native-pty.ts'
import { foregroundGroup, sendSignal } from '../../src/workers/terminal/host/process-groups.ts'
import { createRing } from '../../src/workers/terminal/host/ring.ts'
import { followSession, type SessionScreen } from '../../src/workers/terminal/screen/session-screen.ts'
import type { PtyExit, PtyListener, PtySession, PtySize } from '../../src/workers/terminal/sessions/pty-session.ts'

export interface TerminalProgram extends AsyncDisposable {
  readonly session: PtySession
  readonly screen: SessionScreen
  readonly pid: number
  type(text: string): Promise<void>
}

export interface ProgramOptions {
  readonly rows?: number
  readonly cols?: number
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A real program in a real terminal of this process, and its screen: what the PTY host does, without the host. */
export function startTerminalProgram(command: readonly string[], options: ProgramOptions = {}): TerminalProgram {
  const { session, pid } = localSession(command, options)
  const screen = followSession(session, {
    failed: (error) => {
      throw error
    },
  })
  return {
    session,
    screen,
    pid,
    type: (text) => session.write(Buffer.from(text)),
    async [Symbol.asyncDispose]() {
      screen.dispose()
      await session.close()
    },
  }
}

function localSession([file = '', ...args]: readonly string[], options: ProgramOptions) {
  const ring = createRing(1_048_576)
  const listeners = new Set<PtyListener>()
  const ended = Promise.withResolvers<PtyExit>()
  const size: { -readonly [K in keyof PtySize]: number } = { rows: options.rows ?? 24, cols: options.cols ?? 80 }
  let exit: PtyExit | null = null
  let delivered: Promise<unknown> = Promise.resolve()
  let waiting = 0
  const env = { PATH: process.env['PATH'] ?? '', HOME: '/tmp', TERM: 'xterm-256color', LANG: 'C.UTF-8', ...options.env }
  const pty = startLocalPty(
    loadNativePty(),
    { file, args, env, cwd: options.cwd ?? '/tmp', ...size },
    {
      data(bytes) {
        const output = { bytes: Uint8Array.from(bytes), offset: ring.end() }
        ring.push(bytes)
        waiting += 1
        delivered = delivered.then(async () => {
          for (const listener of listeners) await listener(output)
          waiting -= 1
          if (waiting === 0) pty.resume()
        })
        return waiting < 4
      },
      exit(code, signal) {
        void delivered.then(() => {
          exit = { exit_code: code, signal, reason: 'exited', at: systemClock.now() }
          ended.resolve(exit)
        })
      },
    },
  )
  const session: PtySession = {
    info: {
      id: 'test',
      kind: 'local',
      owner: 'test',
      run_id: 'test',
      target: null,
      command: [file, ...args],
      term: env.TERM,
      started_at: systemClock.now(),
      pid: pty.pid,
    },
    size: () => ({ ...size }),
    cursor: () => 0,
    lastUsed: () => systemClock.now(),
    async write(bytes) {
      for (let at = 0; at < bytes.length; ) {
        at += pty.write(bytes.subarray(at))
        if (at < bytes.length) await systemClock.sleep(2)
      }
    },
    async resize(rows, cols) {
      Object.assign(size, { rows, cols })
      pty.resize(rows, cols)
    },
    async signal(name) {
      const group = await foregroundGroup(pty.pid)
      if (group !== null) sendSignal(-group, name)
    },
    async read(offset, max = 1_048_576) {
      const from = Math.max(offset, ring.start())
      return { bytes: Uint8Array.from(ring.copy(from, max)), offset: from, lost_bytes: from - offset, end: ring.end() }
    },
    onData(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    exit: () => exit,
    exited: ended.promise,
    async close() {
      if (exit === null) sendSignal(-pty.pid, 'SIGKILL')
      pty.resume()
      await ended.promise
    },
  }
  return { session, pid: pty.pid }
}
