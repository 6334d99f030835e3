import type { NewRecord, RecordLimits, RecordQuery, RecordStats, StoredRecord } from '../core/records.ts'

/** The part of the journal's port that is about the records of workers. */
export interface RecordStore {
  /** All of them in one transaction. @throws MHV_INTERNAL for what cannot be stored */
  appendRecords(worker: string, stream: string, records: readonly NewRecord[]): Promise<void>
  listRecords(worker: string, query: RecordQuery): Promise<readonly StoredRecord[]>
  /** How many were removed. */
  retainRecords(worker: string, stream: string, limits: RecordLimits): Promise<number>
  recordStats(worker: string, stream: string): Promise<RecordStats>
}
