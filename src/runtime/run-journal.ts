import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import { MhvError, mhvError } from '../core/errors.ts'
import type { NewRunEvent } from '../core/events.ts'
import { isFinal } from '../core/result.ts'
import type { NewDeadLetter } from '../store/dead-letter.ts'
import type { CreateOutcome, IdempotencyClaim, RunEnd, RunFacts, RunRecord, Store } from '../store/store.ts'

/** Pause between two tries to write how a run ended, in milliseconds. */
const RETRY_END_MS = 1_000

/**
 * The journal's view of one run. Writes and destroys are opened before they act: at the latest by `start`. A read is
 * written once, with its end, unless somebody needs its handle earlier.
 */
export interface RunJournal {
  record(): RunRecord
  /** Whether the run is in the journal, or on its way there. */
  journaled(): boolean
  /** Writes the run as `pending` or `running`, or at once with its end. A try that failed may be made again. */
  open(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome>
  /** `pending` to `running`, which is in the journal when this resolves, unless the run only reads and is not there. */
  start(): Promise<void>
  ensure(): Promise<void>
  /** Adds an event; written with the next change. */
  note(event: NewRunEvent): void
  /** Adds an event that is to be seen while the run goes on: written at once where the run is in the journal. */
  tell(event: NewRunEvent): void
  /**
   * Writes how the run ended, with `alongside` in the same commit, and tries again until it is there: what acted must
   * not be lost for want of room. Gives up when `givingUp` is aborted; the next start then finds the run cut off.
   */
  finish(end: RunEnd, alongside: () => Promise<void>, givingUp: AbortSignal): Promise<RunRecord>
}

interface JournalParts {
  readonly store: Store
  readonly clock: Clock
  readonly log: Logger
}

/** The dead letter that is written with an end. */
type LetterOf = (run: RunFacts, end: RunEnd) => NewDeadLetter | undefined

export function createRunJournal(
  parts: JournalParts,
  facts: RunFacts,
  idempotency: IdempotencyClaim | undefined,
  letterOf: LetterOf = () => undefined,
): RunJournal {
  return new JournalOfRun(parts, facts, idempotency, letterOf)
}

/** The journal of a run that was there before: taken over from a process that is gone. */
export function adoptedRunJournal(parts: JournalParts, run: RunRecord, letterOf: LetterOf): RunJournal {
  return new JournalOfRun(parts, run, undefined, letterOf, run)
}

const NO_EVENTS: readonly NewRunEvent[] = []

/** A class: there is one for each of the runs that wait, and closures would be most of what it weighs. */
class JournalOfRun implements RunJournal {
  readonly #parts: JournalParts
  readonly #idempotency: IdempotencyClaim | undefined
  readonly #letterOf: LetterOf
  #record: RunRecord
  #events: readonly NewRunEvent[] = NO_EVENTS
  #opening: Promise<CreateOutcome> | undefined
  #opened = false

  constructor(
    parts: JournalParts,
    facts: RunFacts,
    idempotency: IdempotencyClaim | undefined,
    letterOf: LetterOf,
    adopted?: RunRecord,
  ) {
    const { fence } = parts.store
    this.#parts = parts
    this.#idempotency = idempotency
    this.#letterOf = letterOf
    this.#opened = adopted !== undefined
    this.#record = adopted ?? { ...facts, status: 'pending', started_at: null, end: null, fence, dead_letter: null }
  }

  record(): RunRecord {
    return this.#record
  }

  journaled(): boolean {
    return this.#opened || this.#opening !== undefined
  }

  note(event: NewRunEvent): void {
    this.#events = [...this.#events, event]
  }

  tell(event: NewRunEvent): void {
    this.note(event)
    if (!this.#opened || isFinal(this.#record.status)) return
    const { run_id } = this.#record
    // Those that could not be written now are written with the next change.
    this.#withEvents((taken) => this.#parts.store.appendEvents(run_id, taken)).catch((error: unknown) => {
      this.#parts.log.warn('an event of a run could not be journaled yet', { run_id, error })
    })
  }

