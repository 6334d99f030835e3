/** What the notifier needs of the journal's outbox, which keeps entries in order per destination until they are done. */
export interface Outbox {
  /** False where an entry of the destination that still waits has the same dedupe key. */
  enqueueOutbox(entry: {
    readonly id: string
    readonly destination: string
    readonly kind: string
    readonly payload: unknown
    readonly at: number
    readonly dedupe_key: string | null
  }): Promise<boolean>
  /** Of each destination the first entry, if its time has come. */
  dueOutbox(now: number, limit: number): Promise<readonly OutboxItem[]>
  outboxDone(id: string): Promise<boolean>
  outboxFailed(
    id: string,
    failure: { readonly attempts: number; readonly next_at: number; readonly error: string },
  ): Promise<boolean>
  outboxStats(): Promise<{ readonly by_destination: Readonly<Record<string, number>> }>
}

export interface OutboxItem {
  readonly id: string
  readonly destination: string
  readonly kind: string
  readonly payload: unknown
  /** When it was put there, milliseconds since the epoch. */
  readonly at: number
  /** Deliveries that failed. */
  readonly attempts: number
}

/** What becomes of notifications, for the metrics. */
export const NOTIFICATION_OUTCOMES = [
  'queued',
  'duplicate',
  'rate_limited',
  'outbox_full',
  'lost',
  'delivered',
  'failed',
  'given_up',
] as const
export type NotificationOutcome = (typeof NOTIFICATION_OUTCOMES)[number]
