import type { Clock } from '../../../core/clock.ts'
import type { IncomingMessage, MqttSession, Qos, Subscription } from '../client/mqtt-session.ts'

/** Milliseconds that are left for the result before the deadline of the run. */
const BEFORE_DEADLINE_MS = 500

export type CollectEnd = 'time' | 'count' | 'bytes' | 'condition' | 'quiet'

export interface CollectOptions {
  readonly filters: readonly string[]
  readonly qos: Qos
  readonly retained: boolean
  readonly seconds: number
  readonly max_messages: number
  /** Bytes of payload. */
  readonly max_bytes: number
  /** Ends it when nothing came for so long after the broker has granted everything. */
  readonly quiet_ms?: number
  /** Whether it counts. Default: every message does. */
  accept?(message: IncomingMessage): boolean
  /** Whether it is the one that was waited for. */
  until?(message: IncomingMessage): boolean
  /** Called when all subscriptions are granted. */
  onSubscribed?(): Promise<void>
  readonly clock: Clock
  /** Milliseconds since the epoch. */
  readonly deadline: number
  readonly signal: AbortSignal
}

export interface Collected {
  readonly messages: readonly IncomingMessage[]
  readonly ended_by: CollectEnd
  /** QoS 0 messages that did not fit in the buffer. */
  readonly dropped: number
}

/** Subscribes, gathers messages within bounds, and ends the subscriptions again whatever happens. */
export async function collect(session: MqttSession, options: CollectOptions): Promise<Collected> {
  const { clock, signal, max_messages, max_bytes, quiet_ms } = options
  const messages: IncomingMessage[] = []
  const { promise: end, resolve, reject } = Promise.withResolvers<CollectEnd>()
  let bytes = 0
  let over = false
  let stopQuiet: () => void = () => undefined
  const finish = (why: CollectEnd) => {
    over = true
    resolve(why)
  }
  const onAbort = () => reject(signal.reason)
  const rearm = () => {
    if (quiet_ms === undefined) return
    stopQuiet()
    stopQuiet = clock.after(quiet_ms, () => finish('quiet'))
  }

  function onMessage(message: IncomingMessage): void {
    if (over || options.accept?.(message) === false) return
    rearm()
    bytes += message.payload.length
    // The one that does not fit is the first of those that are left out.
    if (bytes > max_bytes && messages.length > 0) {
      finish('bytes')
      return
    }
    messages.push(message)
    if (options.until?.(message) === true) finish('condition')
    else if (messages.length >= max_messages) finish('count')
  }

  const ms = Math.min(options.seconds * 1000, options.deadline - clock.now() - BEFORE_DEADLINE_MS)
  const stopTimer = clock.after(ms, () => finish('time'))
  signal.addEventListener('abort', onAbort, { once: true })
  const subscriptions: Subscription[] = []
  const { qos, retained } = options
  try {
    signal.throwIfAborted()
    const asked = options.filters.map(async (filter) => {
      const subscription = await session.subscribe(filter, { qos, retained, onMessage, signal })
      subscriptions.push(subscription)
      // The broker may take back what it has granted.
      subscription.closed.catch(reject)
    })
    await Promise.all(asked)
    await options.onSubscribed?.()
    rearm()
    const ended_by = await end
    const dropped = subscriptions.reduce((sum, subscription) => sum + subscription.dropped(), 0)
    return { messages, ended_by, dropped }
  } finally {
    over = true
    end.catch(() => undefined)
    stopTimer()
    stopQuiet()
    signal.removeEventListener('abort', onAbort)
    await Promise.all(subscriptions.map((subscription) => subscription.close()))
  }
}
