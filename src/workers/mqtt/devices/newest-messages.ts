import type { Clock } from '../../../core/clock.ts'
import type { IncomingMessage, MqttSession, Subscription } from '../client/mqtt-session.ts'
import { MAX_ANSWER_BYTES } from './device-payload.ts'

/** Milliseconds that are left for the result before the deadline of the run. */
const BEFORE_DEADLINE_MS = 500

/**
 * The newest message of each topic: what the broker keeps, and what comes meanwhile. It ends when no further topic has shown
 * up for `quiet_ms`: one that speaks all the time holds it up no longer than the others, and takes the room of one message.
 * Of a payload that is longer than anything of a device is read only the beginning is held.
 *
 * Throws what `session.subscribe` throws, what ends a subscription, and the reason of the signal.
 */
export async function newestMessages(
  session: Pick<MqttSession, 'subscribe'>,
  options: {
    readonly topics: readonly string[]
    readonly quiet_ms: number
    accept(message: IncomingMessage): boolean
    readonly clock: Clock
    /** Milliseconds since the epoch. */
    readonly deadline: number
    readonly signal: AbortSignal
  },
): Promise<ReadonlyMap<string, IncomingMessage>> {
  const { topics, quiet_ms, clock, deadline, signal } = options
  const newest = new Map<string, IncomingMessage>()
  const { promise: end, resolve, reject } = Promise.withResolvers<void>()
  let stopQuiet: () => void = () => undefined
  const rearm = () => {
    stopQuiet()
    stopQuiet = clock.after(quiet_ms, resolve)
  }

  function onMessage(message: IncomingMessage): void {
    if (!options.accept(message)) return
    if (!newest.has(message.topic)) rearm()
    // One byte more than may be: so it is still seen to be too long.
    newest.set(message.topic, { ...message, payload: Buffer.from(message.payload.subarray(0, MAX_ANSWER_BYTES + 1)) })
  }

  const onAbort = () => reject(signal.reason)
  const stopDeadline = clock.after(deadline - clock.now() - BEFORE_DEADLINE_MS, resolve)
  signal.addEventListener('abort', onAbort, { once: true })
  const subscriptions: Subscription[] = []
  try {
    signal.throwIfAborted()
    const asked = topics.map(async (topic) => {
      const subscription = await session.subscribe(topic, { qos: 0, retained: true, onMessage, signal })
      subscriptions.push(subscription)
      subscription.closed.catch(reject)
    })
    await Promise.all(asked)
    rearm()
    await end
    return newest
  } finally {
    end.catch(() => undefined)
    stopDeadline()
    stopQuiet()
    signal.removeEventListener('abort', onAbort)
    await Promise.all(subscriptions.map((subscription) => subscription.close()))
  }
}
