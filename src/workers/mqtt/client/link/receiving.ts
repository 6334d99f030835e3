import type { MhvError } from '../../../../core/errors.ts'
import { mhvError } from '../../../../core/errors.ts'
import type { MqttSettings } from '../../settings.ts'
import type { Endpoint } from './endpoint.ts'
import type { IPublishPacket, MqttClient } from './mqtt-library.ts'
import type { ReceivedStore } from './packet-stores.ts'

/** Bytes of a packet beside its payload: topic and properties. */
const PACKET_OVERHEAD = 262_144
/** What a packet takes in memory beside its bytes, about. */
const IN_MEMORY = 256
/** Bytes that may lie between the socket and the parser. */
const ON_THE_WAY = 1_048_576

/** Bytes of the largest packet that a broker may send. */
export function largestPacket({ max_message_size }: MqttSettings['throttling']): number {
  return max_message_size + PACKET_OVERHEAD
}

/** As many as fit in the buffer, however large: what is not acknowledged cannot be dropped. */
export function receiveMaximum(throttling: MqttSettings['throttling']): number {
  const { receive_maximum, buffer_bytes } = throttling
  return Math.max(1, Math.min(receive_maximum, Math.floor(buffer_bytes / largestPacket(throttling))))
}

/**
 * Memory of messages that are not acknowledged yet, over all links of a session. A broker that keeps to the receive
 * maximum never fills it. One that does not (3.1.1 has none, and mosquitto 2.0 sends a whole receive maximum of QoS 2
 * messages anew for every one that is completed) is not read any further until there is room.
 */
export interface ReceiveGate {
  readonly limit: number
  enter(packet: IPublishPacket): void
  leave(packet: IPublishPacket): void
  /** Undefined where there is room. */
  room(): Promise<void> | undefined
}

export function createReceiveGate(throttling: MqttSettings['throttling']): ReceiveGate {
  const least = Math.max(throttling.buffer_bytes, largestPacket(throttling))
  const limit = least + receiveMaximum(throttling) * IN_MEMORY
  let used = 0
  let opened: PromiseWithResolvers<void> | undefined
  return {
    limit,
    enter(packet) {
      used += sizeInMemory(packet)
    },
    leave(packet) {
      used -= sizeInMemory(packet)
      if (used > limit) return
      opened?.resolve()
      opened = undefined
    },
    room() {
      if (used <= limit) return undefined
      opened ??= Promise.withResolvers()
      return opened.promise
    },
  }
}

export function sizeInMemory({ length, payload }: Pick<IPublishPacket, 'length' | 'payload'>): number {
  return Math.max(length ?? 0, payload.length) + IN_MEMORY
}

/** What of mqtt.js is not public, and used here: tests of acknowledgements fail where a new version changes it. */
interface Internals {
  _receiveMaximum: number
  handleMessage(packet: IPublishPacket, done: (error?: Error) => void): void
  _sendPacket(packet: { cmd: string; messageId?: number; reasonCode?: number }): void
  _releaseIncomingQoS2Publish(messageId?: number): void
}

const NOT_YET = new Error('acknowledged later')

export interface ReceivingParts {
  readonly received: ReceivedStore
  readonly gate: ReceiveGate
  /** Returns a promise where the acknowledgement has to wait for it; it rejects where there must be none. */
  onPublish(packet: IPublishPacket): Promise<void> | undefined
  /** A consumer has failed with a message, which must not be acknowledged: only over another link does it come again. */
  onUntaken(): void
  isOpen(): boolean
}

/**
 * Messages go to the session. An acknowledgement that has to wait must not hold up what comes after it, pings and
 * acknowledgements of our own messages included: mqtt.js is told that there is none, and it is sent from here.
 */
export function receiveFrom(
  client: MqttClient,
  { received, gate, onPublish, onUntaken, isOpen }: ReceivingParts,
): void {
  const inner = client as unknown as Internals
  inner.handleMessage = (packet, done) => {
    const handled = onPublish(packet)
    if (handled === undefined || packet.qos === 0) return done()
    gate.enter(packet)
    const onTaken = () => {
      gate.leave(packet)
      const { messageId } = packet
      if (packet.qos === 2) received.del(packet, () => undefined)
      if (!isOpen()) return
      if (packet.qos === 2) inner._releaseIncomingQoS2Publish(messageId)
      inner._sendPacket({ cmd: packet.qos === 2 ? 'pubcomp' : 'puback', messageId, reasonCode: 0 })
    }
    void handled.then(onTaken, () => {
      gate.leave(packet)
      onUntaken()
    })
    const room = gate.room()
    if (room === undefined) done(NOT_YET)
    else void room.then(() => done(NOT_YET))
  }
}

/** To be called once it connects: the broker was told its receive maximum, and the gate holds where it exceeds it. */
export function neverMindReceiveMaximum(client: MqttClient): void {
  ;(client as unknown as Internals)._receiveMaximum = 65_535
}

/**
 * Ends a link whose broker sends what would fill the memory before mqtt.js looks at its size: it reads a packet to its
 * end first, up to 256 MiB, and keeps QoS 2 messages for which no PUBREL comes.
 */
export function guardMemory(
  client: MqttClient,
  parts: {
    readonly endpoint: Endpoint
    readonly throttling: MqttSettings['throttling']
    readonly received: ReceivedStore
    readonly gate: ReceiveGate
    finish(reason: MhvError): void
  },
): void {
  const { endpoint, throttling, received, gate } = parts
  const most = largestPacket(throttling) + ON_THE_WAY
  let since = 0
  const finish = (what: string) => {
    const why = `${endpoint.name}: the connection was lost: the broker sends ${what}`
    parts.finish(mhvError('MHV_MQTT_CONNECTION_LOST', why, { details: { endpoint: endpoint.name } }))
  }
  client.stream.on('data', (bytes: Uint8Array) => {
    since += bytes.length
    if (since > most) finish(`a packet of more than ${largestPacket(throttling)} bytes`)
  })
  client.on('packetreceive', (packet) => {
    since = 0
    if (packet.cmd === 'publish' && received.bytes() > 2 * gate.limit)
      finish('more QoS 2 messages than it may, and completes none')
  })
}
