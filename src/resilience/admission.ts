import type { Clock } from '../core/clock.ts'
import { mhvError } from '../core/errors.ts'
import { PRIORITIES, type Priority } from '../core/operation.ts'
import {
  ADMISSION_KINDS,
  type AdmissionKind,
  type AdmissionLimits,
  closingLimit,
  countAhead,
  createLevel,
  expiredError,
  fullError,
  isFull,
  isOpen,
  type Level,
  type LevelName,
  lastLow,
  noteLow,
  shedError,
  takeRoom,
} from './admission-levels.ts'
import { AdmissionPlace, orderedPlaces } from './admission-place.ts'
import { createAdmissionQueue } from './admission-queue.ts'
import { createTimerQueue } from './timer-queue.ts'

export type { AdmissionKind, AdmissionLimits, LevelName } from './admission-levels.ts'
export type { AdmissionPlace, AdmissionTrace, PlaceListener } from './admission-place.ts'

export interface AdmissionRequest {
  readonly worker: string
  /** Null for an operation without one. */
  readonly target: string | null
  readonly principal: string
  readonly priority: Priority
  /** Milliseconds since the epoch; the time in the queue counts. */
  readonly deadline: number
}

export interface AdmissionCounts {
  readonly running: number
  readonly queued: number
}

/** How full the levels of a kind are. */
export interface KindCounts {
  /** Those that anything runs or waits at. */
  readonly levels: number
  /** Those without a free slot. */
  readonly saturated: number
  /** Of the fullest one. */
  readonly running: number
  readonly queued: number
}

/** What admission tells of what it did, for metrics; `kind` is that of the level whose limit it was. */
export type AdmissionOutcome = 'rejected' | 'shed' | 'expired'

export interface AdmissionOptions {
  readonly clock: Clock
  /** Asked when a level comes into use. */
  limitsOf(level: LevelName): AdmissionLimits
  /** Seconds after which a waiting run counts as one of the next higher priority. */
  readonly agingSeconds: number
  observe?(outcome: AdmissionOutcome, kind: AdmissionKind): void
}

export interface Admission {
  /**
   * Takes a slot or a place in the queue. Throws MHV_ADMISSION_FULL naming the limit. Under the rule `wait` the place
   * may still be outside of the queue: see `entered`.
   */
  enter(request: AdmissionRequest): AdmissionPlace
  /** Of one worker; of the process without one. */
  counts(worker?: string): AdmissionCounts
  kinds(): Readonly<Record<AdmissionKind, KindCounts>>
  /** What became of calls and runs since the start, by the kind of the limit. */
  outcomes(): Readonly<Record<AdmissionOutcome, Readonly<Record<AdmissionKind, number>>>>
}

/**
 * Limits of the process, and of each worker, target and principal: a run begins when there is room at all of them.
 * Priorities are strict, except that a run that has waited for the aging time counts as one of the next higher priority
 * that has just come. Within a worker, target, principal and priority, whoever comes first goes first.
 */
