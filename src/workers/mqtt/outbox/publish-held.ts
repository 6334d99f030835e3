import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import { isRefusal } from '../client/link/connect-errors.ts'
import type { MqttSession, OutgoingMessage, PublishAck } from '../client/mqtt-session.ts'
import { type MqttContext, sessionOf } from '../context.ts'
import type { AcceptedMessages, MessageOutcome, OutboxMessage, OverflowPolicy } from './outbox.ts'
import { overflowOf } from './outboxes.ts'

/** What became of a message of a call by the time that the call is answered. */
export type PublishOutcome =
  | { readonly state: 'taken'; readonly ack: PublishAck }
  | { readonly state: 'accepted' }
  | { readonly state: 'failed'; readonly error: MhvError }

export interface HeldPublish {
  readonly overflow?: OverflowPolicy | undefined
  /** Whether to wait for the broker, or only for the disk. */
  readonly wait_for: 'delivered' | 'accepted'
}

/** How long a call looks whether a broker can be reached at all before its messages are held for one, in milliseconds. */
const REACH_MS = 2_000

/**
 * Publishes messages of QoS 1 and 2 by the outbox. Answers when all have their outcome, or, where the broker is away or
 * takes longer than `mqtt.outbox.delivery_wait`, when they are on disk.
 *
 * Throws MHV_MQTT_OUTBOX_FULL, or what keeps this identity from every broker (credentials, certificates): such messages
 * would wait in vain.
 */
export async function publishHeld(
  ctx: MqttContext,
  messages: readonly OutgoingMessage[],
  { overflow, wait_for }: HeldPublish,
): Promise<readonly PublishOutcome[]> {
  const { target, settings, clock, connection } = ctx
  if (target === null) throw mhvError('MHV_TARGET_REQUIRED', 'a broker is needed')
  const session = sessionOf(ctx)
  await refuseTheRefused(ctx, session)
  const now = clock.now()
  const held = messages.map((message) => toHeld(message, overflow ?? overflowOf(settings.outbox, message.topic), now))
  const accepted = await connection.outboxes.of(target.name, { target: target.address, settings }).accept(held)
  if (wait_for === 'delivered' && session.state() === 'connected') await settledWithin(ctx, accepted)
  // Accepted is accepted, also where the caller has given up the wait.
  return accepted.outcomes().map(outcomeOf)
}

/** Field by field: a copy with what is left of an object takes several times as long, and there are thousands. */
function toHeld(message: OutgoingMessage, overflow: OverflowPolicy, now: number): OutboxMessage {
  const { expiry_seconds } = message
  return {
    topic: message.topic,
    payload: message.payload,
    qos: message.qos === 2 ? 2 : 1,
    retain: message.retain,
    overflow,
    expires_at: expiry_seconds === undefined ? null : now + expiry_seconds * 1000,
    content_type: message.content_type,
    response_topic: message.response_topic,
    correlation_data: message.correlation_data,
    user_properties: message.user_properties,
  }
}

async function refuseTheRefused({ clock, signal }: MqttContext, session: MqttSession): Promise<void> {
  if (session.state() === 'connected') return
  const late = new AbortController()
  const cancel = clock.after(REACH_MS, () => late.abort(mhvError('MHV_MQTT_CONNECT_TIMEOUT', 'no answer yet')))
  try {
    await session.ready(AbortSignal.any([signal, late.signal]))
  } catch (error) {
    signal.throwIfAborted()
    const known = toMhvError(error)
    // Time does not heal these; everything else is what the outbox is for.
    if (isRefusal(known)) throw known
  } finally {
    cancel()
  }
}

/** The messages go on by themselves, whatever becomes of the wait. */
async function settledWithin({ clock, signal, settings }: MqttContext, { settled }: AcceptedMessages): Promise<void> {
  const done = new AbortController()
  const late = clock.sleep(settings.outbox.delivery_wait * 1000, AbortSignal.any([signal, done.signal]))
  await Promise.race([settled, late.catch(() => undefined)])
  done.abort()
}

function outcomeOf(outcome: MessageOutcome): PublishOutcome {
  switch (outcome.state) {
    case 'accepted':
      return outcome
    case 'delivered':
      return { state: 'taken', ack: outcome.ack }
    case 'refused':
      return { state: 'failed', error: outcome.error }
    case 'expired':
      return { state: 'failed', error: mhvError('MHV_MQTT_MESSAGE_GIVEN_UP', 'it expired before it could be sent') }
    case 'dropped':
      return { state: 'failed', error: mhvError('MHV_MQTT_MESSAGE_GIVEN_UP', 'it was dropped from the outbox') }
  }
}
