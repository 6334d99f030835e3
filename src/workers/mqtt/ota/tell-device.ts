import type { Clock } from '../../../core/clock.ts'
import { toMhvError } from '../../../core/errors.ts'
import type { MqttSession, OutgoingMessage } from '../client/mqtt-session.ts'
import { NO_SUBSCRIBERS } from '../devices/send-commands.ts'
import { untilConnected } from '../devices/until-connected.ts'

export type TellOutcome =
  /** The broker has the message. */
  | { readonly is: 'told' }
  /** The broker has it, and nobody to give it to (MQTT 5). */
  | { readonly is: 'unreachable' }
  | { readonly is: 'refused'; readonly why: string }
  /** It is not to be told any more. */
  | { readonly is: 'over' }

/**
 * Tells a device, over every lost connection, as long as it is under way: a message that may have arrived is sent again, since
 * it is the same. Throws what no time heals, such as credentials, and the reason of the signal.
 */
export async function tellDevice(
  parts: {
    readonly session: MqttSession
    readonly clock: Clock
    readonly message: OutgoingMessage
    underWay(): boolean
  },
  signal: AbortSignal,
): Promise<TellOutcome> {
  const { session, clock, message, underWay } = parts
  while (underWay()) {
    try {
      const { reason_code } = await session.publishNow(message, signal)
      return underWay() ? { is: reason_code === NO_SUBSCRIBERS ? 'unreachable' : 'told' } : { is: 'over' }
    } catch (thrown) {
      signal.throwIfAborted()
      const { code, message: why } = toMhvError(thrown)
      if (code !== 'MHV_MQTT_CONNECTION_LOST' && code !== 'MHV_MQTT_NOT_CONNECTED') {
        return { is: 'refused', why: `${code}: ${why.slice(0, 300)}` }
      }
    }
    await untilConnected(session, clock, signal, underWay)
  }
  return { is: 'over' }
}
