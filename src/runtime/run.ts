import type { Progress } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { canResume } from '../core/operation.ts'
import { certaintyOf, type EffectCertainty } from '../core/result.ts'
import type { AdmissionPlace, PlaceListener } from '../resilience/admission.ts'
import { type Deadline, RunDeadline } from '../resilience/deadline.ts'
import type { RunRecord } from '../store/store.ts'
import type { LiveRun, Waiting } from './live-runs.ts'
import { finishedEvent, measure, notStarted } from './run-end.ts'
import type { RunJournal } from './run-journal.ts'
import { createRunOutput, type KeptOutput, type RunOutput } from './run-output.ts'
import type { RuntimeParts } from './runtime.ts'
import {
  type AttemptOutcome,
  attemptRun,
  breakerOf,
  endedWhileWaiting,
  heldBackEvent,
  together,
} from './steps/attempt.ts'
import type { RunToAttempt } from './steps/call-operation.ts'
import { endOf } from './steps/finish.ts'
import { recoverRun } from './steps/recover.ts'
import type { ResolvedCall } from './steps/resolve.ts'
import { settleRun } from './steps/settle.ts'

/** A run of which it is not known yet whether the journal takes it. One of the three is called, once. */
export interface CreatedRun {
  readonly live: LiveRun
  /** Starts it, once it is journaled. */
  go(attemptsBefore: number): void
  /** Ends it without having acted: `error` says why. With its end in the journal at once when it is not there yet. */
  refuse(error: MhvError, attemptsBefore: number): void
  /** Takes it back: the journal did not take it, or has another run for it. */
  drop(): void
}

interface RunToCreate {
  readonly call: ResolvedCall
  readonly place: AdmissionPlace
  readonly journal: RunJournal
  /** Aborted when the process will not try any longer to journal ends. */
  readonly givingUp: AbortSignal
  /** What is known of the effect of attempts before; absent: `none`. */
  readonly certaintyBefore?: EffectCertainty
  /** What the journal has of its output already; absent: nothing. */
  readonly keptBefore?: KeptOutput
}

/** One run from its slot to its journaled end. It holds the slot until then. */
export function createRun(parts: RuntimeParts, create: RunToCreate): CreatedRun {
  const run = new Run(parts, create)
  // Here already, so that whoever closes the instance waits for it, and a duplicate finds it.
  parts.live.add(run)
  return run
}

type EndListener = (record: RunRecord) => void
type ProgressListener = (progress: Progress) => void

/**
 * A class, and one that makes what acting takes (signal, timer, output) only when it acts: ten thousand runs may wait
 * for their slot, at 2 KiB each, and what closures weigh would be most of it.
 */
class Run implements LiveRun, CreatedRun, PlaceListener {
  readonly #parts: RuntimeParts
  readonly #call: ResolvedCall
  readonly #place: AdmissionPlace
  readonly #journal: RunJournal
  readonly #givingUp: AbortSignal
  readonly #deadline: RunDeadline
  readonly #createdAs: string
  readonly #calledAt: number
  readonly #certaintyBefore: EffectCertainty
  readonly #keptBefore: KeptOutput | undefined
  #attemptsBefore = 0
  #acting: RunToAttempt | undefined
  #handedOver = false
  /** Whether it is known how it ended; from then on it is only written down. */
  #decided = false
  #over = false
  #recovery: Deadline | undefined
  #interested = 0
  #output: RunOutput | undefined
  #done: PromiseWithResolvers<RunRecord> | undefined
  #endListeners: Set<EndListener> | undefined
  #progressListeners: Set<ProgressListener> | undefined

  constructor(parts: RuntimeParts, { call, place, journal, givingUp, certaintyBefore, keptBefore }: RunToCreate) {
    const { run_id, accepted_at, deadline } = journal.record()
    this.#parts = parts
    this.#call = call
    this.#place = place
    this.#journal = journal
    this.#givingUp = givingUp
    this.#deadline = new RunDeadline(parts.clock, deadline)
    this.#createdAs = run_id
    this.#calledAt = accepted_at
    this.#certaintyBefore = certaintyBefore ?? 'none'
    this.#keptBefore = keptBefore
  }

  get live(): LiveRun {
    return this
  }

  get run_id(): string {
    return this.record().run_id
  }

