import type { IPublishPacket } from './mqtt-library.ts'

/**
 * What mqtt.js asks for its two stores. What is to be sent is kept by the outbox, on disk, and what was in flight when a
 * link is lost fails there and then: so nothing is kept here. What was received with QoS 2 and is not yet complete
 * outlives a link, since the broker goes on with it where the session is still there.
 */

type Callback = (error?: Error, packet?: unknown) => void
type Packet = Pick<IPublishPacket, 'messageId'>

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
}

/** Keeps nothing: every put is done, and a delete has found it. */
export function createSentStore(): PacketStore {
  const store: PacketStore = {
    put(_packet, callback) {
      callback()
      return store
    },
    get(_packet, callback) {
      callback(MISSING)
      return store
    },
    del(packet, callback) {
      callback(undefined, packet)
      return store
    },
    createStream: emptyStream,
    close: (callback) => callback(),
  }
  return store
}

/** QoS 2 messages by packet id, between PUBLISH and PUBREL. */
export function createReceivedStore(): ReceivedStore {
  const packets = new Map<number | undefined, Packet>()
  const store: ReceivedStore = {
    put(packet, callback) {
      packets.set(packet.messageId, packet)
      callback()
      return store
    },
    get({ messageId }, callback) {
      const found = packets.get(messageId)
      if (found === undefined) callback(MISSING)
      else callback(undefined, found)
      return store
    },
    del({ messageId }, callback) {
      const found = packets.get(messageId)
      packets.delete(messageId)
      if (found === undefined) callback(MISSING)
      else callback(undefined, found)
      return store
    },
    createStream: emptyStream,
    // mqtt.js closes it with every link; it is meant to stay.
    close: (callback) => callback(),
    clear: () => packets.clear(),
    size: () => packets.size,
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
