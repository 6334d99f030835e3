import type { OperationContext } from '../../core/context.ts'
import { mhvError, toMhvError } from '../../core/errors.ts'
import type { MqttWorker } from './background.ts'
import type { MqttSession } from './client/mqtt-session.ts'
import { allowPublish, allowSubscribe } from './client/topics/topic-rules.ts'
import type { MqttSettings, MqttTarget } from './settings.ts'

export type MqttContext = OperationContext<MqttWorker, MqttSettings, MqttTarget>

/** The session of the run's target; it may not be connected yet. */
export function sessionOf(ctx: MqttContext): MqttSession {
  if (ctx.target === null) throw mhvError('MHV_TARGET_REQUIRED', 'a broker is needed')
  return ctx.connection.broker({ target: ctx.target.address, settings: ctx.settings })
}

type Asking = Pick<MqttContext, 'settings' | 'principal'>

/** Whether the topic rules let the caller receive all that a filter takes. */
export function mayReceive({ settings, principal }: Asking, filter: string): boolean {
  return passes(() => allowSubscribe(settings.topic_rules, principal, filter))
}

/** Whether the topic rules let the caller publish to a topic. */
export function maySend({ settings, principal }: Asking, topic: string): boolean {
  return passes(() => allowPublish(settings.topic_rules, principal, topic))
}

function passes(check: () => void): boolean {
  try {
    check()
    return true
  } catch (error) {
    if (toMhvError(error).code === 'MHV_MQTT_TOPIC_DENIED') return false
    throw error
  }
}

/** Codes that any operation may end with, since it needs a connection. */
export const CONNECT_ERRORS = [
  'MHV_MQTT_CONNECT_REFUSED',
  'MHV_MQTT_CONNECT_TIMEOUT',
  'MHV_MQTT_CONNECT_FAILED',
  'MHV_MQTT_CONNECT_REJECTED',
  'MHV_MQTT_TLS_UNTRUSTED',
  'MHV_MQTT_TLS_NAME',
  'MHV_MQTT_TLS_EXPIRED',
  'MHV_MQTT_TLS_FAILED',
  'MHV_MQTT_KEY_INVALID',
  'MHV_MQTT_AUTH_FAILED',
  'MHV_MQTT_NOT_CONNECTED',
  'MHV_SECRET_UNRESOLVED',
  'MHV_NO_DESCRIPTORS',
] as const

export const PUBLISH_ERRORS = [
  'MHV_MQTT_TOPIC_INVALID',
  'MHV_MQTT_TOPIC_DENIED',
  'MHV_MQTT_MESSAGE_TOO_LARGE',
  'MHV_MQTT_NOT_AUTHORIZED',
  'MHV_MQTT_PUBLISH_REJECTED',
  'MHV_MQTT_CONNECTION_LOST',
] as const

export const SUBSCRIBE_ERRORS = [
  'MHV_MQTT_TOPIC_INVALID',
  'MHV_MQTT_TOPIC_DENIED',
  'MHV_MQTT_NOT_AUTHORIZED',
  'MHV_MQTT_SUBSCRIBE_REJECTED',
  'MHV_MQTT_SUBSCRIPTIONS_FULL',
] as const
