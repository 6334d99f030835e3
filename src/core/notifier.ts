/** How much it matters, least first. */
export const NOTIFICATION_SEVERITIES = ['info', 'warning', 'critical'] as const
export type NotificationSeverity = (typeof NOTIFICATION_SEVERITIES)[number]

/** Something that somebody should hear of. Everything in it is redacted before it leaves the process. */
export interface Notification {
  /** What it is about, for filters: `run_failed`, … Lower case with underscores. */
  readonly kind: string
  readonly severity: NotificationSeverity
  /** One line. */
  readonly title: string
  readonly body: string
  /** JSON facts for programs. */
  readonly facts: Readonly<Record<string, unknown>>
  /** What is told under one key is told once for a while. */
  readonly dedupe_key: string
}

/** Where notifications go. Returns at once: what becomes of one is the notifier's own affair. Never throws. */
export interface Notifier {
  notify(notification: Notification): void
}
