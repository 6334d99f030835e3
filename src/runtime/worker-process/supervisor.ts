import type { ProcessSettings } from '../../config/isolation-schema.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import { fullJitter } from '../../resilience/backoff.ts'
import type { WorkerStats } from './protocol.ts'
import type { Child } from './start-child.ts'

/** A process in which the worker is connected, and how many calls it is at. */
export interface Serving {
  readonly child: Child
  busy: number
  /** What the worker told about itself last. */
  stats: WorkerStats
}

/** Keeps a worker's process alive: starts it, watches it, replaces it, and gives up when that does not help. */
export interface Supervisor {
  /**
   * The process for the next call, started where there is none.
   *
   * @throws MHV_WORKER_DOWN where it was given up or cannot be started, MHV_SHUTTING_DOWN, or what `connect` threw
   */
  ready(): Promise<Serving>
  current(): Serving | undefined
  /** Whether it is given up until the window of its restarts has passed. */
  down(): boolean
  /** Since the start of the instance. */
  restarts(): number
  /** Lets the process close its worker and end. */
  close(): Promise<void>
}

export interface SupervisorParts {
  readonly worker: string
  readonly settings: ProcessSettings
  readonly clock: Clock
  readonly log: Logger
  /** A new process with its worker connected. Aborted when the instance stops: whoever is not up yet is ended. */
  start(signal: AbortSignal): Promise<Child>
}

/** Milliseconds between two looks at a process. */
const LOOK_MS = 1_000
/** Over the memory limit by this factor there is no time left to let its runs end. */
const TOO_FAR = 1.25
/** How long a worker may take to close what it holds, in milliseconds. */
const CLOSE_MS = 3_500
const BACKOFF = { base_ms: 200, cap_ms: 10_000 }
const MEBIBYTE = 1_048_576

export function createSupervisor(parts: SupervisorParts): Supervisor {
  const { worker, settings, clock, log } = parts
  const closing = new AbortController()
  const all = new Set<Serving>()
  let serving: Serving | undefined
  let starting: Promise<Serving> | undefined
  /** When it ended without having been asked to, by the monotonic clock. */
  let ends: number[] = []
  let restarts = 0

  function recentEnds(): number {
    const since = clock.monotonic() - settings.restart_window_seconds * 1000
    ends = ends.filter((at) => at > since)
    return ends.length
  }

  const isDown = () => recentEnds() > settings.max_restarts

  function downError(): MhvError {
    const leftMs = (ends[0] ?? 0) + settings.restart_window_seconds * 1000 - clock.monotonic()
    const window = settings.restart_window_seconds
    return mhvError(
      'MHV_WORKER_DOWN',
      `the process of worker ${worker} ended ${ends.length} times within ${window} s`,
      {
        retryAfter: Math.max(1, Math.ceil(leftMs / 1000)),
        details: { worker, ends: ends.length, window_seconds: window },
      },
    )
  }

  async function start(): Promise<Serving> {
    const before = recentEnds()
    if (before > 0) {
      restarts += 1
      await clock.sleep(fullJitter(before, BACKOFF), closing.signal).catch(() => undefined)
    }
    if (closing.signal.aborted) throw stopping()
    const child = await parts.start(closing.signal).catch((error: unknown) => {
      // The worker itself could not connect: that is told to whoever asked, and tried again at the next call.
      if (toMhvError(error).code === 'MHV_WORKER_DOWN') ends.push(clock.monotonic())
      throw error
    })
    const made: Serving = { child, busy: 0, stats: {} }
    all.add(made)
    void child.gone.then((why) => gone(made, why))
    if (closing.signal.aborted) {
      child.kill('the instance is stopping')
      throw stopping()
    }
    serving = made
    watch(made)
    return made
  }

  function gone(ended: Serving, why: string): void {
    all.delete(ended)
    const wasServing = serving === ended
    if (wasServing) serving = undefined
    if (closing.signal.aborted) return
    log.error('the process of a worker has ended', { worker, pid: ended.child.pid, runs: ended.busy, reason: why })
    if (wasServing) replace()
  }

  function replace(): void {
    ends.push(clock.monotonic())
    startAgain()
  }

  /** After an end: the next one is started at once, not at the next call, so that readiness tells the truth. */
  function startAgain(): void {
    if (isDown()) {
      log.error('a worker is given up: its process ends again and again', { worker, ends: ends.length })
      return
    }
    void ready().catch((error: unknown) => {
      if (closing.signal.aborted) return
      log.error('the process of a worker does not start', { worker, error })
      // One that ended on its way has been counted; what the worker itself says is for the next call to hear.
      if (toMhvError(error).code === 'MHV_WORKER_DOWN') startAgain()
    })
  }

  function ready(): Promise<Serving> {
    if (closing.signal.aborted) return Promise.reject(stopping())
    if (serving !== undefined && !serving.child.isGone()) return Promise.resolve(serving)
    if (starting === undefined) {
      if (isDown()) return Promise.reject(downError())
      starting = start().finally(() => {
        starting = undefined
      })
    }
    return starting
  }

  function watch(watched: Serving): void {
    const { child } = watched
    // Counted in looks of ours, not in time: a machine that slept must not end every worker as it wakes up.
    let unanswered = 0
    const look = () => {
      if (child.isGone()) return
      // Its answer may be there, and wait because the journal is behind.
      if (!child.isHeldBack()) unanswered += 1
      if (unanswered > settings.heartbeat_seconds) {
        child.kill(`it did not answer for ${settings.heartbeat_seconds} s`)
        return
      }
      void child.peer.call('look').then(
        (stats) => {
          unanswered = 0
          watched.stats = stats
        },
        // It is gone, or cannot tell about itself: alive all the same.
        () => {
          unanswered = 0
        },
      )
      lookAtMemory(watched)
      clock.after(LOOK_MS, look)
    }
    look()
  }

  function lookAtMemory(watched: Serving): void {
    const { child } = watched
    const limit = settings.memory_limit_mb * MEBIBYTE
    const held = child.memory()
    if (held <= limit) return
    const why = `it held ${Math.round(held / MEBIBYTE)} MiB; memory_limit_mb is ${settings.memory_limit_mb}`
    if (held > limit * TOO_FAR) child.kill(why)
    else if (serving === watched) drain(watched, why)
  }

  /** New calls go to another process; those that it is at get some time. */
  function drain(watched: Serving, why: string): void {
    serving = undefined
    log.error('a worker is over its memory limit and is replaced', { worker, pid: watched.child.pid, reason: why })
    replace()
    const until = clock.monotonic() + settings.drain_seconds * 1000
    const look = () => {
      if (watched.busy === 0 || clock.monotonic() >= until) watched.child.kill(why)
      else clock.after(LOOK_MS / 4, look)
    }
    look()
  }

  async function endOne({ child }: Serving): Promise<void> {
    const late = new AbortController()
    const closed = child.peer.call('close').catch(() => undefined)
    await Promise.race([closed, clock.sleep(CLOSE_MS, late.signal).catch(() => undefined)])
    late.abort()
    await child.end()
  }

  return {
    ready,
    current: () => serving,
    down: isDown,
    restarts: () => restarts,
    async close() {
      closing.abort(stopping())
      await starting?.catch(() => undefined)
      await Promise.all([...all].map(endOne))
    },
  }
}

function stopping(): MhvError {
  return mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
}
