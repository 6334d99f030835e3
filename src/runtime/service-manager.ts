import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import { toMhvError } from '../core/errors.ts'
import { exec } from '../core/exec.ts'
import type { Readiness } from './instance.ts'

/**
 * Tells systemd how this process is (sd_notify(3)): that it is ready, that it stops, and, when the unit has a
 * `WatchdogSec`, that it is alive, after a look each time. The unit needs `Type=notify` and `NotifyAccess=all`: Node has
 * no datagram sockets of the Unix kind, so the message goes through the program `systemd-notify`.
 */
export interface ServiceManager {
  ready(): Promise<void>
  stopping(): Promise<void>
  /** Ends the watchdog's looks. */
  stop(): void
}

export interface ServiceManagerParts {
  /** NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Whether the process deserves to live; when it does not, nothing is said and systemd restarts it. */
  readonly vitals: () => Promise<Readiness>
  readonly clock: Clock
  readonly log: Logger
}

const NOTIFY_MS = 5_000

export function createServiceManager(parts: ServiceManagerParts): ServiceManager {
  const { env, vitals, clock, log } = parts
  const stopped = new AbortController()
  const socket = env.NOTIFY_SOCKET

  async function say(...words: string[]): Promise<void> {
    if (!socket) return
    try {
      const told = await exec({
        program: 'systemd-notify',
        args: words,
        env: { NOTIFY_SOCKET: socket },
        timeoutMs: NOTIFY_MS,
        maxBytes: 4_096,
      })
      if (told.exit_code !== 0)
        log.warn('systemd was not told', { words, exit_code: told.exit_code, stderr: told.stderr })
    } catch (error) {
      log.warn('systemd was not told', { words, error: toMhvError(error).message })
    }
  }

  async function watch(everyMs: number): Promise<void> {
    while (!stopped.signal.aborted) {
      const { ready, reasons } = await vitals()
      if (ready) await say('WATCHDOG=1')
      else log.error('not well: the watchdog is not told', { reasons })
      await clock.sleep(everyMs, stopped.signal).catch(() => undefined)
    }
  }

  return {
    async ready() {
      await say('READY=1', `MAINPID=${process.pid}`)
      const everyMs = watchdogMs(env)
      if (socket && everyMs !== null) void watch(everyMs)
    },
    stopping: () => say('STOPPING=1'),
    stop: () => stopped.abort(),
  }
}

/** Half of the watchdog's time, as sd_watchdog_enabled(3) advises; null where there is none for this process. */
export function watchdogMs(env: Readonly<Record<string, string | undefined>>, pid = process.pid): number | null {
  const { WATCHDOG_USEC = '', WATCHDOG_PID } = env
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(pid)) return null
  if (!/^[1-9]\d{0,15}$/.test(WATCHDOG_USEC)) return null
  return Math.max(1, Math.floor(Number(WATCHDOG_USEC) / 2_000))
}
