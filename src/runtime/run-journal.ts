import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import { MhvError, mhvError } from '../core/errors.ts'
import type { NewRunEvent } from '../core/events.ts'
import { isFinal } from '../core/result.ts'
import type { CreateOutcome, IdempotencyClaim, RunEnd, RunFacts, RunRecord, Store } from '../store/store.ts'

/** Pause between two tries to write how a run ended, in milliseconds. */
const RETRY_END_MS = 1_000

/**
 * The journal's view of one run. Writes and destroys are opened before they act; a read is written once, with its end,
 * unless somebody needs its handle earlier.
 */
export interface RunJournal {
  record(): RunRecord
  /** Whether the run is in the journal, or on its way there. */
  journaled(): boolean
  /** Writes the run as `pending` or `running`, or at once with its end. A try that failed may be made again. */
  open(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome>
  /** `pending` to `running`. */
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

export function createRunJournal(
  parts: { readonly store: Store; readonly clock: Clock; readonly log: Logger },
  facts: RunFacts,
  idempotency: IdempotencyClaim | undefined,
): RunJournal {
  const { store, clock, log } = parts
  let record: RunRecord = { ...facts, status: 'pending', started_at: null, end: null }
  let events: NewRunEvent[] = []
  let opening: Promise<CreateOutcome> | undefined
  let opened = false

  /** Hands the events to a write; they come back when it fails. */
  async function withEvents<T>(write: (events: readonly NewRunEvent[]) => Promise<T>): Promise<T> {
    const taken = events
    events = []
    try {
      return await write(taken)
    } catch (error) {
      events = [...taken, ...events]
      throw error
    }
  }

  async function create(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome> {
    const outcome = await withEvents((taken) =>
      store.createRun({
        facts,
        status: end?.status ?? status,
        started_at: status === 'running' ? (record.started_at ?? clock.now()) : null,
        ...(end === undefined ? {} : { end }),
        events: taken,
        ...(idempotency === undefined ? {} : { idempotency }),
      }),
    )
    if (outcome.kind === 'created' || outcome.kind === 'reopened') {
      opened = true
      record = outcome.run
    }
    return outcome
  }

  function open(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome> {
    if (opening !== undefined) return opening
    const created = create(status, end)
    opening = created
    created.catch(() => {
      opening = undefined
    })
    return created
  }

  /** Waits while its handle is on its way to the journal. What is checked right after this cannot change meanwhile. */
  async function notOpening(): Promise<void> {
    while (opening !== undefined && !opened) await opening.catch(() => undefined)
  }

  /** Null where the run is in another status than it should be. */
  function change(to: RunRecord['status'], started_at: number | undefined, end?: RunEnd): Promise<RunRecord | null> {
    return withEvents((taken) =>
      store.changeRun({
        run_id: record.run_id,
        from: end === undefined ? ['pending'] : ['pending', 'running'],
        to,
        ...(started_at === undefined ? {} : { started_at }),
        ...(end === undefined ? {} : { end }),
        events: taken,
      }),
    )
  }

  async function changeToEnd(end: RunEnd): Promise<void> {
    if (isFinal(record.status)) return
    // A try before this one may have been written although it was reported as failed: the journal is the truth.
    const changed = (await change(end.status, undefined, end)) ?? (await store.getRun(record.run_id))
    if (changed === null || !isFinal(changed.status)) throw wrongStatus(record)
    record = changed
  }

  async function writeEnd(end: RunEnd, alongside: () => Promise<void>): Promise<void> {
    await notOpening()
    // Calls of one tick are committed together.
    await allDone(
      opened
        ? [changeToEnd(end), alongside()]
        : [open(record.started_at === null ? 'pending' : 'running', end), alongside()],
    )
  }

  return {
    record: () => record,
    journaled: () => opening !== undefined,
    open,
    async start() {
      const started_at = clock.now()
      await notOpening()
      const started = opened
        ? await change('running', started_at)
        : { ...record, status: 'running' as const, started_at }
      if (started === null) throw wrongStatus(record)
      record = started
    },
    async ensure() {
      await open(record.started_at === null ? 'pending' : 'running')
    },
    note: (event) => void events.push(event),
    tell(event) {
      events.push(event)
      if (!opened || isFinal(record.status)) return
      // Those that could not be written now are written with the next change.
      withEvents((taken) => store.appendEvents(record.run_id, taken)).catch((error: unknown) => {
        log.warn('an event of a run could not be journaled yet', { run_id: record.run_id, error })
      })
    },
    async finish(end, alongside, givingUp) {
      for (;;) {
        try {
          await writeEnd(end, alongside)
          return record
        } catch (error) {
          log.error('the end of a run could not be journaled yet', { run_id: record.run_id, error })
          if (givingUp.aborted || !mayPass(error)) throw error
          await clock.sleep(RETRY_END_MS, givingUp)
        }
      }
    },
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
