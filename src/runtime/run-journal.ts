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
  journaled(): boolean
  /** Writes the run as `pending` or `running`, or at once with its end. */
  open(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome>
  /** `pending` to `running`. */
  start(): Promise<void>
  ensure(): Promise<void>
  /** Adds an event; written with the next change. */
  note(event: NewRunEvent): void
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

  const takeEvents = () => {
    const taken = events
    events = []
    return taken
  }

  function open(status: 'pending' | 'running', end?: RunEnd): Promise<CreateOutcome> {
    const started_at = status === 'running' ? (record.started_at ?? clock.now()) : null
    opening ??= store
      .createRun({
        facts,
        status: end?.status ?? status,
        started_at,
        ...(end === undefined ? {} : { end }),
        events: takeEvents(),
        ...(idempotency === undefined ? {} : { idempotency }),
      })
      .then((outcome) => {
        opened = true
        record = outcome.run
        return outcome
      })
    return opening
  }

  async function change(to: RunRecord['status'], end?: RunEnd): Promise<void> {
    const taken = takeEvents()
    const changed = await store
      .changeRun({
        run_id: record.run_id,
        from: to === 'running' ? ['pending'] : ['pending', 'running'],
        to,
        ...(to === 'running' ? { started_at: record.started_at ?? clock.now() } : {}),
        ...(end === undefined ? {} : { end }),
        events: taken,
      })
      .catch((error: unknown) => {
        events = [...taken, ...events]
        throw error
      })
    if (changed === null) throw mhvError('MHV_INTERNAL', `the journal has run ${record.run_id} in another status`)
    record = changed
  }

  async function writeEnd(end: RunEnd, alongside: () => Promise<void>): Promise<void> {
    // Calls of one tick are committed together.
    if (opening === undefined) {
      const created = open('running', end).catch((error: unknown) => {
        opening = undefined
        throw error
      })
      await Promise.all([created, alongside()])
      return
    }
    if (!opened) await opening
    await Promise.all([alongside(), isFinal(record.status) ? undefined : change(end.status, end)])
  }

  return {
    record: () => record,
    journaled: () => opening !== undefined,
    open,
    async start() {
      record = { ...record, status: 'running', started_at: clock.now() }
      if (opening !== undefined) await change('running')
    },
    async ensure() {
      await open(record.started_at === null ? 'pending' : 'running')
    },
    note: (event) => void events.push(event),
    async finish(end, alongside, givingUp) {
      for (;;) {
        try {
          await writeEnd(end, alongside)
          return record
        } catch (error) {
          log.error('the end of a run could not be journaled yet', { run_id: record.run_id, error: String(error) })
          if (givingUp.aborted || (error instanceof MhvError && error.code === 'MHV_INTERNAL')) throw error
          await clock.sleep(RETRY_END_MS, givingUp)
        }
      }
    },
  }
}
