import type { MqttContext } from '../context.ts'
import type { OtaInput } from './ota-shape.ts'
import type { Rollout } from './rollout.ts'

/** Lines that are written at once. */
const LINES = 1_000

/**
 * One line for each device, in the order of the call: id, state, reason. It is written at the end, so that a process which
 * takes the roll-out up again writes the same text from its beginning.
 */
export async function writeRollout(
  { output, log }: MqttContext,
  { device_ids }: OtaInput,
  rollout: Rollout,
): Promise<void> {
  try {
    for (let at = 0; at < device_ids.length; at += LINES) {
      const lines = device_ids.slice(at, at + LINES).map((id) => {
        const { state, reason } = rollout.device(id) ?? { state: 'waiting', reason: null }
        return `${[id, state, reason ?? ''].join('\t').trimEnd()}\n`
      })
      await output.write('stdout', Buffer.from(lines.join('')))
    }
  } catch (error) {
    // The run has an outcome of its own, which this must not replace.
    log.warn('the table of a roll-out could not be written', { error })
  }
}
