import type { IPublishPacket } from '../link/mqtt-library.ts'
import type { IncomingMessage } from '../mqtt-session.ts'

/** A packet as consumers see it. */
export function toIncoming(packet: IPublishPacket, duplicate: boolean, at: number, endpoint: string): IncomingMessage {
  const { topic, payload, qos, retain, properties } = packet
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
  const message = { topic, payload: bytes, qos, retain, duplicate, received_at: at, endpoint }
  if (properties === undefined) return message
  return {
    ...message,
    content_type: properties.contentType,
    response_topic: properties.responseTopic,
    correlation_data: properties.correlationData,
    user_properties: properties.userProperties,
  }
}
