import type { FullRule } from '../core/admission.ts'
import { type MhvError, mhvError } from '../core/errors.ts'
import type { Priority } from '../core/operation.ts'
import type { AdmissionPlace, OutsideQueue } from './admission-place.ts'
import type { Gate, Source } from './admission-queue.ts'
import type { Timed } from './timer-queue.ts'
import { createTokenBucket, type TokenBucket } from './token-bucket.ts'
import { Turnover } from './turnover.ts'

/** What a limit is about, from the whole to its parts. A run needs room at each of them. */
export const ADMISSION_KINDS = ['process', 'worker', 'target', 'principal'] as const
export type AdmissionKind = (typeof ADMISSION_KINDS)[number]

/** The limits of one level. */
export interface AdmissionLimits {
  /** Runs that act at once. */
  readonly max_concurrent: number
  /** Runs that wait for a slot. */
  readonly queue_size: number
  /** Seconds that a run waits at most; null: as long as its deadline allows. */
  readonly max_queue_seconds: number | null
  /** Runs that begin in a second, on average; null: as many as there are slots for. */
  readonly rate_per_second: number | null
  /** Runs that may begin at once under that rate. */
  readonly rate_burst: number
  readonly full: FullRule
}

/** Names one level. `worker` is that of the target. */
export type LevelName =
  | { readonly kind: 'process' }
  | { readonly kind: 'worker'; readonly worker: string }
  | { readonly kind: 'target'; readonly worker: string; readonly target: string }
  | { readonly kind: 'principal'; readonly principal: string }

/** The state of one level. `wake` is its place in the timers: it waits for a token, or to be forgotten. */
export interface Level {
  readonly kind: AdmissionKind
  /** What it is the level of: a worker, a target, a principal; empty for the process. */
  readonly name: string
  /** Its section of the settings. */
  readonly section: string
  readonly limits: AdmissionLimits
  running: number
  queued: number
  /** By priority, in the order of PRIORITIES. */
  readonly queuedBy: number[]
  readonly bucket: TokenBucket | null
  readonly turnover: Turnover
  readonly wake: Timed
  /** Calls that wait for a place in the queue of this level, under the rule `wait`. */
  outside: OutsideQueue | null
  /** Calls that need this level and wait for a place, in its queue or in that of another level. */
  awaited: number
  /** Queued runs of low priority in the order in which they came, some gone already; kept under `shed_low` only. */
  lows: AdmissionPlace[]
  /** Where the lanes of this level wait; owned by the queue. */
  sources: Source[]
  gate: Gate | null
}

/** The settings of a level, as its name is written in messages and events. */
function sectionOf(name: LevelName): string {
  if (name.kind === 'process') return 'admission'
  return name.kind === 'worker' ? `${name.worker}.admission` : `admission.${name.kind}`
}

function nameOf(name: LevelName): string {
  if (name.kind === 'process') return ''
  if (name.kind === 'target') return `${name.worker}:${name.target}`
  return name.kind === 'worker' ? name.worker : name.principal
}

export function createLevel(name: LevelName, limits: AdmissionLimits, fire: (level: Level) => void): Level {
  const { rate_per_second: rate, rate_burst } = limits
  const level: Level = {
    kind: name.kind,
    name: nameOf(name),
    section: sectionOf(name),
    limits,
    running: 0,
    queued: 0,
    queuedBy: [0, 0, 0],
    bucket: rate === null ? null : createTokenBucket(rate, rate_burst),
    turnover: new Turnover(),
    wake: { due: 0, timerIndex: -1, fire: () => fire(level) },
    outside: null,
    awaited: 0,
    lows: [],
    sources: [],
    gate: null,
  }
  return level
}

/** Whether another run may begin as far as this level is concerned. `now` is monotonic, in milliseconds. */
export function isOpen(level: Level, now: number): boolean {
  return level.running < level.limits.max_concurrent && (level.bucket === null || level.bucket.has(now))
}

/** The setting that a closed level is closed by. */
export function closingLimit({ section, running, limits }: Level): string {
  return `${section}.${running < limits.max_concurrent ? 'rate_per_second' : 'max_concurrent'}`
}

