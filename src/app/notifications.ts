import type { Notifier } from '../core/notifier.ts'
import { createDelivery } from '../notifications/delivery.ts'
import type { NotificationSettings } from '../notifications/destination.ts'
import { createNotifier } from '../notifications/notifier.ts'
import type { RuntimeParts } from '../runtime/runtime.ts'
import { observeNotifications } from '../telemetry/resilience-metrics.ts'

/** How long deliveries under way get when the instance is closed; what is left goes at the next start. */
const CLOSE_MS = 2_000

export interface Notifications extends Notifier {
  /** Delivers what an earlier process has left. */
  begin(): void
  close(): Promise<void>
}

/** The notifier of an instance: everything in the log, and through the outbox to the destinations of the settings. */
export function createNotifications(
  parts: Pick<RuntimeParts, 'store' | 'secrets' | 'clock' | 'log' | 'redactor' | 'metrics'>,
  settings: NotificationSettings,
): Notifications {
  const { store, log, redactor, metrics } = parts
  const count = observeNotifications(metrics.registry)
  const common = { ...parts, outbox: store, settings, redact: redactor.deep, count }
  const delivery = createDelivery(common)
  const notifier = createNotifier({ ...common, onQueued: delivery.wake })
  return {
    notify(notification) {
      const { title, ...rest } = notification
      log.warn(title, rest)
      notifier.notify(notification)
    },
    begin: delivery.wake,
    async close() {
      await notifier.settled()
      await delivery.close(CLOSE_MS)
    },
  }
}
