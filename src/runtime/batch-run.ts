import type { Principal } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { isFinal } from '../core/result.ts'
import {
  type BatchProgress,
  type BatchRecord,
  type BatchState,
  type NewBatchEvent,
  OPEN_BATCHES,
} from '../store/batch.ts'
import type { Invoke, RuntimeParts } from './runtime.ts'

/** What became of a target. */
export type Outcome = 'done' | 'failed' | 'refused'

/** What is known of the targets of a batch that is taken up again. */
export interface KnownOutcomes {
  get(target: string): Outcome | undefined
}

/** The run of one target has ended: whether the batch counts it as failed. A command's own failure counts too. */
export function outcomeOf({ status, exit_code }: { status: string; exit_code: number | null }): Outcome {
  return status === 'completed' && (exit_code ?? 0) === 0 ? 'done' : 'failed'
}

/** Longer than any run may take: the batch waits for the end of each. */
const UNTIL_ITS_END = 10 * 86_400
/** How often a run for which there is no room is tried, and the shortest pause before, in milliseconds. */
const TRIES_FOR_ROOM = 60
const ROOM_MS = 1_000
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
  readonly #known: KnownOutcomes
  readonly #cancel = new AbortController()
  readonly #pause = new AbortController()
  #record: BatchRecord
  #done = 0
  #failed = 0
  #refused = 0
  #stopping: boolean
  #exceeded = false
  #events: NewBatchEvent[] = []
  #writtenAt: number
  readonly ended: Promise<BatchRecord>

  constructor(
    parts: BatchParts,
    batch: { readonly record: BatchRecord; readonly principal: Principal; readonly known: KnownOutcomes },
    invoke: Invoke,
  ) {
    this.#parts = parts
    this.#invoke = invoke
    this.#record = batch.record
    this.#principal = batch.principal
    this.#known = batch.known
    this.#stopping = batch.record.state === 'stopping'
    this.#writtenAt = parts.clock.monotonic()
    this.ended = this.#run()
  }

  /** As it stands now, ahead of the journal by what has not been written yet. */
  record(): BatchRecord {
    return isOpen(this.#record.state) ? { ...this.#record, progress: this.#progress() } : this.#record
  }

  /** No new runs; those that are there come to their end, or are cancelled. */
  async stop(by: string, cancel: boolean): Promise<void> {
    const first = !this.#stopping
    this.#stopping = true
    // Before it is written down: a journal without room must not keep anybody from stopping it.
    if (cancel) this.#cancel.abort(mhvError('MHV_RUN_CANCELLED', `the batch was stopped by ${by}`))
    if (!first) return
    this.#note('stop_requested', { principal: by, cancel })
    await this.#write('stopping')
  }

  /** The instance stops: nothing new is made, and the batch is left as it is for the next start. */
  pause(): void {
    this.#pause.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
  }

  async #run(): Promise<BatchRecord> {
    const { batches } = this.#record.facts
    // All of them first: what is known of a later batch counts against the limit as well.
    for (const target of batches.flat()) this.#countKnown(target)
    for (const [index, names] of batches.entries()) {
      const left = names.filter((target) => this.#known.get(target) === undefined)
      if (left.length === 0 || !this.#goesOn()) continue
      this.#note('batch_started', { batch: index + 1, targets: names.length })
      await this.#window(left)
      await this.#writeOften()
    }
    return this.#finish()
  }

  #countKnown(target: string): void {
    const outcome = this.#known.get(target)
    if (outcome !== undefined) this.#count(outcome)
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
        const outcome = await this.#child(target)
        if (outcome !== null) this.#count(outcome)
        await this.#writeNowAndThen()
      }
    }
    const lanes = Math.min(this.#record.facts.parallel, targets.length)
    await Promise.all(Array.from({ length: lanes }, lane))
  }

  /** The outcome of a target; null where it has none, because the instance stops or the batch was cancelled before. */
  async #child(target: string): Promise<Outcome | null> {
    for (let tries = 1; ; tries++) {
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
        if (!isFull(error) || tries === TRIES_FOR_ROOM) {
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
    // What the stop of the instance has cut off may not count against the limit: the next start looks at it again.
    if (this.#pause.signal.aborted && ended.status === 'cancelled') return null
    return outcomeOf(ended)
  }

  async #endOf(run_id: string): Promise<{ status: string; exit_code: number | null }> {
    const run = (await this.#parts.live.get(run_id)?.done) ?? (await this.#parts.store.getRun(run_id))
    return { status: run?.status ?? 'failed', exit_code: run?.end?.exit_code ?? null }
  }

  async #waitForRoom({ retryAfter }: MhvError): Promise<void> {
    const signal = AbortSignal.any([this.#pause.signal, this.#cancel.signal])
    await this.#parts.clock.sleep(Math.max(ROOM_MS, (retryAfter ?? 0) * 1000), signal).catch(() => undefined)
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
    await this.#write(state)
    return this.#record
  }
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
