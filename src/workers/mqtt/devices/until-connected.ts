import type { Clock } from '../../../core/clock.ts'
import { toMhvError } from '../../../core/errors.ts'
import { isRefusal } from '../client/link/connect-errors.ts'
import type { MqttSession } from '../client/mqtt-session.ts'

/** Pause before a connection is asked for again, in milliseconds; the session has its own, longer ones. */
const AGAIN_MS = 250

/**
 * Waits until there is a connection, however often a try fails, or nobody wants it any more. Throws the reason of the
 * signal, and what no time heals: credentials, certificates, rights.
 */
export async function untilConnected(
  session: Pick<MqttSession, 'ready'>,
  clock: Clock,
  signal: AbortSignal,
  wanted: () => boolean = () => true,
): Promise<void> {
  while (wanted()) {
    try {
      return await session.ready(signal)
    } catch (error) {
      signal.throwIfAborted()
      if (isRefusal(toMhvError(error))) throw error
      await clock.sleep(AGAIN_MS, signal)
    }
  }
}
