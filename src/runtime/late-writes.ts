import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import { isFinal } from '../core/result.ts'
import type { RunJournal } from './run-journal.ts'

/** How long a run waits for its slot, at least, before it is journaled for that alone; at most twice as long. */
const LATE_MS = 1_000

/**
 * Runs that wait for their slot and are not in the journal: most get it within a moment, and are then written once, as
 * `running`. Those that wait for longer are written as `pending`, so that whoever looks sees what waits.
 */
export interface LateWrites {
  add(journal: RunJournal): void
}

/** One timer for all of them, and only while there are any. */
export function createLateWrites({ clock, log }: { readonly clock: Clock; readonly log: Logger }): LateWrites {
  let older: RunJournal[] = []
  let newer: RunJournal[] = []
  let armed = false

  function write(journal: RunJournal): void {
    const { run_id, status, started_at } = journal.record()
    if (journal.journaled() || started_at !== null || isFinal(status)) return
    journal.ensure().catch((error: unknown) => {
      // It is tried again before it acts.
      log.warn('a run that waits could not be journaled yet', { run_id, error })
    })
  }

  function arm(): void {
    armed = older.length + newer.length > 0
    if (armed) clock.after(LATE_MS, sweep)
  }

  function sweep(): void {
    for (const journal of older) write(journal)
    older = newer
    newer = []
    arm()
  }

  return {
    add(journal) {
      newer.push(journal)
      if (!armed) arm()
    },
  }
}
