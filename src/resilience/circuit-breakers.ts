import { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import {
  type BreakerChange,
  type BreakerLimits,
  type BreakerRecord,
  type BreakerView,
  type CircuitBreaker,
  createCircuitBreaker,
  type ForcedState,
} from './circuit-breaker.ts'

/** Breakers that are remembered; beyond that, those that are closed and not forced are forgotten. */
const MAX_BREAKERS = 10_000

/** The part of the journal that keeps the breakers, as a worker's state; no worker can have this name. */
export const BREAKER_STATE = '@breaker'

/** Where the state of breakers is kept: the key-value of the journal. */
export interface BreakerStore {
  stateSet(owner: string, key: string, value: unknown): Promise<void>
  stateDelete(owner: string, key: string): Promise<void>
  stateList(owner: string, prefix: string): Promise<readonly { readonly key: string; readonly value: unknown }[]>
}

export interface NamedBreaker extends BreakerView {
  readonly worker: string
  readonly target: string
}

/** The breakers of all targets, made on first use. */
export interface CircuitBreakers {
  of(worker: string, target: string, limits: BreakerLimits): CircuitBreaker
  /** Those that are open, half-open, forced, or have counted failures. */
  list(): readonly NamedBreaker[]
  /** Resolves when the decision is in the journal. */
  force(worker: string, target: string, state: ForcedState): Promise<BreakerChange | null>
  /** Takes up what the journal has of the last process. */
  load(): Promise<void>
  /** Resolves when every change so far is in the journal, or could not be written. */
  flush(): Promise<void>
}

export interface CircuitBreakersParts {
  readonly clock: Clock
  readonly log: Logger
  /** Null for breakers that are forgotten with the process. */
  readonly store: BreakerStore | null
  limitsOf(worker: string): BreakerLimits
  /** Told of every change, after it happened. */
  onChange?(worker: string, target: string, change: BreakerChange): void
}

const recordSchema = z.object({
  forced: z.enum(['open', 'closed']).nullable(),
  open_until: z.number().nullable(),
  failures: z.number().int().min(0),
})

interface Known {
  readonly worker: string
  readonly target: string
  readonly breaker: CircuitBreaker
}

export function createCircuitBreakers(parts: CircuitBreakersParts): CircuitBreakers {
  const { clock, log, store } = parts
  const known = new Map<string, Known>()
  /** Keys whose state is on its way to the journal; a change meanwhile is written after it. */
  const writing = new Map<string, Promise<void>>()
  const dirty = new Set<string>()

  function nameOf(worker: string, target: string): string {
    return `${worker}:${target}`
  }

  async function write(key: string): Promise<void> {
    const record = known.get(key)?.breaker.record() ?? null
    if (record === null) await store?.stateDelete(BREAKER_STATE, key)
    else await store?.stateSet(BREAKER_STATE, key, record)
  }

  async function writeUntilClean(key: string): Promise<void> {
    try {
      while (dirty.delete(key)) await write(key)
    } finally {
      writing.delete(key)
    }
  }

  /** One write at a time for each breaker, and none on the way of a call. */
  function save(key: string): Promise<void> {
    dirty.add(key)
    let saving = writing.get(key)
    if (saving === undefined) {
      saving = writeUntilClean(key)
      writing.set(key, saving)
    }
    return saving
  }

  function changed({ worker, target }: Known, change: BreakerChange): Promise<void> {
    const { from, to, forced, failures, calls } = change
    const level = to === 'closed' && forced === null ? 'info' : 'warn'
    log[level]('a circuit breaker changed', { worker, target, from, to, forced, failures, calls })
    parts.onChange?.(worker, target, change)
    return save(nameOf(worker, target))
  }

  function watched(entry: Known): CircuitBreaker {
    const { breaker } = entry
    const told = (change: BreakerChange | null) => {
      if (change !== null) changed(entry, change).catch(notSaved(entry))
      return change
    }
    return {
      ...breaker,
      enter() {
        const pass = breaker.enter()
        return { ...pass, success: () => told(pass.success()), failure: () => told(pass.failure()) }
      },
    }
  }

  /** The breaker works on in memory; its next change is written again. */
  function notSaved({ worker, target }: Known) {
    return (error: unknown) =>
      log.error('the state of a circuit breaker could not be journaled', { worker, target, error })
  }

  function forgetClosed(): void {
    for (const [key, { breaker }] of known) if (breaker.record() === null) known.delete(key)
  }

  function entryOf(worker: string, target: string, limits: BreakerLimits): Known {
    const key = nameOf(worker, target)
    let entry = known.get(key)
    if (entry === undefined) {
      if (known.size >= MAX_BREAKERS) forgetClosed()
      entry = { worker, target, breaker: createCircuitBreaker(key, limits, clock) }
      entry = { ...entry, breaker: watched(entry) }
      known.set(key, entry)
    }
    return entry
  }

  function take(key: string, value: unknown): void {
    const [worker = '', ...rest] = key.split(':')
    const target = rest.join(':')
    const parsed = z.safeParse(recordSchema, value)
    if (!parsed.success) {
      log.warn('the journal has a circuit breaker that cannot be read; it starts closed', { worker, target })
      return
    }
    let limits: BreakerLimits
    try {
      limits = parts.limitsOf(worker)
    } catch {
      // The breaker of a worker that is not there now: it is left for when it is.
      return
    }
    const record: BreakerRecord = parsed.data
    entryOf(worker, target, limits).breaker.restore(record)
  }

  return {
    of: (worker, target, limits) => entryOf(worker, target, limits).breaker,
    list: () =>
      [...known.values()]
        .map(({ worker, target, breaker }) => ({ worker, target, ...breaker.view() }))
        .filter(({ state, forced, failures }) => state !== 'closed' || forced !== null || failures > 0),
    async force(worker, target, state) {
      const entry = entryOf(worker, target, parts.limitsOf(worker))
      const change = entry.breaker.force(state)
      if (change !== null) await changed(entry, change)
      return change
    },
    async load() {
      for (const { key, value } of (await store?.stateList(BREAKER_STATE, '')) ?? []) take(key, value)
    },
    async flush() {
      await Promise.allSettled(writing.values())
    },
  }
}
