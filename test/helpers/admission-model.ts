import { PRIORITIES } from '../../src/core/operation.ts'
import type { AdmissionLimits, AdmissionRequest, LevelName } from '../../src/resilience/admission.ts'

/** One that entered, as the model sees it. */
export interface Modelled {
  readonly number: number
  readonly request: AdmissionRequest
  readonly enteredAt: number
  readonly key: number
}

/** What admission has to do, said as plainly as can be: lists that are walked from the front. */
export interface AdmissionModel {
  enter(number: number, request: AdmissionRequest, now: number): 'granted' | 'queued' | 'full'
  leave(number: number, now: number): void
  release(number: number, now: number): void
  /** Lets in everybody who may go by now. */
  settle(now: number): void
  running(): readonly Modelled[]
  waiting(): readonly Modelled[]
  /** Numbers of all who got a slot, in that order. */
  readonly granted: number[]
}

export function levelsOf({ worker, target, principal }: AdmissionRequest): readonly LevelName[] {
  const wide: LevelName[] = [{ kind: 'process' }, { kind: 'worker', worker }, { kind: 'principal', principal }]
  return target === null ? wide : [...wide, { kind: 'target', worker, target }]
}

export const idOf = (level: LevelName) => JSON.stringify(level)

export function createAdmissionModel(
  limitsOf: (level: LevelName) => AdmissionLimits,
  agingSeconds: number,
): AdmissionModel {
  const running: Modelled[] = []
  const waiting: Modelled[] = []
  const granted: number[] = []
  const buckets = new Map<string, { tokens: number; at: number }>()
  const at = (list: readonly Modelled[], id: string) =>
    list.filter(({ request }) => levelsOf(request).some((level) => idOf(level) === id)).length

  function bucketOf(level: LevelName, now: number): { tokens: number; at: number } | null {
    const { rate_per_second, rate_burst } = limitsOf(level)
    if (rate_per_second === null) return null
    const bucket = buckets.get(idOf(level)) ?? { tokens: rate_burst, at: now }
    bucket.tokens = Math.min(rate_burst, bucket.tokens + ((now - bucket.at) * rate_per_second) / 1000)
    bucket.at = now
    buckets.set(idOf(level), bucket)
    return bucket
  }

  function hasRoom({ request }: Modelled, now: number): boolean {
    return levelsOf(request).every((level) => {
      const bucket = bucketOf(level, now)
      return at(running, idOf(level)) < limitsOf(level).max_concurrent && (bucket === null || bucket.tokens > 1 - 1e-6)
    })
  }

  function grant(one: Modelled, now: number): void {
    for (const level of levelsOf(one.request)) {
      const bucket = bucketOf(level, now)
      if (bucket !== null) bucket.tokens -= 1
    }
    running.push(one)
    granted.push(one.number)
  }

  function settle(now: number): void {
    for (;;) {
      const index = waiting.findIndex((one) => hasRoom(one, now))
      if (index < 0) return
      const [one] = waiting.splice(index, 1)
      grant(one as Modelled, now)
    }
  }

  function drop(list: Modelled[], number: number): void {
    const index = list.findIndex((one) => one.number === number)
    if (index >= 0) list.splice(index, 1)
  }

  return {
    granted,
    enter(number, request, now) {
      const key = now + PRIORITIES.indexOf(request.priority) * agingSeconds * 1000
      const one = { number, request, enteredAt: now, key }
      if (hasRoom(one, now)) {
        grant(one, now)
        return 'granted'
      }
      if (levelsOf(request).some((level) => at(waiting, idOf(level)) >= limitsOf(level).queue_size)) return 'full'
      waiting.push(one)
      waiting.sort((a, b) => a.key - b.key || a.number - b.number)
      return 'queued'
    },
    leave(number, now) {
      drop(waiting, number)
      settle(now)
    },
    release(number, now) {
      drop(running, number)
      settle(now)
    },
    settle,
    running: () => running,
    waiting: () => waiting,
  }
}
