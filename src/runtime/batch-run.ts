import type { Principal } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { type EffectCertainty, isFinal } from '../core/result.ts'
import {
  type BatchProgress,
  type BatchRecord,
  type BatchState,
  type NewBatchEvent,
  OPEN_BATCHES,
} from '../store/batch.ts'
import { type KnownTargets, type Outcome, outcomeOf, outcomeOfRun } from './batch-outcomes.ts'
import type { LiveRun } from './live-runs.ts'
import type { Invoke, RuntimeParts } from './runtime.ts'

/** What somebody is told who counts. */
export interface BatchObserver {
  /** A target has an outcome that it had not before. */
  target(outcome: Outcome): void
  ended(state: BatchState): void
}

/** Longer than any run may take: the batch waits for the end of each. */
const UNTIL_ITS_END = 10 * 86_400
/**
 * How often a run for which there is no room is tried while nothing else of the batch acts, and the shortest pause before,
 * in milliseconds.
 */
const TRIES_FOR_ROOM = 60
const ROOM_MS = 1_000
/** Longest pause before its end is written again, where the journal did not take it, in milliseconds. */
const END_MS = 30_000
/** Shortest time between two writes of how far it is, in milliseconds. */
const WRITE_MS = 1_000

export type BatchParts = Pick<RuntimeParts, 'store' | 'clock' | 'log' | 'live' | 'redactor'>

/**
 * One batch at work. What waits is only a name in its list: at most `parallel` runs are made at once, each through the
 * one path, under a key that makes it the same run however often the batch is taken up again.
 */
export class BatchRun {
  readonly #parts: BatchParts
  readonly #invoke: Invoke
  readonly #principal: Principal
  readonly #known: KnownTargets
  readonly #observer: BatchObserver | undefined
  readonly #cancel = new AbortController()
  readonly #pause = new AbortController()
  #record: BatchRecord
  #done = 0
  #failed = 0
  #refused = 0
  /** Targets that have their turn. */
  #turns = 0
  #stopping: boolean
  #exceeded = false
  #events: NewBatchEvent[] = []
  #writtenAt: number
  readonly ended: Promise<BatchRecord>

  constructor(
    parts: BatchParts,
    batch: { readonly record: BatchRecord; readonly principal: Principal; readonly known: KnownTargets },
    invoke: Invoke,
    observer?: BatchObserver,
  ) {
    this.#parts = parts
    this.#invoke = invoke
    this.#record = batch.record
    this.#principal = batch.principal
    this.#known = batch.known
    this.#observer = observer
    this.#stopping = batch.record.state === 'stopping'
    this.#writtenAt = parts.clock.monotonic()
    this.ended = this.#run()
  }

  /** As it stands now, ahead of the journal by what has not been written yet. */
  record(): BatchRecord {
    return isOpen(this.#record.state) ? { ...this.#record, progress: this.#progress() } : this.#record
  }

