import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { removeFaketimeRest } from '../../helpers/faketime.ts'
import type { Breakable } from './broken.ts'

const PROGRAM = join(import.meta.dirname, 'instance.ts')
/** Longest time from the start of a process until it listens, in milliseconds. */
const START_MS = 30_000
/** Pause before another try to start, as a service manager makes it. */
const AGAIN_MS = 250
/** What is kept of each process's log, in characters. */
const KEPT_LOG = 16_000

/** One process on the folder. */
export interface Life {
  readonly number: number
  readonly pid: number
  readonly port: number
  /** Its end is our doing. */
  expected: boolean
  /** When another process on the folder was ready, by `monotonicMs`; null while none was. */
  takenOverAt: number | null
  signal(name: NodeJS.Signals): void
  log(): string
  /** Exit code or signal. */
  readonly ended: Promise<number | string | null>
}

/** Keeps an instance running on a folder, as a service manager does. */
export interface Instances {
  /** The one that callers find; null while there is none. */
  current(): Life | null
  /** Starts one, and tries again until it listens; then it is the current one. Null when it is to end first. */
  start(tries?: number): Promise<Life | null>
  /** SIGKILL, and resolves when it is gone; nobody starts another one. */
  kill(life: Life): Promise<void>
  /** SIGTERM; its exit code or signal. */
  stop(life: Life): Promise<number | string | null>
  readonly starts: number
  /** Starts that failed, by the code that was given as the reason. */
  readonly failedStarts: ReadonlyMap<string, number>
  /** What no process should do: it ended by itself. */
  readonly surprises: readonly string[]
  /** From now on nothing is started; what runs is killed at once. Resolves when it is gone. */
  abandon(): Promise<void>
}

export function createInstances(options: {
  readonly folder: string
  readonly broken: Breakable | null
  readonly env: Readonly<Record<string, string>>
}): Instances {
  const alive = new Set<ChildProcess>()
  const failedStarts = new Map<string, number>()
  const surprises: string[] = []
  let current: Life | null = null
  let starts = 0
  let abandoned = false

  function launch(number: number): Promise<Life> {
    const args = [PROGRAM, String(number), options.broken ?? 'none', 'up', '--folder', options.folder]
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...options.env },
    })
    const pid = child.pid as number
    alive.add(child)
    let log = ''
    const ended = new Promise<number | string | null>((resolve) => {
      child.once('close', (code, signal) => {
        alive.delete(child)
        removeFaketimeRest(pid)
        resolve(code ?? signal)
      })
    })
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => child.kill('SIGKILL'), START_MS)
      const failed = () => reject(new Error(/MHV_[A-Z_]+/.exec(log)?.[0] ?? `no reason given: ${log.slice(-600)}`))
      void ended.then(failed)
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        log = `${log}${text}`.slice(-KEPT_LOG)
        const port = /^listening on \S+:(\d+) and /m.exec(log)?.[1]
        if (port === undefined || !/the token is in .*\n/.test(log)) return
        clearTimeout(late)
        const life = { number, pid, port: Number(port), expected: false, takenOverAt: null, ended }
        resolve({ ...life, log: () => log, signal: (name) => void child.kill(name) })
      })
      void ended.then(() => clearTimeout(late))
    })
  }

  async function start(tries = Number.POSITIVE_INFINITY): Promise<Life | null> {
    for (let tried = 0; tried < tries && !abandoned; tried++) {
      try {
        starts += 1
        const life = await launch(starts)
        current = life
        void life.ended.then((how) => onEnd(life, how))
        return life
      } catch (error) {
        const reason = (error as Error).message
        failedStarts.set(reason, (failedStarts.get(reason) ?? 0) + 1)
        await delay(AGAIN_MS)
      }
    }
    return null
  }

  function onEnd(life: Life, how: number | string | null): void {
    const wasCurrent = current === life
    if (wasCurrent) current = null
    if (life.expected || abandoned) return
    surprises.push(`process ${life.number} ended by itself (${how}): ${life.log().slice(-1_500)}`)
    if (wasCurrent) void start()
  }

  return {
    current: () => current,
    start,
    async kill(life) {
      life.expected = true
      life.signal('SIGKILL')
      await life.ended
    },
    async stop(life) {
      life.expected = true
      life.signal('SIGTERM')
      const late = setTimeout(() => life.signal('SIGKILL'), START_MS)
      const how = await life.ended
      clearTimeout(late)
      return how
    },
    get starts() {
      return starts
    },
    failedStarts,
    surprises,
    async abandon() {
      abandoned = true
      const gone = [...alive].map((child) => once(child, 'close'))
      for (const child of alive) {
        child.kill('SIGKILL')
        // Now: nobody waits for its end where this process is about to end as well.
        removeFaketimeRest(child.pid as number)
      }
      await Promise.all(gone)
    },
  }
}
