import type { IPublishPacket } from './mqtt-library.ts'
import { sizeInMemory } from './receiving.ts'

/**
 * What mqtt.js asks for its two stores. What is to be sent is kept by the outbox, on disk, and what was in flight when a
 * link is lost fails there and then: so nothing is kept here. What was received with QoS 2 and is not yet complete
 * outlives a link, since the broker goes on with it where the session is still there.
 */

type Callback = (error?: Error, packet?: unknown) => void
type Packet = Pick<IPublishPacket, 'messageId'>
/** A PUBLISH, whatever type mqtt.js gives it here. */
type StoredPacket = Packet & Partial<Pick<IPublishPacket, 'length' | 'payload'>>

const MISSING = new Error('no such packet')

export interface PacketStore {
  put(packet: Packet, callback: Callback): PacketStore
  get(packet: Packet, callback: Callback): PacketStore
  del(packet: Packet, callback: Callback): PacketStore
  createStream(): unknown
  close(callback: Callback): void
}

export interface ReceivedStore extends PacketStore {
  /** The broker has forgotten the session. */
  clear(): void
  readonly size: () => number
  /** Bytes that its packets take in memory, about. */
  readonly bytes: () => number
}

/**
 * Keeps nothing: every put is done, and a delete has found it. What a delete finds is all that mqtt.js tells of an
 * acknowledgement, so it brings the reason code that the broker gave (MQTT 5), by packet id.
 */
export function createSentStore(reasons: Map<number | undefined, number> = new Map()): PacketStore {
  const store: PacketStore = {
    put(_packet, callback) {
      callback()
      return store
    },
    get(_packet, callback) {
      callback(MISSING)
      return store
    },
    del({ messageId }, callback) {
      const reasonCode = reasons.get(messageId)
      reasons.delete(messageId)
      callback(undefined, { messageId, reasonCode })
      return store
    },
    createStream: emptyStream,
    close: (callback) => callback(),
  }
  return store
}

/** QoS 2 messages by packet id, between PUBLISH and PUBREL. */
export function createReceivedStore(): ReceivedStore {
  const packets = new Map<number | undefined, StoredPacket>()
  let bytes = 0
  const sizeOf = ({ length, payload = '' }: StoredPacket) => sizeInMemory({ length, payload })

  function remove({ messageId }: Packet): StoredPacket | undefined {
    const found = packets.get(messageId)
    if (found === undefined) return undefined
    packets.delete(messageId)
    bytes -= sizeOf(found)
    return found
  }

  const store: ReceivedStore = {
    put(packet: StoredPacket, callback) {
      remove(packet)
      // A payload is a view of what was read at once: held as it is, it would keep all of that alive.
      if (Buffer.isBuffer(packet.payload)) packet.payload = Buffer.from(packet.payload)
      packets.set(packet.messageId, packet)
      bytes += sizeOf(packet)
      callback()
      return store
    },
    get({ messageId }, callback) {
      const found = packets.get(messageId)
      if (found === undefined) callback(MISSING)
      else callback(undefined, found)
      return store
    },
    del(packet, callback) {
      const found = remove(packet)
      if (found === undefined) callback(MISSING)
      else callback(undefined, found)
      return store
    },
    createStream: emptyStream,
    // mqtt.js closes it with every link; it is meant to stay.
    close: (callback) => callback(),
    clear() {
      packets.clear()
      bytes = 0
    },
    size: () => packets.size,
    bytes: () => bytes,
  }
  return store
}

/** As little of a stream as mqtt.js asks of one with nothing in it. */
function emptyStream(): unknown {
  const stream = {
    on(event: string, listener: () => void) {
      if (event === 'end') queueMicrotask(listener)
      return stream
    },
    once: () => stream,
    read: () => null,
    destroy: () => stream,
  }
  return stream
}
