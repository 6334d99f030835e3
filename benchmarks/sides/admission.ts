/** Our side of the `admission` area: the bookkeeping by itself, and the whole path with the probe as its worker. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createInstances, production } from '../../src/app.ts'
import { systemClock } from '../../src/core/clock.ts'
import { MhvError } from '../../src/core/errors.ts'
import { PRIORITIES } from '../../src/core/operation.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { type AdmissionPlace, createAdmission } from '../../src/resilience/admission.ts'
import { createCircuitBreaker } from '../../src/resilience/circuit-breaker.ts'
import { createRetryPolicy } from '../../src/resilience/retry.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { TARGET } from '../harness/instance-folder.ts'
import { pause } from '../harness/process.ts'
import { serveSide } from '../harness/side.ts'
import { quantile } from '../harness/stats.ts'

const SLOTS = 50
const TARGETS = 1_000
const PRINCIPALS = 10
/** Well beyond every deadline in here, in milliseconds. */
const HOUR_MS = 3_600_000

interface Queued {
  readonly place: AdmissionPlace
  readonly target: string
}

/** The queue, breaker and retry budget of a number of targets, with as many runs waiting as asked for. */
function createBookkeeping(queued: number) {
  const wide = { queue_size: 1_000_000, max_queue_seconds: 300, rate_per_second: null, rate_burst: 1 } as const
  const slots = { process: SLOTS, worker: SLOTS, target: 2, principal: SLOTS / 5 }
  const admission = createAdmission({
    clock: systemClock,
    agingSeconds: 10,
    limitsOf: ({ kind }) => ({ ...wide, max_concurrent: slots[kind], full: 'reject_new' }),
  })
  const limits = {
    failure_threshold: 5,
    recovery_timeout: 60,
    half_open_max_calls: 1,
    window_seconds: 60,
    minimum_calls: 1,
    failure_ratio: 0.5,
    success_threshold: 1,
  }
  const names = Array.from({ length: TARGETS }, (_, index) => `target-${index}`)
  const breakers = new Map(names.map((name) => [name, createCircuitBreaker(name, limits, systemClock)]))
  const retry = createRetryPolicy()
  const budget = { size: 500, retry_cost: 5, timeout_cost: 10, success_return: 1 }
  const running: Queued[] = []
  let entered = 0

  function enter(): void {
    entered += 1
    // All combinations in turn, so that the queue has thousands of lanes.
    const target = names[(entered * 7) % TARGETS] as string
    const place = admission.enter({
      worker: 'ssh',
      target,
      principal: `agent-${entered % PRINCIPALS}`,
      priority: PRIORITIES[entered % 3] ?? 'normal',
      deadline: Date.now() + HOUR_MS,
    })
    place.listen({ granted: () => running.push({ place, target }), ended: () => undefined })
  }

  /** One run from its slot to its end, as the path does it, and the next one that comes. */
  function finishOne(): void {
    const one = running.shift()
    if (one === undefined) throw new Error('nothing runs')
    const pass = breakers.get(one.target)?.enter()
    pass?.success()
    retry.budgetOf('ssh', one.target, budget).success()
    one.place.release()
    enter()
  }

  for (let index = 0; index < queued + SLOTS; index++) enter()
  return { finishOne, counts: () => admission.counts() }
}

/** Microseconds per run of all bookkeeping together, the queue staying as long as it is. */
async function bookkeeping({ queued, count }: { queued: number; count: number }): Promise<number> {
  const kept = createBookkeeping(queued)
  let microseconds = 0
  for (let done = 0; done < count; done += SLOTS) {
    // Those who got their slot are told in a later turn.
    await pause(0)
    const began = performance.now()
    for (let index = 0; index < SLOTS; index++) kept.finishOne()
    await Promise.resolve()
    microseconds += (performance.now() - began) * 1_000
  }
  const { queued: still } = kept.counts()
  if (still !== queued) throw new Error(`${still} wait, not ${queued}`)
  return microseconds / count
}

let instance: Instance | undefined

function opened(): Instance {
  if (instance === undefined) throw new Error('not open')
  return instance
}

function touch(wait?: number) {
  const { invoke, principal } = opened()
  const envelope = { target: TARGET, timeout: 86_400, ...(wait === undefined ? {} : { wait }) }
  return invoke({ operation: 'probe.touch', input: { value: 'x' }, envelope, principal, surface: 'embedded' })
}

async function heapUsed(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let round = 0; round < 5; round++) {
    collect()
    await pause(100)
  }
  return process.memoryUsage().heapUsed
}

async function queueUp(count: number): Promise<void> {
  for (let done = 0; done < count; done += 100) {
    const handles = await Promise.all(Array.from({ length: 100 }, () => touch(0)))
    const other = handles.find(({ status }) => status !== 'pending')
    if (other !== undefined && done >= SLOTS) throw new Error(`a run is ${other.status}, not in the queue`)
  }
}

/** Bytes of heap that each queued run holds, its handle given out; `already` are there before it is looked at. */
async function memory({ already, queued }: { already: number; queued: number }): Promise<number> {
  await queueUp(already)
  const before = await heapUsed()
  await queueUp(queued)
  return ((await heapUsed()) - before) / queued
}

export interface Storm {
  readonly perSecond: number
  readonly rejected: number
  /** Milliseconds until a rejection was answered; NaN without one. */
  readonly rejectionP95: number
}

/** Time in which the clients begin, before anything is counted; in milliseconds. */
const GATHERING_MS = 1_000

/** Clients who call again and again, and stay away for as long as they are told when there is no room. */
async function storm({ clients, seconds }: { clients: number; seconds: number }): Promise<Storm> {
  const rejections: number[] = []
  const from = performance.now() + GATHERING_MS
  const until = from + seconds * 1_000
  let completed = 0

  async function client(): Promise<void> {
    // Nobody's callers all begin within the same turn of the event loop.
    await pause(Math.random() * GATHERING_MS)
    while (performance.now() < until) {
      const began = performance.now()
      try {
        const { status, error } = await touch()
        if (status !== 'completed') throw new Error(`${status}: ${error}`)
        if (began >= from) completed += 1
      } catch (error) {
        if (!(error instanceof MhvError) || error.code !== 'MHV_ADMISSION_FULL') throw error
        if (began >= from) rejections.push(performance.now() - began)
        const left = until - performance.now()
        await pause(Math.max(0, Math.min(left, (error.retryAfter ?? 1) * 1_000 * (1 + Math.random()))))
      }
    }
  }

  await Promise.all(Array.from({ length: clients }, client))
  return {
    perSecond: completed / ((performance.now() - from) / 1_000),
    rejected: rejections.length,
    rejectionP95: quantile(rejections, 0.95),
  }
}

const methods = {
  async open({ folder }: { folder: string }): Promise<void> {
    const registry = createRegistry([createProbeWorker()])
    instance = await createInstances({ ...production(), registry, env: {} }).open({ folder, doing: 'a benchmark' })
  },
  bookkeeping,
  memory,
  storm,
}

export type AdmissionSide = typeof methods

serveSide(methods, async () => {
  await instance?.close()
})
