/** What can happen to a run, in the order of its own event log. */
export const RUN_EVENT_TYPES = [
  'accepted',
  'queued',
  'admitted',
  'left_queue',
  'started',
  'attempt_failed',
  'retry',
  'retry_denied',
  'breaker',
  'fallback',
  'compensated',
  'notified',
  'progress',
  'cancel_requested',
  'caller_left',
  'reopened',
  'attached',
  'reconciled',
  'resumed',
  'finished',
] as const
export type RunEventType = (typeof RUN_EVENT_TYPES)[number]

export interface NewRunEvent {
  readonly type: RunEventType
  /** Milliseconds since the epoch. */
  readonly at: number
  /** JSON facts, already redacted. */
  readonly data: Readonly<Record<string, unknown>>
}

export interface RunEvent extends NewRunEvent {
  readonly run_id: string
  /** 1 for the first event of a run; rises by one. */
  readonly seq: number
}
