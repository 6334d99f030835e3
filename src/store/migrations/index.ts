import { journal } from './0001-journal.ts'
import { resilience } from './0002-resilience.ts'
import { batches } from './0003-batches.ts'
import { records } from './0004-records.ts'

export interface Migration {
  /** The format that the journal has afterwards. */
  readonly format: number
  readonly sql: string
}

/** Every migration, in order; the last one's format is JOURNAL_FORMAT. One that was released is never changed. */
export const MIGRATIONS: readonly Migration[] = [journal, resilience, batches, records]
