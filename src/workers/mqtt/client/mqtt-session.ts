import type { SecretResolver } from '../../../core/context.ts'
import type { MhvError } from '../../../core/errors.ts'
import type { WorkerConnection } from '../../../core/worker.ts'
import type { MqttSettings, MqttTarget } from '../settings.ts'
import type { IdentityProblem } from './identity/identity.ts'

/**
 * Terms. A *link* is one network connection to one broker. A *session* is what runs use: one per broker list and
 * identity, over as many links as it takes. An *endpoint* is a broker as it is shown: `mqtt://host:1883`.
 */

/** User property that carries the id of a message: a second message with the same id is marked as a duplicate. */
export const MESSAGE_ID_PROPERTY = 'mhv-message-id'

export const QOS = [0, 1, 2] as const
export type Qos = (typeof QOS)[number]

/** A message to send. Topic and sizes are checked by `publishNow`, whoever made the message. */
export interface OutgoingMessage {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: Qos
  readonly retain: boolean
  /** Seconds after which a broker must not deliver it any more. MQTT 5 only, like all that follows. */
  readonly expiry_seconds?: number
  readonly content_type?: string
  readonly response_topic?: string
  readonly correlation_data?: Uint8Array
  readonly user_properties?: Readonly<Record<string, string | readonly string[]>>
}

/** What the broker said, or for QoS 0: that it was written to the connection, and no more. */
export interface PublishAck {
  readonly qos: Qos
  /** MQTT 5: 0, or 16 when nobody subscribes. 0 with 3.1.1. */
  readonly reason_code: number
  readonly endpoint: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** Told once what became of each message: thousands go with one of these, without a promise for each. Must not throw. */
export interface SendListener {
  acknowledged(ack: PublishAck, message: OutgoingMessage): void
  failed(error: unknown, message: OutgoingMessage): void
}

export interface IncomingMessage {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: Qos
  /** Kept by the broker and sent because of a new subscription. */
  readonly retain: boolean
  /** It has come before, or may have: DUP flag, a known message id, or the same text around a reconnect. */
  readonly duplicate: boolean
  /** Milliseconds since the epoch. */
  readonly received_at: number
  readonly endpoint: string
  readonly content_type?: string
  readonly response_topic?: string
  readonly correlation_data?: Uint8Array
  readonly user_properties?: Readonly<Record<string, string | readonly string[]>>
  /** The payload or the sender is another device than the topic says: only where the settings let it through. */
  readonly identity_problem?: IdentityProblem
}

export interface SubscribeOptions {
  readonly qos: Qos
  /**
   * Called one after the other. A promise is awaited before the next; a QoS 1 or 2 message is acknowledged to the broker
   * only when it is fulfilled, so that a message is not lost by whoever writes it down. A rejection ends the
   * subscription; `closed` then rejects with it.
   */
  onMessage(message: IncomingMessage): void | Promise<void>
  /** Ends the wait for the broker's answer and, later, the subscription. */
  readonly signal: AbortSignal
  /** Whether kept messages come first. Default: true. */
  readonly retained?: boolean
}

export interface Subscription {
  readonly filter: string
  /** What the broker allowed. */
  readonly qos: Qos
  /** QoS 0 messages that were not handed over because the buffer was full. */
  dropped(): number
  /** Ends it; resolves when the broker was told, or cannot be. */
  close(): Promise<void>
  /** Fulfilled when it was closed; rejects with what ended it otherwise. Never unhandled. */
  readonly closed: Promise<void>
}

export type SessionState =
  /** A link is being made. */
  | 'connecting'
  /** A link is up, and all subscriptions are made. */
  | 'connected'
  /** Between two tries. */
  | 'waiting'
  /** Every broker refused for a reason that time does not heal; the next call, or the next minute, tries again. */
  | 'refused'
  | 'closed'

export interface SessionFacts {
  readonly state: SessionState
  readonly endpoint: string | null
  readonly client_id: string
  /** Connections that were lost, switches to another broker, tries that failed. */
  readonly lost: number
  /** Times that a broker came back without the session that it was to keep, with all messages that waited in it. */
  readonly sessions_lost: number
  readonly switches: number
  readonly failures: number
  readonly subscriptions: number
  readonly received: number
  readonly published: number
  /** QoS 0 messages dropped for lack of room, over all subscriptions. */
  readonly dropped: number
  readonly duplicates: number
  /** Messages that nobody got, since their device is not the one of their topic. */
  readonly impostors: number
  readonly buffered_bytes: number
  /** Code and message of the last failure; null while connected. */
  readonly last_error: string | null
}

/** One connection as runs see it, whichever broker it goes to. */
export interface MqttSession {
  /**
   * Sends over the link that is up, within the publish rate and the in-flight limit; resolves on PUBACK or PUBCOMP.
   * Messages of one caller keep their order.
   *
   * Throws MHV_MQTT_NOT_CONNECTED, _TOPIC_INVALID, _MESSAGE_TOO_LARGE (nothing was sent); _NOT_AUTHORIZED,
   * _PUBLISH_REJECTED (the broker refused it); _CONNECTION_LOST (it may have arrived); or the signal's reason.
   */
  publishNow(message: OutgoingMessage, signal: AbortSignal): Promise<PublishAck>
  /** The same, where the listener is told instead; it may be told before this returns. */
  send(message: OutgoingMessage, signal: AbortSignal, listener: SendListener): void
  /**
   * Holds over reconnects and switches of the broker until it is closed. Resolves when the broker has granted it.
   *
   * Throws MHV_MQTT_TOPIC_INVALID, _SUBSCRIPTIONS_FULL, _NOT_AUTHORIZED, _SUBSCRIBE_REJECTED, what `ready` throws, or the
   * signal's reason.
   */
  subscribe(filter: string, options: SubscribeOptions): Promise<Subscription>
  /**
   * Resolves when it is connected. Rejects with the reason as soon as a try that was made for this call has failed on
   * every broker, so that nobody waits in silence: MHV_MQTT_CONNECT_*, _TLS_*, _AUTH_FAILED.
   */
  ready(signal: AbortSignal): Promise<void>
  state(): SessionState
  /** Called after every connect, subscriptions included; the returned function ends that. */
  onConnected(listener: () => void): () => void
  /** Called when a link is lost or could not be made, with the reason. */
  onDisconnected(listener: (reason: MhvError) => void): () => void
  /** The broker in use; null while there is none. */
  endpoint(): string | null
  readonly client_id: string
  readonly protocol: '5' | '3.1.1'
  facts(): SessionFacts
}

/** What a session is made from and found by. */
export interface BrokerCall {
  readonly target: MqttTarget
  readonly settings: MqttSettings
}

/** What `connect` of the worker returns: all sessions. */
export interface MqttConnection extends WorkerConnection {
  readonly secrets: SecretResolver
  /** The session of this broker list and identity, made on first use; does not wait for it to be connected. */
  broker(call: BrokerCall): MqttSession
}
