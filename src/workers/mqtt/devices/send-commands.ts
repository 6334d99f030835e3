import type { Clock } from '../../../core/clock.ts'
import { type MhvError, toMhvError } from '../../../core/errors.ts'
import type { MqttSession, OutgoingMessage } from '../client/mqtt-session.ts'
import type { CommandTable } from './command-table.ts'
import { untilConnected } from './until-connected.ts'

/**
 * Messages that wait for their turn or their acknowledgement at once: what is held does not grow with the devices, and
 * with a rate none waits much longer than a second.
 */
const MAX_WINDOW = 1_000
const MIN_WINDOW = 10
/** Reason code of MQTT 5: taken, and there is nobody to give it to. */
export const NO_SUBSCRIBERS = 16

export interface SendParts {
  readonly session: MqttSession
  readonly clock: Clock
  readonly table: CommandTable
  readonly devices: number
  /** Messages per second; 0: as fast as it goes. */
  readonly rate: number
  /** Seconds after which a device must not get it any more. */
  readonly expiry_seconds: number
  /** The message for a device that has so many seconds left to get it. */
  message(index: number, left_seconds: number): OutgoingMessage
  /** Told after every change of the table. */
  changed(): void
}

/**
 * Sends to one device after the other, at the pace of the session, over every lost connection: a command of QoS 1 or 2 whose
 * acknowledgement got lost is sent again under the same id. Whoever could not be sent to has an end in the table. Returns the
 * first error that kept it from a device; never throws.
 */
export async function sendCommands(parts: SendParts, signal: AbortSignal): Promise<MhvError | null> {
  const { table, devices, changed } = parts
  let next = 0
  let first: MhvError | null = null
  let stopped = false

  async function lane(): Promise<void> {
    while (next < devices && !stopped && !signal.aborted) {
      const index = next
      next += 1
      const failure = await sendOne(parts, index, signal)
      first ??= failure?.error ?? null
      stopped ||= failure?.forAll === true
      changed()
    }
  }

  const window = parts.rate === 0 ? MAX_WINDOW : Math.min(MAX_WINDOW, Math.max(MIN_WINDOW, Math.ceil(parts.rate)))
  await Promise.all(Array.from({ length: Math.min(window, devices) }, lane))
  for (let index = next; index < devices; index++) table.end(index, 'not_sent')
  changed()
  return first
}

interface Failure {
  readonly error: MhvError
  /** No other message would fare better. */
  readonly forAll: boolean
}

async function sendOne(parts: SendParts, index: number, signal: AbortSignal): Promise<Failure | null> {
  const { session, clock, table } = parts
  /** It may have arrived: from then on nobody can say that it was not sent. */
  let uncertain = false
  const giveUp = (why: string | null) => table.end(index, uncertain ? 'timed_out' : 'not_sent', Number.NaN, why)
  const began = clock.monotonic()
  const left = () => parts.expiry_seconds - (clock.monotonic() - began) / 1000
  for (;;) {
    if (left() <= 0) {
      giveUp('it expired before it could be sent')
      return null
    }
    const message = parts.message(index, left())
    try {
      table.handed(index, clock.monotonic())
      const { reason_code } = await session.publishNow(message, signal)
      table.delivered(index)
      if (reason_code === NO_SUBSCRIBERS) table.end(index, 'unreachable', Number.NaN, 'nobody subscribes to its topic')
      return null
    } catch (thrown) {
      const error = toMhvError(thrown)
      const lost = error.code === 'MHV_MQTT_CONNECTION_LOST'
      uncertain ||= lost || signal.aborted
      if (signal.aborted || (lost && message.qos === 0)) {
        giveUp(lost ? 'the connection was lost while it was sent' : null)
        return null
      }
      if (!lost && error.code !== 'MHV_MQTT_NOT_CONNECTED') {
        giveUp(`${error.code}: ${error.message.slice(0, 200)}`)
        // One device may be out of bounds for us; the others are asked for themselves.
        return { error, forAll: false }
      }
    }
    try {
      await untilConnected(session, clock, signal, () => left() > 0)
    } catch (error) {
      giveUp(null)
      return signal.aborted ? null : { error: toMhvError(error), forAll: true }
    }
  }
}
