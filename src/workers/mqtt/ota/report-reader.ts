import type { IncomingMessage } from '../client/mqtt-session.ts'
import type { MqttContext } from '../context.ts'
import { isImpostor } from '../devices/answer.ts'
import { deviceTopics, OTA_REPORT_TOPIC } from '../devices/device-topics.ts'
import type { OtaData, OtaInput } from './ota-shape.ts'
import { type Firmware, readReport } from './report.ts'
import { OTA_STATES, type ReportedState, type Rollout } from './rollout.ts'

export interface DeviceReport {
  readonly device_id: string
  readonly state: ReportedState
  readonly reason: string | null
}

/** Reads what comes on the topics of the reports, and counts what it leaves out. */
export interface ReportReader {
  /** Null for what is no word of a device that is under way. */
  read(message: IncomingMessage, rollout: Rollout): DeviceReport | null
  ignored(): OtaData['ignored']
}

export function createReportReader(
  { settings, connection, run_id }: MqttContext,
  { device_ids }: OtaInput,
  firmware: Firmware,
): ReportReader {
  const topics = deviceTopics(OTA_REPORT_TOPIC)
  const devices = new Set(device_ids)
  const ignored = { late: 0, invalid: 0, impostors: 0, strays: 0 }

  function refuse(count: 'invalid' | 'impostors' | 'strays', reason: 'invalid' | 'impostor' | 'stray'): null {
    ignored[count] += 1
    connection.devices.onRefused(reason)
    return null
  }

  return {
    ignored: () => ({ ...ignored }),
    read(message, rollout) {
      const device_id = topics.deviceOf(message.topic)
      // One subscription may hear the reports of devices that this roll-out is not about.
      if (device_id === null || !devices.has(device_id)) return null
      if (isImpostor(message, device_id, settings.identity)) return refuse('impostors', 'impostor')
      const report = readReport(message, run_id, firmware)
      if (report.is === 'invalid') return refuse('invalid', 'invalid')
      const known = rollout.device(device_id)?.state ?? 'waiting'
      if (report.is !== 'report' || known === 'waiting') {
        // The last report of an earlier roll-out, which the broker keeps, is nothing to wonder about.
        return message.retain ? null : refuse('strays', 'stray')
      }
      const { state, reason } = report
      const [rank, before] = [OTA_STATES.indexOf(state), OTA_STATES.indexOf(known)]
      const ended = known === 'updated' || known === 'failed'
      // Told once more, a device says where it is: that is no news, and yet a sign of life.
      if (!message.retain && (ended || rank < before || (rank === before && state !== 'notified'))) ignored.late += 1
      if (ended || rank < before) return null
      return { device_id, state, reason }
    },
  }
}