  get done(): Promise<RunRecord> {
    if (this.#over) return Promise.resolve(this.record())
    this.#done ??= Promise.withResolvers<RunRecord>()
    return this.#done.promise
  }

  dueAt(): number {
    return this.#recovery?.due ?? this.#deadline.due
  }

  record(): RunRecord {
    return this.#journal.record()
  }

  ensureJournaled(): Promise<void> {
    return this.#journal.ensure()
  }

  abort(reason: MhvError): void {
    // Whoever has taken the run over does not want anything of it to go on here.
    if (reason.code === 'MHV_RUN_INTERRUPTED') this.#recovery?.abort(reason)
    if (this.#deadline.aborted || this.#decided) return
    const data = { error_code: reason.code, reason: this.#parts.redactor.text(reason.message) }
    this.#journal.note({ type: 'cancel_requested', at: this.#parts.clock.now(), data })
    this.#deadline.abort(reason)
    this.#place.leave(reason)
  }

  giveUp(reason: MhvError): boolean {
    if (this.#decided) return false
    const acted = this.record().status === 'running'
    this.abort(reason)
    this.#recovery?.abort(reason)
    const error = acted ? reason : mhvError('MHV_RUN_QUEUE_TIMEOUT', 'the run got no slot long after its deadline')
    this.#follow(Promise.resolve({ attempts: this.#attemptsBefore + (acted ? 1 : 0), error }))
    return true
  }

  handOver(reason: MhvError): boolean {
    if (this.#decided || this.#acting === undefined || this.#deadline.aborted || this.#recovery !== undefined)
      return false
    if (!canResume(this.#call.operation.spec, this.#call.input)) return false
    this.#decided = true
    this.#handedOver = true
    this.#deadline.abort(reason)
    this.#finish(this.record())
    return true
  }

  get handedOver(): boolean {
    return this.#handedOver
  }

  join(caller: Waiting): () => void {
    this.#interested += 1
    if (caller.signal === undefined && caller.left === undefined) return nothing
    const cancelled = whenAborted(caller.signal, () => {
      this.#interested -= 1
      if (this.#interested === 0) this.abort(mhvError('MHV_RUN_CANCELLED', 'the caller cancelled or went away'))
      else this.#noteLeft(caller)
    })
    const left = whenAborted(caller.left, () => this.#noteLeft(caller))
    return () => {
      cancelled()
      left()
    }
  }

  #noteLeft({ principal, surface }: Waiting): void {
    if (this.#deadline.aborted || this.#decided) return
    const data = { principal: principal.id, surface, reason: 'the caller went away; the run goes on' }
    this.#journal.tell({ type: 'caller_left', at: this.#parts.clock.now(), data })
  }

  onProgress(listener: ProgressListener): () => void {
    this.#progressListeners ??= new Set()
    this.#progressListeners.add(listener)
    return () => this.#progressListeners?.delete(listener)
  }

  onEnd(listener: EndListener): () => void {
    if (this.#over) {
      listener(this.record())
      return nothing
    }
    this.#endListeners ??= new Set()
    this.#endListeners.add(listener)
    return () => this.#endListeners?.delete(listener)
  }

  go(attemptsBefore: number): void {
    this.#begin(attemptsBefore)
    this.#place.listen(this)
  }

  refuse(error: MhvError, attemptsBefore: number): void {
    this.#begin(attemptsBefore)
    this.#follow(Promise.resolve({ attempts: attemptsBefore, error }))
  }

  drop(): void {
    this.#over = true
    this.#place.release()
    this.#parts.live.remove(this.#createdAs, this)
    this.#tell(this.record())
  }

  /** Its slot is there. */
  granted(): void {
    // Given up meanwhile: its end is being written, and the slot goes back with it.
    if (this.#decided) return
    this.#deadline.arm()
    this.#noteWait('admitted')
    // Cancelled, or too late, while it was being journaled.
    if (this.#deadline.aborted) {
      this.#endUnstarted(this.#deadline.signal.reason)
      return
    }
    const attempts = this.#attemptsBefore
    this.#follow(this.#act(attempts).catch((error: unknown) => ({ attempts, error: notStarted(error) })))
  }

  /** It will never have one. */
  ended(reason: unknown): void {
    this.#noteWait('left_queue')
    this.#endUnstarted(reason)
  }

  #endUnstarted(reason: unknown): void {
    const known = toMhvError(reason)
    const error = known.spec.phase === 'before-effect' ? known : endedWhileWaiting(reason)
    this.#follow(Promise.resolve({ attempts: this.#attemptsBefore, error }))
  }

  #begin(attemptsBefore: number): void {
    const { live, metrics } = this.#parts
    this.#attemptsBefore = attemptsBefore
    if (this.run_id !== this.#createdAs) {
      // A run that is opened again keeps the id that it had.
      live.add(this)
      live.remove(this.#createdAs, this)
    }
    metrics.accepted(this.#call.operation.worker.name)
  }

  async #act(attemptsBefore: number): Promise<AttemptOutcome> {
    const { clock } = this.#parts
    if (this.record().status === 'pending') {
      // The target may have gone bad while the run waited: then it ends without having been `running`.
      this.#checkBreaker()
      this.#journal.note({ type: 'started', at: clock.now(), data: {} })
      await this.#journal.start()
    }
    const run = {
      run_id: this.run_id,
      call: this.#call,
      deadline: this.#deadline,
      output: this.#ownOutput(),
      progress: (step: Progress) => this.#progress(step),
      note: (event: Parameters<RunJournal['note']>[0]) => this.#journal.note(event),
      attemptsBefore,
      certaintyBefore: this.#certaintyBefore,
      recovering: (deadline: Deadline | undefined) => {
        this.#recovery = deadline
      },
    }
    this.#acting = run
    return recoverRun(this.#parts, run, await attemptRun(this.#parts, run))
  }

  /** What held it back, for `explain`. */
  #noteWait(type: 'admitted' | 'left_queue'): void {
    if (this.#place.immediate) return
    const { waited_ms, limits } = this.#place.trace()
    this.#journal.note({ type, at: this.#parts.clock.now(), data: { waited_ms, limits } })
  }

  #checkBreaker(): void {
    try {
      breakerOf(this.#parts, this.#call)?.check()
    } catch (error) {
      this.#journal.note(heldBackEvent(this.#parts.clock.now(), toMhvError(error)))
      throw error
    }
  }

  #ownOutput(): RunOutput {
    this.#output ??= outputOf(this.#parts, this.#journal, this.#keptBefore)
    return this.#output
  }

  #progress(step: Progress): void {
    for (const listener of this.#progressListeners ?? []) {
      try {
        listener(step)
      } catch (error) {
        // Whoever watches must not be able to make the run fail.
        this.#parts.log.warn('progress could not be passed on', { run_id: this.run_id, error })
      }
    }
  }

  /** The slot is free and the run is gone from the live ones before anybody is told that it has ended. */
  #follow(outcome: Promise<AttemptOutcome>): void {
    void outcome.then((ended) => {
      // What is given up may yet come to an end of its own.
      if (!this.#decided) this.#decide(ended)
    })
  }

  #decide(outcome: AttemptOutcome): void {
    void this.#toEnd(outcome)
      .catch((error: unknown) => {
        this.#parts.log.error('a run ended without its end in the journal', { run_id: this.run_id, error })
        return this.record()
      })
      .then((record) => {
        try {
          measure(this.#parts, record, this.#calledAt)
        } finally {
          // Whatever becomes of the numbers, the slot is given back.
          this.#finish(record)
        }
      })
  }

  async #toEnd(outcome: AttemptOutcome): Promise<RunRecord> {
    const end = endOf(this.#parts, this.#call, this.#withBefore(outcome), this.#deadline.signal)
    this.#decided = true
    this.#journal.note(finishedEvent(end))
    const record = await this.#journal.finish(end, async () => this.#output?.flush(), this.#givingUp)
    if (this.#acting !== undefined) await settleRun(this.#parts, this.#acting)
    return record
  }

  /** An end without an attempt says nothing about what the attempts before have done. */
  #withBefore(outcome: AttemptOutcome): AttemptOutcome {
    const { error, certainty } = outcome
    if (error === undefined || certainty !== undefined) return outcome
    return { ...outcome, certainty: together(this.#certaintyBefore, certaintyOf(error.code)) }
  }

  #finish(record: RunRecord): void {
    this.#over = true
    this.#deadline.clear()
    this.#place.release()
    this.#parts.live.remove(this.run_id, this)
    this.#tell(record)
  }

  #tell(record: RunRecord): void {
    this.#done?.resolve(record)
    const listeners = this.#endListeners
    this.#endListeners = undefined
    for (const listener of listeners ?? []) listener(record)
  }
}

const nothing = () => undefined

function outputOf(parts: RuntimeParts, journal: RunJournal, keptBefore: KeptOutput | undefined): RunOutput {
  const { runs } = parts.environment
  return createRunOutput({
    run_id: () => journal.record().run_id,
    store: parts.store,
    redactor: parts.redactor,
    limits: { head: runs.output_head_bytes, tail: runs.output_tail_bytes, text: runs.text_bytes },
    after: (ms, act) => parts.clock.after(ms, act),
    journaled: () => journal.journaled(),
    ...(keptBefore === undefined ? {} : { keptBefore }),
  })
}

/** Calls back once when it is aborted, or is already; the returned function ends the listening. */
function whenAborted(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal === undefined) return nothing
  if (signal.aborted) act()
  else signal.addEventListener('abort', act, { once: true })
  return () => signal.removeEventListener('abort', act)
}
