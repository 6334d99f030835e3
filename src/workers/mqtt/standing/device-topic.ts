/** Levels in front of the id of a device, in the default hierarchy of topics. */
const MAHAVISHNU = ['commands', 'ota', 'config', 'status', 'acks', 'telemetry', 'events']
const PLAIN = ['sensors', 'gateways', 'devices']

/** The device that a topic is about: `mahavishnu/status/DEVICE/…`, `sensors/DEVICE/…`, `gateways/DEVICE/…`; else null. */
export function deviceOf(topic: string): string | null {
  const [first = '', second = '', third] = topic.split('/')
  if (first === 'mahavishnu' && MAHAVISHNU.includes(second)) return third || null
  return PLAIN.includes(first) ? second || null : null
}
