import { type MhvError, mhvError } from '../../../core/errors.ts'
import type { OutgoingMessage, PublishAck } from '../client/mqtt-session.ts'
import type { PublishOutcome } from '../outbox/publish-held.ts'
import type { PublishData } from './publish.ts'

/** Failures that the error of a batch lists. */
const SHOWN_FAILURES = 20
/** MQTT 5, 3.4.2.1: No matching subscribers. */
const NO_SUBSCRIBERS = 16

/** Counts what became of the messages of a call; only failures are kept one by one. */
export interface Tally {
  add(message: OutgoingMessage, outcome: PublishOutcome): void
  taken(ack: PublishAck): void
  failed(message: OutgoingMessage, error: MhvError): void
  /** Throws where any message failed: MHV_MQTT_PUBLISH_PARTIAL, or their own error where all did. */
  report(): PublishData
}

export function createTally(messages: readonly OutgoingMessage[]): Tally {
  const counts = { delivered: 0, accepted: 0, sent: 0, no_subscribers: 0 }
  const failures: { readonly message: OutgoingMessage; readonly error: MhvError }[] = []
  let endpoint: string | null = null

  function taken(ack: PublishAck): void {
    if (ack.qos > 0) counts.delivered += 1
    else counts.sent += 1
    if (ack.reason_code === NO_SUBSCRIBERS) counts.no_subscribers += 1
    endpoint ??= ack.endpoint
  }

  /** Places in the call, whichever messages failed first. */
  function failed() {
    const places = new Map(messages.map((message, index) => [message, index]))
    return failures
      .map(({ message, error }) => ({ index: places.get(message) ?? 0, error }))
      .sort((a, b) => a.index - b.index)
  }

  function partial(): MhvError {
    const all = failed()
    const done = messages.length - all.length
    const [first] = all as [(typeof all)[number]]
    if (done === 0) return (all.find(({ error }) => error.spec.phase !== 'before-effect') ?? first).error
    const why = `${all.length} of ${messages.length} messages failed; message ${first.index + 1}: ${first.error.message}`
    const shown = all.slice(0, SHOWN_FAILURES)
    const details = {
      taken: done,
      failed: all.length,
      failures: shown.map(({ index, error }) => ({ index, error_code: error.code, message: error.message })),
    }
    return mhvError('MHV_MQTT_PUBLISH_PARTIAL', why, { details, cause: first.error })
  }

  return {
    add(message, outcome) {
      if (outcome.state === 'taken') taken(outcome.ack)
      else if (outcome.state === 'accepted') counts.accepted += 1
      else failures.push({ message, error: outcome.error })
    },
    taken,
    failed: (message, error) => void failures.push({ message, error }),
    report() {
      if (failures.length > 0) throw partial()
      const { sent, accepted } = counts
      const state = sent > 0 ? 'sent' : accepted > 0 ? 'accepted' : 'delivered'
      return { state, messages: messages.length, ...counts, endpoint }
    },
  }
}
