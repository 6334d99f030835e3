import { mhvError } from '../../../core/errors.ts'
import type { IncomingMessage } from './mqtt-session.ts'
import { checkLevel } from './topics.ts'

/** Fields of a payload by which devices name themselves. */
const CLAIMS = ['device_id', 'deviceId', 'gateway_id'] as const

export type IdentityProblem =
  /** The payload names another device than the topic. */
  | 'payload'
  /** The broker says that another client has sent it. */
  | 'client'

export interface IdentityCheck {
  /** The device that the topic is about; null where it is about none. */
  readonly device_id: string | null
  /** The payload, where it is JSON. */
  readonly payload: unknown
  /**
   * Name of the user property in which the broker passes on who has sent a message: the client id, or the name of its
   * certificate. Only to be given where the broker sets it itself, since a client can set any property as well.
   */
  readonly broker_property?: string | undefined
}

/**
 * Whether a device is the one that it says it is: what the payload claims must be what the topic says, and where the
 * broker passes on who sent it, that too. Undefined where nothing contradicts.
 */
export function identityProblem(
  message: Pick<IncomingMessage, 'user_properties'>,
  { device_id, payload, broker_property }: IdentityCheck,
): IdentityProblem | undefined {
  if (device_id === null) return undefined
  if (typeof payload === 'object' && payload !== null) {
    const claimed = CLAIMS.flatMap((name) =>
      Object.hasOwn(payload, name) ? [(payload as Record<string, unknown>)[name]] : [],
    )
    if (claimed.some((claim) => claim !== device_id)) return 'payload'
  }
  if (broker_property === undefined) return undefined
  // Without it, nobody vouches for the sender.
  return message.user_properties?.[broker_property] === device_id ? undefined : 'client'
}

/** The topic for a device, from a pattern such as `mahavishnu/commands/{device_id}`. Throws MHV_MQTT_TOPIC_INVALID. */
export function topicFor(pattern: string, device_id: string): string {
  checkLevel(device_id, 'the device id')
  if (!pattern.includes('{device_id}')) {
    throw mhvError('MHV_MQTT_TOPIC_INVALID', `the topic pattern ${JSON.stringify(pattern)} has no {device_id} in it`)
  }
  return pattern.replaceAll('{device_id}', () => device_id)
}
