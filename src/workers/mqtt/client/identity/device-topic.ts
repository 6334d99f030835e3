/** Levels in front of the id of a device, in the default hierarchy of topics: what is sent to devices, and by them. */
const TO_DEVICES = ['commands', 'ota', 'config']
const FROM_DEVICES = ['status', 'acks', 'telemetry', 'events']
const PLAIN = ['sensors', 'devices', 'gateways']

/** Who sends to a topic, as the topic says. */
export interface TopicOwner {
  readonly id: string
  readonly kind: 'device' | 'gateway'
}

/** The device that a topic is about: `mahavishnu/status/DEVICE/…`, `sensors/DEVICE/…`, `gateways/DEVICE/…`; else null. */
export function deviceOf(topic: string): string | null {
  const [first = '', second = '', third] = topic.split('/', 3)
  if (first === 'mahavishnu' && (TO_DEVICES.includes(second) || FROM_DEVICES.includes(second))) return third || null
  return PLAIN.includes(first) ? second || null : null
}

/**
 * The device or gateway that has sent what comes on a topic; null where the topic does not say. On
 * `mahavishnu/commands/DEVICE` others speak to the device; what is below that, such as `…/DEVICE/ack`, comes from it.
 */
export function ownerOf(topic: string): TopicOwner | null {
  const id = deviceOf(topic)
  if (id === null) return null
  const [first = '', second = '', , below] = topic.split('/', 4)
  if (first === 'gateways') return { id, kind: 'gateway' }
  if (first === 'mahavishnu' && TO_DEVICES.includes(second) && below === undefined) return null
  return { id, kind: 'device' }
}