  /** Targets that have a run, or are about to; and those that will have one if all goes well. */
  numbers(): { readonly state: BatchState; readonly acting: number; readonly waiting: number } {
    const left = this.#record.progress.total - this.#done - this.#turns
    return { state: this.#record.state, acting: this.#turns, waiting: this.#goesOn() ? left : 0 }
  }

  /** No new runs; those that are there come to their end, or are cancelled. */
  async stop(by: string, cancel: boolean): Promise<void> {
    const first = !this.#stopping
    this.#stopping = true
    // Before it is written down: a journal without room must not keep anybody from stopping it.
    if (cancel) this.#cancelAll(by)
    if (!first) return
    this.#note('stop_requested', { principal: by, cancel })
    await this.#write('stopping')
  }

  #cancelAll(by: string): void {
    const reason = mhvError('MHV_RUN_CANCELLED', `the batch was stopped by ${by}`)
    this.#cancel.abort(reason)
    for (const run of this.#known.acting.values()) run.abort(reason)
  }

  /** The instance stops: nothing new is made, and the batch is left as it is for the next start. */
  pause(): void {
    this.#pause.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
  }

  async #run(): Promise<BatchRecord> {
    const { batches } = this.#record.facts
    // All of them first: what is known of a later batch counts against the limit as well.
    const { outcomes, acting } = this.#known
    for (const outcome of outcomes.values()) this.#count(outcome)
    await Promise.all([...acting].map(([target, run]) => this.#attend(target, run)))
    for (const [index, names] of batches.entries()) {
      const left = names.filter((target) => !outcomes.has(target) && !acting.has(target))
      if (left.length === 0 || !this.#goesOn()) continue
      this.#note('batch_started', { batch: index + 1, targets: names.length })
      await this.#window(left)
      await this.#writeOften()
    }
    return this.#finish()
  }

  /** A run that is there already, since it was taken up again by itself: nothing new begins before its end. */
  async #attend(target: string, run: LiveRun): Promise<void> {
    this.#turns += 1
    const record = await run.done
    this.#turns -= 1
    const end = { ...record, effect_certainty: record.end?.effect_certainty ?? null }
    if (!this.#isCutOff(target, end)) this.#settle(outcomeOfRun(record))
  }

  #goesOn(): boolean {
    return !this.#stopping && !this.#exceeded && !this.#pause.signal.aborted
  }

  /** So many lanes that each take the next target: never more runs than that, nor anything for those that wait. */
  async #window(targets: readonly string[]): Promise<void> {
    let next = 0
    const lane = async () => {
      while (next < targets.length && this.#goesOn()) {
        const target = targets[next++] as string
        this.#turns += 1
        const outcome = await this.#child(target)
        this.#turns -= 1
        if (outcome !== null) this.#settle(outcome)
        await this.#writeNowAndThen()
      }
    }
    const lanes = Math.min(this.#record.facts.parallel, targets.length)
    await Promise.all(Array.from({ length: lanes }, lane))
  }

  /** The outcome of a target; null where it has none, because the instance stops or the batch was cancelled before. */
  async #child(target: string): Promise<Outcome | null> {
    for (let tries = 1; ; tries = tries === TRIES_FOR_ROOM ? 1 : tries + 1) {
      try {
        return await this.#call(target)
      } catch (thrown) {
        const error = toMhvError(thrown)
        if (this.#pause.signal.aborted || this.#cancel.signal.aborted || isOver(error)) {
          if (isOver(error)) this.pause()
          return null
        }
        // There is a run, and only its end is not in the journal yet.
        if (error.spec.phase !== 'before-effect') return 'failed'
        if (!isFull(error) || (tries === TRIES_FOR_ROOM && !this.#hasRuns())) {
          this.#note('target_refused', {
            target,
            error_code: error.code,
            error: this.#parts.redactor.text(error.message),
          })
          return 'refused'
        }
        await this.#waitForRoom(error)
        if (!this.#goesOn()) return null
      }
    }
  }

  async #call(target: string): Promise<Outcome | null> {
    const { id, operation, facts } = this.#record
    const result = await this.#invoke({
      operation,
      input: facts.input,
      envelope: {
        target,
        idempotency_key: `batch:${id}:${target}`,
        priority: facts.priority,
        wait: UNTIL_ITS_END,
        ...(facts.timeout === null ? {} : { timeout: facts.timeout }),
        ...(facts.reason === null ? {} : { reason: facts.reason }),
      },
      principal: this.#principal,
      surface: 'batch',
      parent: id,
      signal: this.#cancel.signal,
    })
    const ended = isFinal(result.status) ? result : await this.#endOf(result.run_id)
    return this.#isCutOff(target, ended) ? null : outcomeOf(ended)
  }

  /**
   * What the stop of the instance has cut off may not count against the limit: the next start looks at it again. That it
   * was this, and nobody who has cancelled it, is written down where the run has not acted and may be done again.
   */
  #isCutOff(target: string, { run_id, status, effect_certainty }: EndOfChild): boolean {
    if (!this.#pause.signal.aborted || status !== 'cancelled') return false
    if (effect_certainty === 'none') this.#note('target_cut_off', { target, run_id })
    return true
  }

  async #endOf(run_id: string): Promise<EndOfChild & { readonly exit_code: number | null }> {
    const run = (await this.#parts.live.get(run_id)?.done) ?? (await this.#parts.store.getRun(run_id))
    const { exit_code = null, effect_certainty = null } = run?.end ?? {}
    return { run_id, status: run?.status ?? 'failed', exit_code, effect_certainty }
  }

  /** Whether one of its runs has not ended: then there is room again some time. */
  #hasRuns(): boolean {
    return this.#parts.live.all().some((run) => run.record().parent === this.#record.id)
  }

  async #waitForRoom({ retryAfter }: MhvError): Promise<void> {
    const signal = AbortSignal.any([this.#pause.signal, this.#cancel.signal])
    await this.#parts.clock.sleep(Math.max(ROOM_MS, (retryAfter ?? 0) * 1000), signal).catch(() => undefined)
  }

  #settle(outcome: Outcome): void {
    this.#observer?.target(outcome)
    this.#count(outcome)
  }

  #count(outcome: Outcome): void {
    this.#done += 1
    if (outcome === 'refused') this.#refused += 1
    if (outcome !== 'done') this.#failed += 1
    const { failure_limit } = this.#record.facts
    if (this.#exceeded || this.#stopping || failure_limit === null || this.#failed <= failure_limit) return
    this.#exceeded = true
    this.#note('limit_exceeded', { failed: this.#failed, failure_limit })
  }

  #progress(): BatchProgress {
    return {
      done: this.#done,
      failed: this.#failed,
      refused: this.#refused,
      total: this.#record.progress.total,
      error_code: this.#exceeded ? 'MHV_BATCH_FAILURES' : null,
    }
  }

  #note(type: NewBatchEvent['type'], data: NewBatchEvent['data']): void {
    this.#events.push({ type, at: this.#parts.clock.now(), data })
  }

  async #writeNowAndThen(): Promise<void> {
    if (this.#parts.clock.monotonic() - this.#writtenAt >= WRITE_MS) await this.#writeOften()
  }

  /** How far it is can be worked out from its runs again, so a write that fails stops nothing. */
  async #writeOften(): Promise<void> {
    try {
      await this.#write(this.#stopping ? 'stopping' : 'running')
    } catch (error) {
      this.#parts.log.warn('how far a batch is could not be journaled', { batch: this.#record.id, error })
    }
  }

  async #write(to: BatchState): Promise<void> {
    const at = this.#parts.clock.now()
    const events = this.#events
    this.#events = []
    this.#writtenAt = this.#parts.clock.monotonic()
    try {
      const final = isOpen(to) ? {} : { finished_at: at }
      const change = { id: this.#record.id, from: OPEN_BATCHES, to, at, progress: this.#progress(), events, ...final }
      this.#record = (await this.#parts.store.changeBatch(change)) ?? this.#record
    } catch (error) {
      this.#events = [...events, ...this.#events]
      throw error
    }
  }

  async #finish(): Promise<BatchRecord> {
    if (this.#pause.signal.aborted) {
      await this.#writeOften()
      return this.#record
    }
    const all = this.#done === this.#record.progress.total
    const state = this.#exceeded ? 'failed' : all ? 'completed' : 'stopped'
    this.#note('finished', { state, done: this.#done, failed: this.#failed })
    await this.#writeEnd(state)
    this.#observer?.ended(this.#record.state)
    return this.#record
  }

  /** A batch that has ended and does not say so would stay for ever: it is written as soon as the journal takes it. */
  async #writeEnd(state: BatchState): Promise<void> {
    const { clock, log } = this.#parts
    for (let pauseMs = ROOM_MS; ; pauseMs = Math.min(2 * pauseMs, END_MS)) {
      try {
        return await this.#write(state)
      } catch (error) {
        if (this.#pause.signal.aborted || isOver(toMhvError(error))) throw error
        log.error('the end of a batch could not be journaled; it is tried again', { batch: this.#record.id, error })
        await clock.sleep(pauseMs, this.#pause.signal).catch(() => undefined)
      }
    }
  }
}

interface EndOfChild {
  readonly run_id: string
  readonly status: string
  readonly effect_certainty: EffectCertainty | null
}

export function isOpen(state: BatchState): boolean {
  return (OPEN_BATCHES as readonly BatchState[]).includes(state)
}

/** There is no room now; that passes. */
function isFull({ spec }: MhvError): boolean {
  return spec.category === 'resource' && spec.retryable && spec.phase === 'before-effect'
}

/** This process will not take anything any longer. */
function isOver({ code }: MhvError): boolean {
  return code === 'MHV_SHUTTING_DOWN' || code === 'MHV_INSTANCE_FENCED'
}
