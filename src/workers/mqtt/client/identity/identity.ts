import { mhvError } from '../../../../core/errors.ts'
import type { IncomingMessage } from '../mqtt-session.ts'
import { checkLevel } from '../topics/topics.ts'
import { ownerOf } from './device-topic.ts'

/** Fields of a payload by which senders name themselves. */
const CLAIMS = { device: ['device_id', 'deviceId'], gateway: ['gateway_id', 'gatewayId'] } as const

export const IDENTITY_PROBLEMS = ['payload', 'sender'] as const
/** `payload`: it names another device than the topic. `sender`: the broker says that another client has sent it. */
export type IdentityProblem = (typeof IDENTITY_PROBLEMS)[number]

/**
 * Whether a device is the one that it says it is: what the payload claims must be what the topic says, and where the
 * broker passes on who sent it, that too. Undefined where nothing contradicts, or the topic is about no device.
 */
export function identityProblem(
  { topic, payload, user_properties }: Pick<IncomingMessage, 'topic' | 'payload' | 'user_properties'>,
  sender_property = '',
): IdentityProblem | undefined {
  const owner = ownerOf(topic)
  if (owner === null) return undefined
  if (claimsOf(payload, CLAIMS[owner.kind]).some((claim) => claim !== owner.id)) return 'payload'
  if (sender_property === '') return undefined
  // Without it, nobody vouches for the sender.
  return user_properties?.[sender_property] === owner.id ? undefined : 'sender'
}

/** Values of these fields of a JSON object; none where the payload is no such object. */
function claimsOf(payload: Uint8Array, names: readonly string[]): readonly unknown[] {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  // Most payloads have none, and are not parsed; an escape may stand for any character of a name.
  if (!names.some((name) => bytes.includes(name)) && !bytes.includes('\\u')) return []
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch {
    return []
  }
  if (typeof value !== 'object' || value === null) return []
  return names.flatMap((name) => (Object.hasOwn(value, name) ? [(value as Record<string, unknown>)[name]] : []))
}

/** The topic for a device, from a pattern such as `mahavishnu/commands/{device_id}`. Throws MHV_MQTT_TOPIC_INVALID. */
export function topicFor(pattern: string, device_id: string): string {
  checkLevel(device_id, 'the device id')
  if (!pattern.includes('{device_id}')) {
    throw mhvError('MHV_MQTT_TOPIC_INVALID', `the topic pattern ${JSON.stringify(pattern)} has no {device_id} in it`)
  }
  return pattern.replaceAll('{device_id}', () => device_id)
}
