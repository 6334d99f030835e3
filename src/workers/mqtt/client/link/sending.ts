import type { OutgoingMessage } from '../mqtt-session.ts'
import type { MqttClient } from './mqtt-library.ts'
import { createPacketWriter } from './packet-writer.ts'

/** What of mqtt.js is not public, and used here: tests of acknowledgements fail where a new version changes it. */
interface Internals {
  readonly outgoing: Record<number, { volatile: boolean; cmd: 'publish'; cb: Answered }>
  _nextId(): number
  _sendPacket(packet: { readonly cmd: string; readonly messageId?: number }, ...more: unknown[]): void
}

/** QoS 1 and 2: what the broker said; QoS 0: that it was written. */
export type Answered = (error?: Error | null, packet?: unknown) => void

/**
 * Hands messages to the broker past `publish` of mqtt.js, which copies each of them, and writes it in many pieces. Their
 * acknowledgements are its business as before: it finds them in the table in which it keeps its own.
 */
export function createSending(client: MqttClient, five: boolean) {
  const inner = client as unknown as Internals
  const { stream } = client
  const writer = createPacketWriter(stream, five)
  const sendPacket = inner._sendPacket.bind(client)
  inner._sendPacket = (packet, ...more) => {
    if (packet.cmd === 'pubrel' && packet.messageId !== undefined && client.connected) {
      writer.pubrel(packet.messageId)
      return
    }
    // What was sent before goes before it: after a DISCONNECT nobody would read it.
    writer.flush()
    sendPacket(packet, ...more)
  }

  /** One that no message is on its way with; mqtt.js takes the next number, whatever became of it. */
  function freeId(): number {
    let id = inner._nextId()
    while (id in inner.outgoing) id = inner._nextId()
    return id
  }

  return {
    /** Whether what was given has to be taken first. */
    needsDrain: () => stream.writableNeedDrain,
    onceDrained: (listener: () => void) => void stream.once('drain', listener),
    /** Throws RangeError for what no packet can hold. */
    send(message: OutgoingMessage, answered: Answered): void {
      if (!client.connected || client.disconnecting) {
        answered(new Error('the connection is being closed'))
      } else if (message.qos === 0) {
        writer.publish(message, 0, answered)
      } else {
        const id = freeId()
        writer.publish(message, id)
        inner.outgoing[id] = { volatile: false, cmd: 'publish', cb: answered }
      }
    },
  }
}
