import type { SecretReference } from '../core/context.ts'
import { NOTIFICATION_SEVERITIES, type Notification, type NotificationSeverity } from '../core/notifier.ts'

/** What every destination has. */
interface AnyDestination {
  /** Only what is at least so severe. */
  readonly least_severity: NotificationSeverity
  /** Only these kinds; empty: all of them. */
  readonly kinds: readonly string[]
  /** Longest time of one delivery, in seconds. */
  readonly timeout_seconds: number
}

/** An HTTP server that is posted to, signed as Standard Webhooks has it. */
export interface WebhookDestination extends AnyDestination {
  /** https, or http to this machine. */
  readonly webhook: string
  /** Of the form `whsec_` and base64. */
  readonly secret: SecretReference
  readonly headers: Readonly<Record<string, string>>
}

/** A program of this machine that gets the notification on its standard input. */
export interface CommandDestination extends AnyDestination {
  readonly command: readonly string[]
}

export type Destination = WebhookDestination | CommandDestination
export type Destinations = Readonly<Record<string, Destination>>

/** Settings of the notifier: one immutable generation. */
export interface NotificationSettings {
  readonly destinations: Destinations
  /** The same `dedupe_key` is not told again for so long. */
  readonly dedupe_seconds: number
  /** Notifications of one destination per minute; what is more is left out and counted. */
  readonly rate_per_minute: number
  /** Notifications that may wait in the outbox for one destination. */
  readonly max_waiting: number
  /** Deliveries that are tried of one notification. */
  readonly max_attempts: number
  readonly retry: { readonly base_ms: number; readonly cap_ms: number }
}

export function isWebhook(destination: Destination): destination is WebhookDestination {
  return 'webhook' in destination
}

/** Whether a destination asks for such a notification. */
export function wants(destination: Destination, { kind, severity }: Pick<Notification, 'kind' | 'severity'>): boolean {
  const { kinds, least_severity } = destination
  if (NOTIFICATION_SEVERITIES.indexOf(severity) < NOTIFICATION_SEVERITIES.indexOf(least_severity)) return false
  return kinds.length === 0 || kinds.includes(kind)
}

/** In the outbox, what is ours: other senders have other prefixes. */
const PREFIX = 'notify:'

export function outboxName(destination: string): string {
  return PREFIX + destination
}

/** The destination of an outbox entry, or undefined where another sender has put it there. */
export function destinationOf(outboxDestination: string): string | undefined {
  return outboxDestination.startsWith(PREFIX) ? outboxDestination.slice(PREFIX.length) : undefined
}