export function createAdmission(options: AdmissionOptions): Admission {
  const { clock, limitsOf, agingSeconds } = options
  const timers = createTimerQueue(clock, () => pump())
  const now = () => clock.monotonic()
  const process = newLevel({ kind: 'process' })
  const queue = createAdmissionQueue(process, now)
  const levels = {
    worker: new Map<string, Level>(),
    target: new Map<string, Level>(),
    principal: new Map<string, Level>(),
  }
  const outcomes = emptyOutcomes()
  let lastNumber = 0

  function newLevel(name: LevelName): Level {
    return createLevel(name, limitsOf(name), woken)
  }

  function levelOf(of: Map<string, Level>, id: string, name: () => LevelName): Level {
    const known = of.get(id)
    if (known !== undefined) return known
    const level = newLevel(name())
    of.set(id, level)
    return level
  }

  /** The narrowest first, as the queue wants them: that is the one that a refusal names. */
  function levelsOf({ worker, target, principal }: AdmissionRequest): readonly Level[] {
    const ofPrincipal = levelOf(levels.principal, principal, () => ({ kind: 'principal', principal }))
    const ofWorker = levelOf(levels.worker, worker, () => ({ kind: 'worker', worker }))
    if (target === null) return [ofPrincipal, ofWorker, process]
    const ofTarget = levelOf(levels.target, `${worker}:${target}`, () => ({ kind: 'target', worker, target }))
    return [ofTarget, ofPrincipal, ofWorker, process]
  }

  function told(outcome: AdmissionOutcome, { kind }: Level): void {
    outcomes[outcome][kind] += 1
    options.observe?.(outcome, kind)
  }

  /** A level has a token again, or may be forgotten. */
  function woken(level: Level): void {
    queue.settle(level)
    settleRest(level)
  }

  /** Lets in who may go, then those who waited for a place in the queue, until nothing moves. */
  function pump(): void {
    // What falls due at the same moment counts as one: nobody may go before all of it is known.
    if (timers.firing()) return
    const at = now()
    for (let place = queue.next(at); place !== undefined; place = queue.next(at)) {
      timers.remove(place)
      place.decide('granted', at)
      for (const level of place.levels) arm(level, at)
      letIn(place.levels)
    }
  }

  /** Wakes it for its next token while anybody waits for one. */
  function arm(level: Level, at: number): void {
    const { bucket } = level
    if (bucket !== null && level.queued > 0 && !bucket.has(at)) timers.set(level.wake, bucket.nextAt())
  }

  /** Forgets a level that nothing is left of, once its bucket is full again. */
  function settleRest(level: Level): void {
    arm(level, now())
    if (level.running > 0 || level.queued > 0 || level.awaited > 0) return
    if (level.kind !== 'target' && level.kind !== 'principal') return
    const fullAt = level.bucket?.fullAt() ?? 0
    if (fullAt > now()) timers.set(level.wake, fullAt)
    else {
      timers.remove(level.wake)
      levels[level.kind].delete(level.name)
    }
  }

  function letIn(of: readonly Level[]): void {
    for (const level of of) {
      while (level.outside !== null && level.outside.size > 0 && level.queued < level.limits.queue_size) {
        const place = level.outside.peek() as AdmissionPlace
        leaveOutside(place)
        tryAgain(place)
      }
    }
  }

  /** One that waited for a place at one level; another one may be full. */
  function tryAgain(place: AdmissionPlace): void {
    const full = place.levels.find((level) => level.queued >= level.limits.queue_size)
    if (full === undefined) enqueue(place)
    else if (full.limits.full === 'wait') stayOutside(place, full)
    else {
      told('rejected', full)
      end(place, fullError(full, now()))
      for (const level of place.levels) settleRest(level)
    }
  }

  function enqueue(place: AdmissionPlace): void {
    place.state = 'queued'
    queue.add(place)
    const priority = PRIORITIES[place.rank] as Priority
    for (const level of place.levels) {
      noteLow(level, place, priority)
      arm(level, now())
    }
    place.inQueue()
  }

  function stayOutside(place: AdmissionPlace, level: Level): void {
    level.outside ??= orderedPlaces()
    level.outside.add(place)
    place.outsideOf = level
    // None of them may be forgotten and made anew meanwhile: there would be two, each with all of the slots.
    for (const each of place.levels) each.awaited += 1
  }

  function leaveOutside(place: AdmissionPlace): void {
    if (place.outsideOf === null) return
    place.outsideOf.outside?.remove(place)
    place.outsideOf = null
    for (const each of place.levels) each.awaited -= 1
  }

  function end(place: AdmissionPlace, reason: unknown): void {
    timers.remove(place)
    if (place.state === 'queued') queue.remove(place)
    else leaveOutside(place)
    place.decide('ended', now(), reason)
  }

  /** As `end`, and what is free by it goes to others. */
  function endAndPass(place: AdmissionPlace, reason: unknown): void {
    end(place, reason)
    letIn(place.levels)
    pump()
    for (const level of place.levels) settleRest(level)
  }

  const owner = {
    now,
    leave: endAndPass,
    expired(place: AdmissionPlace) {
      const waited = now() - place.enteredAt
      if (place.expiresBy === null) endAndPass(place, deadlinePassed())
      else {
        told('expired', place.expiresBy)
        endAndPass(place, expiredError(place.expiresBy, waited, now()))
      }
    },
    release(place: AdmissionPlace) {
      const { state } = place
      if (state === 'queued' || state === 'outside') endAndPass(place, cancelled())
      place.state = 'released'
      if (state !== 'granted') return
      const at = now()
      for (const level of place.levels) {
        level.running -= 1
        level.turnover.note(at)
        // One that had a slot before has changed nothing for anybody.
        if (level.running === level.limits.max_concurrent - 1) queue.settle(level)
      }
      pump()
      for (const level of place.levels) settleRest(level)
    },
  }

  /** When it has waited too long, and by which level's setting; none is later than its deadline. */
  function setExpiry(place: AdmissionPlace, deadline: number): void {
    let due = place.enteredAt + Math.max(0, deadline - clock.now())
    for (const level of place.levels) {
      const seconds = level.limits.max_queue_seconds
      if (seconds === null || place.enteredAt + seconds * 1000 >= due) continue
      due = place.enteredAt + seconds * 1000
      place.expiresBy = level
    }
    timers.set(place, due)
  }

  /** Runs of low priority, the last that came, whose end makes room in all full levels; or the level where none is. */
  function victimsFor(full: readonly Level[], priority: Priority): ReadonlyMap<AdmissionPlace, Level> | Level {
    const victims = new Map<AdmissionPlace, Level>()
    for (const level of full) {
      const given = [...victims.keys()].some((victim) => victim.levels.includes(level))
      if (given) continue
      const victim = level.limits.full === 'shed_low' && priority !== 'low' ? lastLow(level) : undefined
      if (victim === undefined) return level
      victims.set(victim, level)
    }
    return victims
  }

  function shed(victims: ReadonlyMap<AdmissionPlace, Level>): void {
    for (const [victim, level] of victims) {
      told('shed', level)
      end(victim, shedError(level, now()))
    }
  }

  function wait(place: AdmissionPlace, priority: Priority): void {
    if (!place.levels.some(isFull)) {
      enqueue(place)
      return
    }
    const full = place.levels.filter(isFull)
    const victims = victimsFor(full, priority)
    if (victims instanceof Map) {
      shed(victims)
      enqueue(place)
      for (const victim of victims.keys()) {
        letIn(victim.levels)
        for (const level of victim.levels) settleRest(level)
      }
      return
    }
    const refusing = full.find((level) => !hasRoomOutside(level))
    if (refusing === undefined) stayOutside(place, full[0] as Level)
    else refuse(place, hasRoomOutside(victims as Level) ? refusing : (victims as Level))
  }

  function refuse(place: AdmissionPlace, level: Level): never {
    told('rejected', level)
    for (const each of place.levels) settleRest(each)
    throw fullError(level, now())
  }

  return {
    enter(request) {
      // What a late timer has not done yet comes before whoever comes now.
      timers.runDue()
      const at = now()
      const rank = PRIORITIES.indexOf(request.priority)
      const key = at + rank * agingSeconds * 1000
      lastNumber += 1
      const place = new AdmissionPlace(owner, { key, number: lastNumber, rank, at }, levelsOf(request))
      const closed = place.levels.find((level) => !isOpen(level, at))
      if (closed === undefined) {
        for (const level of place.levels) takeRoom(level, at)
        for (const level of place.levels) {
          if (isOpen(level, at)) continue
          queue.settle(level)
          // Others may wait for something else, and for its next token after that.
          arm(level, at)
        }
        place.decide('granted', at)
        return place
      }
      place.limit = closingLimit(closed)
      place.position = countAhead(closed, rank)
      wait(place, request.priority)
      setExpiry(place, request.deadline)
      return place
    },
    counts(worker) {
      const level = worker === undefined ? process : levels.worker.get(worker)
      return { running: level?.running ?? 0, queued: level?.queued ?? 0 }
    },
    kinds: () => ({
      process: countKind([process]),
      worker: countKind(levels.worker.values()),
      target: countKind(levels.target.values()),
      principal: countKind(levels.principal.values()),
    }),
    outcomes: () => outcomes,
  }
}

