import { type MhvError, mhvError } from '../core/errors.ts'
import { PRIORITIES, type Priority } from '../core/operation.ts'

/** `max_concurrent` runs at once, and at most `queue_size` waiting. */
export interface AdmissionLimits {
  readonly max_concurrent: number
  readonly queue_size: number
}

/** A slot, or a place in the queue. Exactly one `release` per place gives it back, whatever became of it. */
export interface AdmissionPlace {
  /** Whether the slot was there at once. */
  readonly immediate: boolean
  /** Number of runs of the same worker that were ahead in the queue; 0 for an immediate one. */
  readonly position: number
  /** Fulfilled when the slot is there; rejects with the signal's reason. */
  ready(signal: AbortSignal): Promise<void>
  release(): void
}

export interface AdmissionCounts {
  readonly running: number
  readonly queued: number
}

export interface Admission {
  /** Takes a slot or a place in the queue. Throws MHV_ADMISSION_FULL naming the limit. */
  enter(worker: string, priority: Priority): AdmissionPlace
  counts(worker?: string): AdmissionCounts
}

interface Waiter {
  readonly worker: string
  readonly priority: Priority
  granted: boolean
  grant: () => void
}

interface Level {
  readonly name: string
  readonly limits: AdmissionLimits
  running: number
  queued: number
}

/** Limits of the process and of each worker together; a run needs room in both. First come first served by priority. */
export function createAdmission(process: AdmissionLimits, ofWorker: (worker: string) => AdmissionLimits): Admission {
  const whole: Level = { name: 'admission', limits: process, running: 0, queued: 0 }
  const levels = new Map<string, Level>()
  const queues = new Map<Priority, Waiter[]>(PRIORITIES.map((priority) => [priority, []]))

  function levelOf(worker: string): Level {
    let level = levels.get(worker)
    if (level === undefined) {
      level = { name: `${worker}.admission`, limits: ofWorker(worker), running: 0, queued: 0 }
      levels.set(worker, level)
    }
    return level
  }

  const hasRoom = (level: Level) => level.running < level.limits.max_concurrent

  function grantNext(): void {
    for (const queue of queues.values()) {
      for (let index = 0; index < queue.length && hasRoom(whole); index++) {
        const waiter = queue[index] as Waiter
        const level = levelOf(waiter.worker)
        if (!hasRoom(level)) continue
        queue.splice(index, 1)
        index -= 1
        count(level, 'queued', -1)
        count(level, 'running', 1)
        waiter.granted = true
        waiter.grant()
      }
    }
  }

  function count(level: Level, what: 'running' | 'queued', by: 1 | -1): void {
    level[what] += by
    whole[what] += by
  }

  function countAhead(worker: string, priority: Priority): number {
    const before = PRIORITIES.slice(0, PRIORITIES.indexOf(priority) + 1)
    return before.flatMap((each) => queues.get(each) ?? []).filter((waiter) => waiter.worker === worker).length
  }

  function enqueue(level: Level, worker: string, priority: Priority): AdmissionPlace {
    const full = [level, whole].find((each) => each.queued >= each.limits.queue_size)
    if (full) throw fullError(full)
    const position = countAhead(worker, priority)
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiter: Waiter = { worker, priority, granted: false, grant: resolve }
    const queue = queues.get(priority) as Waiter[]
    queue.push(waiter)
    count(level, 'queued', 1)
    return {
      immediate: false,
      position,
      ready: (signal) => abortable(promise, signal),
      release: once(() => {
        if (waiter.granted) count(level, 'running', -1)
        else {
          queue.splice(queue.indexOf(waiter), 1)
          count(level, 'queued', -1)
        }
        grantNext()
      }),
    }
  }

  return {
    enter(worker, priority) {
      const level = levelOf(worker)
      // Whoever comes now must not overtake those who wait for the same worker.
      if (level.queued > 0 || !hasRoom(level) || !hasRoom(whole)) return enqueue(level, worker, priority)
      count(level, 'running', 1)
      const release = once(() => {
        count(level, 'running', -1)
        grantNext()
      })
      return { immediate: true, position: 0, ready: async () => undefined, release }
    },
    counts(worker) {
      const level = worker === undefined ? whole : levelOf(worker)
      return { running: level.running, queued: level.queued }
    },
  }
}

function fullError({ name, running, queued, limits }: Level): MhvError {
  const { max_concurrent, queue_size } = limits
  return mhvError(
    'MHV_ADMISSION_FULL',
    `${name}: ${running} of ${max_concurrent} slots (max_concurrent) are taken and ${queued} of ${queue_size} places in the queue (queue_size)`,
    // One second: no estimate yet of how fast the slots turn over.
    { retryAfter: 1, details: { limit: `${name}.queue_size`, position: queued + 1, max_concurrent, queue_size } },
  )
}

function once(act: () => void): () => void {
  let done = false
  return () => {
    if (done) return
    done = true
    act()
  }
}

function abortable(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    void promise.then(() => {
      signal.removeEventListener('abort', abort)
      resolve()
    })
  })
}
