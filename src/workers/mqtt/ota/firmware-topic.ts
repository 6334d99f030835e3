import { mhvError } from '../../../core/errors.ts'
import { OTA_TOPIC } from '../devices/device-topics.ts'

/** `mahavishnu/ota/DEVICE`, and not what is below it: reports come from there. */
const LEVELS = OTA_TOPIC.split('/')
const PREFIX = OTA_TOPIC.slice(0, OTA_TOPIC.indexOf('{'))

/**
 * Refuses the topics on which devices are told to load firmware: only mqtt.trigger_ota may, since it alone keeps to
 * mqtt.ota.allowed_urls and to the limits of a roll-out. Throws MHV_MQTT_TOPIC_DENIED.
 */
export function refuseFirmwareTopic(topic: string): void {
  if (!topic.startsWith(PREFIX) || topic.split('/').length !== LEVELS.length) return
  const why = `${JSON.stringify(topic)} tells a device to load firmware: only mqtt.trigger_ota may, by its rules`
  throw mhvError('MHV_MQTT_TOPIC_DENIED', why, { remedy: 'Use mqtt.trigger_ota, which checks address and limits.' })
}
