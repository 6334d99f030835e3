/**
 * The outbox: what has to reach another system, at least once and in order per destination. A row stays until its
 * delivery is confirmed or given up. Times are milliseconds since the epoch.
 */

export interface NewOutboxEntry {
  /** ULID: gives the order within a destination. */
  readonly id: string
  /** Name of a destination in the settings. */
  readonly destination: string
  readonly kind: string
  /** JSON, already redacted. */
  readonly payload: unknown
  /** When it was put here, and may go first. */
  readonly at: number
  /** Where an entry of the same destination that still waits has the same key, this one is not taken. */
  readonly dedupe_key: string | null
}

export interface OutboxEntry extends NewOutboxEntry {
  /** Deliveries that failed. */
  readonly attempts: number
  /** When it is tried next. */
  readonly next_at: number
  /** Of the last try. */
  readonly error: string | null
}

export interface OutboxFailure {
  readonly attempts: number
  readonly next_at: number
  readonly error: string
}

export interface OutboxStats {
  readonly waiting: number
  readonly by_destination: Readonly<Record<string, number>>
  /** `at` of the oldest entry. */
  readonly oldest_at: number | null
  readonly bytes: number
}

/** The part of the journal's port that is about the outbox. */
export interface OutboxStore {
  /** Whether it was taken: false where one with its dedupe key waits already. */
  enqueueOutbox(entry: NewOutboxEntry): Promise<boolean>
  /**
   * Entries to deliver now: of each destination the first one only, if its time has come, so that order holds. The
   * longest due first.
   */
  dueOutbox(now: number, limit: number): Promise<readonly OutboxEntry[]>
  /** Delivered, or given up: removes it. Whether it was there. */
  outboxDone(id: string): Promise<boolean>
  /** Whether it was there. */
  outboxFailed(id: string, failure: OutboxFailure): Promise<boolean>
  outboxStats(): Promise<OutboxStats>
}
