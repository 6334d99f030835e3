import { hash } from 'node:crypto'
import type { Clock } from '../../../../core/clock.ts'
import type { IPublishPacket } from '../link/mqtt-library.ts'
import { MESSAGE_ID_PROPERTY } from '../mqtt-session.ts'

/** Messages of which it is known over which link they came, and ids of messages that are remembered. */
const REMEMBERED = 2_048

export interface Duplicates {
  /** Another link is in use from now on. */
  linkChanged(): void
  /**
   * Whether it has come before, or may have: by its DUP flag, by an id that was seen, or, for a while after the link has
   * changed, because the same text came on the same topic over another link.
   */
  seen(packet: IPublishPacket, link: object): boolean
}

/** Shorter payloads are compared as they are, which takes less time than a digest. */
const SHORT = 256

/** @param brokers of the list: only over two of them a QoS 0 message comes twice */
export function createDuplicates(windowMs: number, clock: Clock, brokers: number): Duplicates {
  const links = new Map<string, object>()
  const ids = new Set<string>()
  let until = Number.NEGATIVE_INFINITY

  function seenId(packet: IPublishPacket): boolean {
    const id = packet.properties?.userProperties?.[MESSAGE_ID_PROPERTY]
    if (typeof id !== 'string') return false
    // The same message may come once for each of several filters.
    const key = `${id} ${packet.properties?.subscriptionIdentifier ?? ''}`
    if (ids.has(key)) return true
    ids.add(key)
    if (ids.size > REMEMBERED) ids.delete(ids.values().next().value ?? '')
    return false
  }

  function seenElsewhere(packet: IPublishPacket, link: object): boolean {
    const { payload } = packet
    const short = payload.length <= SHORT && Buffer.isBuffer(payload)
    const text = `${packet.topic}\0${short ? payload.toString('latin1') : hash('sha1', payload, 'base64')}`
    const before = links.get(text)
    links.delete(text)
    links.set(text, link)
    if (links.size > REMEMBERED) links.delete(links.keys().next().value ?? '')
    return before !== undefined && before !== link && clock.monotonic() < until
  }

  return {
    linkChanged() {
      until = clock.monotonic() + windowMs
    },
    seen(packet, link) {
      // A kept message comes with every subscription: that is what was asked for.
      if (packet.retain) return false
      const known = seenId(packet)
      const may = windowMs > 0 && (brokers > 1 || packet.qos > 0)
      const elsewhere = may && seenElsewhere(packet, link)
      return packet.dup || known || elsewhere
    },
  }
}