/** As many calls may wait for a place as there are places, or slots where there are none. */
function hasRoomOutside({ limits, outside }: Level): boolean {
  return limits.full === 'wait' && (outside?.size ?? 0) < Math.max(limits.queue_size, limits.max_concurrent)
}

function deadlinePassed() {
  return mhvError('MHV_RUN_QUEUE_TIMEOUT', 'the deadline passed while the run waited for a slot')
}

function cancelled() {
  return mhvError('MHV_RUN_CANCELLED_QUEUED', 'the run was cancelled before it acted')
}

function emptyOutcomes(): Record<AdmissionOutcome, Record<AdmissionKind, number>> {
  const none = () => Object.fromEntries(ADMISSION_KINDS.map((kind) => [kind, 0])) as Record<AdmissionKind, number>
  return { rejected: none(), shed: none(), expired: none() }
}

function countKind(of: Iterable<Level>): KindCounts {
  const counts = { levels: 0, saturated: 0, running: 0, queued: 0 }
  for (const { running, queued, limits } of of) {
    if (running > 0 || queued > 0) counts.levels += 1
    if (running >= limits.max_concurrent) counts.saturated += 1
    counts.running = Math.max(counts.running, running)
    counts.queued = Math.max(counts.queued, queued)
  }
  return counts
}
