import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import { newId } from '../core/ids.ts'
import type { Notification, Notifier } from '../core/notifier.ts'
import { type Destination, type NotificationSettings, outboxName, wants } from './destination.ts'
import type { NotificationOutcome, Outbox } from './outbox.ts'
import { payloadOf } from './payload.ts'
import { createDedupeWindow, createRateLimit, type RateLimit } from './throttle.ts'

export interface NotifierParts {
  readonly outbox: Outbox
  readonly settings: NotificationSettings
  readonly clock: Clock
  readonly log: Logger
  redact<T>(value: T): T
  /** Told what becomes of each notification at each destination. */
  count(outcome: NotificationOutcome, destination: string): void
  /** Called when there is something to deliver. */
  onQueued(): void
}

export interface OutboxNotifier extends Notifier {
  /** Fulfilled when what was told so far is in the outbox, or was logged as lost. */
  settled(): Promise<void>
}

interface Place {
  readonly name: string
  readonly destination: Destination
  readonly rate: RateLimit
}

/**
 * Puts what is told into the outbox of every destination that wants it: once per window and key, no faster than its
 * rate, and not without end while it is down. What is left out is logged and counted.
 */
export function createNotifier(parts: NotifierParts): OutboxNotifier {
  const { settings, clock, log, outbox } = parts
  const window = createDedupeWindow(clock, settings.dedupe_seconds)
  const places: readonly Place[] = Object.entries(settings.destinations).map(([name, destination]) => ({
    name,
    destination,
    rate: createRateLimit(clock, settings.rate_per_minute),
  }))
  const pending = new Set<Promise<void>>()

  async function tell(notification: Notification): Promise<void> {
    const wanted = places.filter(({ destination }) => wants(destination, notification))
    if (wanted.length === 0) return
    if (!window.first(notification.dedupe_key)) {
      for (const { name } of wanted) parts.count('duplicate', name)
      return
    }
    const outcomes = await Promise.all(wanted.map((place) => put(place, notification)))
    // Nobody has heard of it, so the next one under its key is told.
    if (!outcomes.includes('queued')) window.forget(notification.dedupe_key)
    else parts.onQueued()
  }

  async function put(place: Place, notification: Notification): Promise<NotificationOutcome> {
    const outcome = await tryToPut(place, notification).catch((error: unknown): NotificationOutcome => {
      log.error('a notification is lost: the journal did not take it', factsOf(place, notification, { error }))
      return 'lost'
    })
    parts.count(outcome, place.name)
    if (outcome === 'rate_limited' || outcome === 'outbox_full') {
      log.warn('a notification was left out', factsOf(place, notification, { why: outcome }))
    }
    return outcome
  }

  async function tryToPut({ name, rate }: Place, notification: Notification): Promise<NotificationOutcome> {
    const destination = outboxName(name)
    if (!rate.take()) return 'rate_limited'
    const left_out = rate.refused()
    const { by_destination } = await outbox.outboxStats()
    if ((by_destination[destination] ?? 0) >= settings.max_waiting) return 'outbox_full'
    const at = clock.now()
    const taken = await outbox.enqueueOutbox({
      id: newId(clock),
      destination,
      kind: notification.kind,
      payload: payloadOf(notification, { at, left_out, redact: parts.redact }),
      at,
      dedupe_key: parts.redact(notification.dedupe_key),
    })
    return taken ? 'queued' : 'duplicate'
  }

  return {
    notify(notification) {
      const told = tell(notification)
        .catch((error: unknown) => log.error('a notification could not be told', { kind: notification.kind, error }))
        .finally(() => pending.delete(told))
      pending.add(told)
    },
    async settled() {
      await Promise.all(pending)
    },
  }
}

function factsOf({ name }: Place, { kind, title }: Notification, more: Readonly<Record<string, unknown>>) {
  return { destination: name, kind, title, ...more }
}