export function isFull({ queued, limits, outside }: Level): boolean {
  // Whoever comes now must not overtake those who wait for a place.
  return queued >= limits.queue_size || (outside?.size ?? 0) > 0
}

/** Takes a slot and a token. */
export function takeRoom(level: Level, now: number): void {
  level.running += 1
  level.bucket?.take(now)
}

/** Runs ahead of one that is about to queue up. Aging may change that later. */
export function countAhead({ queuedBy }: Level, rank: number): number {
  let ahead = 0
  for (let index = 0; index <= rank; index++) ahead += queuedBy[index] as number
  return ahead
}

/** Longest time, in seconds, that a caller is told to stay away. */
const MAX_RETRY_AFTER = 300

/** Seconds until `ahead` runs have begun, by what has been seen of this level; 1 while nothing has been seen. */
export function secondsUntilTurn({ turnover, limits, bucket, running }: Level, ahead: number, now: number): number {
  const seen = turnover.rate(now)
  const free = running < limits.max_concurrent
  // With slots free it is the rate that holds runs back.
  const perSecond = free && bucket !== null ? limits.rate_per_second : seen
  if (perSecond === null || perSecond === 0) return 1
  const allowed = Math.min(perSecond, limits.rate_per_second ?? perSecond)
  return Math.min(MAX_RETRY_AFTER, Math.max(1, Math.ceil(ahead / allowed)))
}

function describe({ section, kind, name }: Level): string {
  return kind === 'target' || kind === 'principal' ? `${section} of ${name}` : section
}

function factsOf(level: Level, limit: string) {
  const { kind, name, section, limits } = level
  const { max_concurrent, queue_size } = limits
  return { limit: `${section}.${limit}`, level: kind, name: name === '' ? null : name, max_concurrent, queue_size }
}

export function fullError(level: Level, now: number): MhvError {
  const { running, queued, limits, outside } = level
  const { max_concurrent, queue_size } = limits
  const position = queued + (outside?.size ?? 0) + 1
  return mhvError(
    'MHV_ADMISSION_FULL',
    `${describe(level)}: ${running} of ${max_concurrent} slots (max_concurrent) are taken and ${queued} of ${queue_size} places in the queue (queue_size)`,
    { retryAfter: secondsUntilTurn(level, position, now), details: { ...factsOf(level, 'queue_size'), position } },
  )
}

export function shedError(level: Level, now: number): MhvError {
  return mhvError(
    'MHV_ADMISSION_SHED',
    `${describe(level)}: the queue (queue_size ${level.limits.queue_size}) was full, and a run of a higher priority came`,
    { retryAfter: secondsUntilTurn(level, level.queued + 1, now), details: factsOf(level, 'queue_size') },
  )
}

export function expiredError(level: Level, waitedMs: number, now: number): MhvError {
  return mhvError(
    'MHV_ADMISSION_EXPIRED',
    `${describe(level)}: the run waited ${Math.round(waitedMs / 100) / 10} s; ${level.limits.max_queue_seconds} s (max_queue_seconds) are allowed`,
    {
      retryAfter: secondsUntilTurn(level, level.queued, now),
      details: { ...factsOf(level, 'max_queue_seconds'), waited_ms: Math.round(waitedMs) },
    },
  )
}

/** The last that came of the queued runs of low priority, or undefined. */
export function lastLow(level: Level): AdmissionPlace | undefined {
  const { lows } = level
  while (lows.length > 0 && lows.at(-1)?.state !== 'queued') lows.pop()
  return lows.at(-1)
}

/** Remembers a run that may be shed. Those that are gone are dropped once they are the larger part. */
export function noteLow(level: Level, place: AdmissionPlace, priority: Priority): void {
  if (priority !== 'low' || level.limits.full !== 'shed_low') return
  level.lows.push(place)
  if (level.lows.length > 2 * (level.queuedBy[2] as number) + 16) {
    level.lows = level.lows.filter(({ state }) => state === 'queued')
  }
}
