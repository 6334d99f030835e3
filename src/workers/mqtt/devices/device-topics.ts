import { mhvError } from '../../../core/errors.ts'
import { topicFor } from '../client/identity/identity.ts'
import { checkFilter, checkTopic } from '../client/topics/topics.ts'

/** Where devices are spoken to and answer, in the default hierarchy. */
export const COMMAND_TOPIC = 'mahavishnu/commands/{device_id}'
export const ANSWER_TOPIC = 'mahavishnu/acks/{device_id}/{command_id}'
export const STATUS_TOPIC = 'mahavishnu/status/{device_id}'
export const OTA_TOPIC = 'mahavishnu/ota/{device_id}'
export const OTA_REPORT_TOPIC = 'mahavishnu/ota/{device_id}/state'

/** The topics of many devices that differ in one level: the id of the device. */
export interface DeviceTopics {
  /** Throws MHV_MQTT_TOPIC_INVALID. */
  topicOf(device_id: string): string
  /** Takes the topics of all devices. */
  readonly filter: string
  /** The device of a topic; null where it is none of these topics. */
  deviceOf(topic: string): string | null
}

/**
 * Reads a pattern in which one whole level is `{device_id}`; `{command_id}` may stand anywhere. Throws
 * MHV_MQTT_TOPIC_INVALID.
 */
export function deviceTopics(pattern: string, command_id = ''): DeviceTopics {
  const levels = pattern.replaceAll('{command_id}', () => command_id).split('/')
  const at = levels.indexOf('{device_id}')
  if (at < 0 || levels.some((level, index) => index !== at && level.includes('{device_id}'))) {
    const why = `the topic pattern ${JSON.stringify(pattern.slice(0, 200))} needs one whole level that is {device_id}`
    throw mhvError('MHV_MQTT_TOPIC_INVALID', why)
  }
  const filled = levels.join('/')
  const filter = levels.map((level, index) => (index === at ? '+' : level)).join('/')
  // With a device in it, everything else of it is what a topic may be.
  checkTopic(filled)
  checkFilter(filter)
  return {
    filter,
    topicOf(device_id) {
      const topic = topicFor(filled, device_id)
      checkTopic(topic)
      return topic
    },
    deviceOf(topic) {
      const given = topic.split('/')
      if (given.length !== levels.length) return null
      return given.every((level, index) => index === at || level === levels[index]) ? (given[at] ?? null) : null
    },
  }
}