  open(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome> {
    if (this.#opening !== undefined) return this.#opening
    const created = this.#create(status, end)
    this.#opening = created
    const over = () => {
      this.#opening = undefined
    }
    created.then(over, over)
    return created
  }

  async start(): Promise<void> {
    const started_at = this.#parts.clock.now()
    await this.#notOpening()
    if (!this.#opened && this.#record.effect !== 'read') {
      await this.open('running')
      return
    }
    const started = this.#opened
      ? await this.#change('running', started_at)
      : { ...this.#record, status: 'running' as const, started_at }
    if (started === null) throw wrongStatus(this.#record)
    this.#record = started
  }

  async ensure(): Promise<void> {
    if (!this.#opened) await this.open(this.#record.started_at === null ? 'pending' : 'running')
  }

  async finish(end: RunEnd, alongside: () => Promise<void>, givingUp: AbortSignal): Promise<RunRecord> {
    const { log, clock } = this.#parts
    for (;;) {
      try {
        await this.#writeEnd(end, alongside)
        return this.#record
      } catch (error) {
        log.error('the end of a run could not be journaled yet', { run_id: this.#record.run_id, error })
        if (givingUp.aborted || !mayPass(error)) throw error
        await clock.sleep(RETRY_END_MS, givingUp)
      }
    }
  }

  /** Hands the events to a write; they come back when it fails. */
  async #withEvents<T>(write: (events: readonly NewRunEvent[]) => Promise<T>): Promise<T> {
    const taken = this.#events
    this.#events = NO_EVENTS
    try {
      return await write(taken)
    } catch (error) {
      this.#events = [...taken, ...this.#events]
      throw error
    }
  }

  #endWithLetter(end: RunEnd) {
    const dead_letter = this.#letterOf(this.#record, end)
    return dead_letter === undefined ? { end } : { end, dead_letter }
  }

  async #create(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome> {
    const { store, clock } = this.#parts
    // With the facts in it as they were given: picking them out takes longer than writing them.
    const facts = this.#record
    const { started_at } = facts
    const outcome = await this.#withEvents((taken) =>
      store.createRun({
        facts,
        status: end?.status ?? status,
        started_at: status === 'running' ? (started_at ?? clock.now()) : null,
        ...(end === undefined ? {} : this.#endWithLetter(end)),
        events: taken,
        ...(this.#idempotency === undefined ? {} : { idempotency: this.#idempotency }),
      }),
    )
    if (outcome.kind === 'created' || outcome.kind === 'reopened') {
      this.#opened = true
      this.#record = outcome.run
    }
    return outcome
  }

  /** Waits while its handle is on its way to the journal. What is checked right after this cannot change meanwhile. */
  async #notOpening(): Promise<void> {
    while (this.#opening !== undefined && !this.#opened) await this.#opening.catch(() => undefined)
  }

  /** Null where the run is in another status than it should be. */
  #change(to: RunRecord['status'], started_at: number | undefined, end?: RunEnd): Promise<RunRecord | null> {
    return this.#withEvents((taken) =>
      this.#parts.store.changeRun({
        run_id: this.#record.run_id,
        from: end === undefined ? ['pending'] : ['pending', 'running'],
        to,
        ...(started_at === undefined ? {} : { started_at }),
        ...(end === undefined ? {} : this.#endWithLetter(end)),
        events: taken,
      }),
    )
  }

  async #changeToEnd(end: RunEnd): Promise<void> {
    if (isFinal(this.#record.status)) return
    const { run_id } = this.#record
    // A try before this one may have been written although it was reported as failed: the journal is the truth.
    const changed = (await this.#change(end.status, undefined, end)) ?? (await this.#parts.store.getRun(run_id))
    if (changed === null || !isFinal(changed.status)) throw wrongStatus(this.#record)
    this.#record = changed
  }

  async #writeEnd(end: RunEnd, alongside: () => Promise<void>): Promise<void> {
    await this.#notOpening()
    // Calls of one tick are committed together.
    await allDone(
      this.#opened
        ? [this.#changeToEnd(end), alongside()]
        : [this.open(this.#record.started_at === null ? 'pending' : 'running', end), alongside()],
    )
  }
}

/** Whether the journal may take the same write later. */
function mayPass(error: unknown): boolean {
  return error instanceof MhvError && error.spec.retryable
}

function wrongStatus({ run_id }: RunRecord): MhvError {
  return mhvError('MHV_INTERNAL', `the journal has run ${run_id} in another status`)
}

/** Waits for all of them, also when one fails: what is still being written must not be written again beside it. */
async function allDone(writes: readonly Promise<unknown>[]): Promise<void> {
  const settled = await Promise.allSettled(writes)
  const failed = settled.find((each) => each.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
