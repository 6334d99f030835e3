import type { MhvError } from '../../../core/errors.ts'
import type { BrokerCall, OutgoingMessage, PublishAck } from '../client/mqtt-session.ts'

/**
 * The durable outbox of a target. A QoS 1 or 2 message is on disk before it is accepted, is sent at least once, and goes
 * only when the broker has acknowledged it, it has expired, or a policy or an operator has dropped it. Every one of
 * these ends is counted with the removal, in one transaction.
 *
 * Order: messages of one topic are first delivered in the order in which they were accepted, over every reconnect and
 * restart. Between topics there is no order.
 */

export const OVERFLOW_POLICIES = ['reject', 'drop_oldest'] as const
/**
 * What happens to a message for which there is no room: `reject` refuses the call; `drop_oldest` drops the oldest
 * messages of that kind, and refuses where there are none left to drop.
 */
export type OverflowPolicy = (typeof OVERFLOW_POLICIES)[number]

/** A message to be held. Its topic and size were checked. */
export interface OutboxMessage extends Omit<OutgoingMessage, 'qos' | 'expiry_seconds'> {
  readonly qos: 1 | 2
  readonly overflow: OverflowPolicy
  /** Milliseconds since the epoch after which it is not sent any more; null: never. */
  readonly expires_at: number | null
}

export type MessageOutcome =
  /** On disk, not acknowledged yet. */
  | { readonly state: 'accepted' }
  | { readonly state: 'delivered'; readonly ack: PublishAck }
  /** The broker, or a check on the way to it, refused this message for good. */
  | { readonly state: 'refused'; readonly error: MhvError }
  /** Its time was over before it could be sent. */
  | { readonly state: 'expired' }
  /** Gave way to newer ones (`drop_oldest`), or was dropped by an operator. */
  | { readonly state: 'dropped' }

/** Messages that were accepted together. */
export interface AcceptedMessages {
  /** Message ids, in the order in which the messages were given. */
  readonly ids: readonly string[]
  /** What is known now, in the same order. */
  outcomes(): readonly MessageOutcome[]
  /** Fulfilled when no outcome is `accepted` any more. Never rejects. */
  readonly settled: Promise<void>
}

/** All numbers count messages since the outbox was made. `accepted` is the sum of those below it and of `waiting`. */
export interface OutboxCounts {
  readonly accepted: number
  readonly delivered: number
  readonly refused: number
  readonly expired: number
  /** By `drop_oldest`. */
  readonly dropped: number
  /** By an operator. */
  readonly removed: number
  /** Never accepted: there was no room. */
  readonly rejected: number
}

export interface OutboxStatus extends OutboxCounts {
  readonly waiting: number
  readonly in_flight: number
  readonly bytes: number
  readonly max_size: number
  readonly max_bytes: number
  /** Waiting messages that are sent at `replay_rate` after a reconnect. */
  readonly replaying: number
  /** Milliseconds since the epoch; null where nothing waits. */
  readonly oldest_at: number | null
  /** Sends that failed with the connection and were, or will be, repeated. */
  readonly resent: number
}

/** A held message as an operator sees it. */
export interface HeldMessage {
  readonly id: string
  readonly seq: number
  readonly topic: string
  readonly qos: 1 | 2
  readonly retain: boolean
  readonly bytes: number
  readonly overflow: OverflowPolicy
  readonly accepted_at: number
  readonly expires_at: number | null
  readonly in_flight: boolean
  readonly sends: number
  readonly payload: Uint8Array
}

export interface Outbox {
  /**
   * Holds all of the messages, or none. Resolves when they are on disk; from then on they are sent by themselves.
   *
   * Throws MHV_MQTT_OUTBOX_FULL, or what the journal throws: then none of them is held.
   */
  accept(messages: readonly OutboxMessage[]): Promise<AcceptedMessages>
  status(): OutboxStatus
  /** In the order of their acceptance, those with a greater `seq` than `after`. */
  held(after: number, limit: number): readonly HeldMessage[]
  /**
   * Drops messages by an operator's wish; resolves when they are gone from the disk. One in flight goes too, and may
   * arrive all the same: `in_flight` counts those.
   */
  drop(ids: readonly string[]): Promise<{ readonly dropped: number; readonly in_flight: number }>
}

/** The outboxes of all targets of the worker. */
export interface Outboxes {
  /** The outbox of a target; `call` says how its broker is reached. */
  of(target: string, call: BrokerCall): Outbox
  /** The outboxes that there are, by target. */
  all(): ReadonlyMap<string, Outbox>
  /** Writes down what is known, and ends; what is held stays on disk. */
  close(): Promise<void>
}
