import type { Notification } from '../core/notifier.ts'
import { plainJson } from '../core/plain-json.ts'
import { cutText } from '../core/utf8.ts'

/** What a destination gets, as JSON: `type`, `timestamp` and `data`, as Standard Webhooks recommends. */
export interface NotificationPayload {
  readonly type: string
  /** When it was told, ISO 8601. */
  readonly timestamp: string
  readonly data: {
    readonly severity: string
    readonly title: string
    readonly body: string
    readonly facts: Readonly<Record<string, unknown>>
    /** Notifications to this destination that were left out since the last one, for coming too fast. */
    readonly left_out: number
  }
}

const MAX_KIND_BYTES = 100
const MAX_TITLE_BYTES = 200
const MAX_BODY_BYTES = 4 * 1024
/** Of all facts together, as JSON. Standard Webhooks recommends less than 20 kB in all. */
const MAX_FACTS_BYTES = 12 * 1024

/** The notification, masked and bounded. */
export function payloadOf(
  notification: Notification,
  { at, left_out, redact }: { readonly at: number; readonly left_out: number; redact<T>(value: T): T },
): NotificationPayload {
  const { kind, severity, title, body, facts } = notification
  const oneLine = redact(title).replace(/\s+/g, ' ').trim()
  return {
    type: cutText(kind, MAX_KIND_BYTES),
    timestamp: new Date(at).toISOString(),
    data: {
      severity,
      title: cutText(oneLine, MAX_TITLE_BYTES),
      body: cutText(redact(body), MAX_BODY_BYTES),
      facts: boundedFacts(redact(plainJson(facts))),
      left_out,
    },
  }
}

/** Facts are left out from the last on until the rest fits. */
function boundedFacts(facts: unknown): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  let room = MAX_FACTS_BYTES
  let left = 0
  for (const [name, value] of Object.entries((facts ?? {}) as Record<string, unknown>)) {
    room -= Buffer.byteLength(JSON.stringify([name, value]))
    if (room >= 0) kept[name] = value
    else left += 1
  }
  return left === 0 ? kept : { ...kept, facts_left_out: left }
}
