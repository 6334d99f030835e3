import { toMhvError } from '../../../core/errors.ts'
import type { PingResult, PingTarget } from '../../../core/worker.ts'
import type { MqttSettings, MqttTarget } from '../settings.ts'
import type { MqttConnection } from './mqtt-session.ts'

/** Whether a broker of the list takes us. Never rejects: the message says what is wrong. */
export async function pingBroker(
  connection: MqttConnection,
  { address, settings }: PingTarget<MqttSettings, MqttTarget>,
  signal: AbortSignal,
): Promise<PingResult> {
  try {
    const session = connection.broker({ target: address, settings })
    await session.ready(signal)
    const { endpoint, subscriptions, switches } = session.facts()
    const first = endpoint === null ? '' : `connected to ${endpoint}`
    return { healthy: true, message: `${first}, ${subscriptions} subscriptions, ${switches} switches of the broker` }
  } catch (error) {
    const { code, message } = toMhvError(error)
    return { healthy: false, message: `${code}: ${message}` }
  }
}
