import { type MhvError, mhvError, toMhvError } from '../../../../core/errors.ts'
import type { MqttSettings } from '../../settings.ts'
import type { Link } from '../link/link.ts'
import type { IPublishPacket } from '../link/mqtt-library.ts'
import type { IncomingMessage, Qos, SubscribeOptions } from '../mqtt-session.ts'
import { matchesFilter } from '../topics/topics.ts'
import { createDelivery, type Delivery, type ReceiveBudget } from './delivery.ts'

/** Topics for which it is remembered which filters take them, where the broker does not say so itself. */
const CACHED_TOPICS = 10_000

/** Largest subscription identifier: MQTT 5, 3.8.2.1.2. */
const MAX_ID = 268_435_455
/** Ids of one filter that are remembered: a long subscription gets one with every other that comes and goes. */
const KEPT_IDS = 64

/** One who subscribed. */
export interface Listener {
  readonly filter: string
  readonly qos: Qos
  readonly retained: boolean
  readonly delivery: Delivery
  readonly closed: PromiseWithResolvers<void>
  dropped: number
  /** Ids of the subscriptions that were made for it: kept messages of these are its own. */
  readonly ids: Set<number>
}

/** A filter, as the broker has it: once, with the highest QoS that somebody wants. */
interface Entry {
  readonly filter: string
  qos: Qos
  granted: Qos
  /** The newest subscription identifier; every SUBSCRIBE gets its own. */
  id: number
  readonly ids: Set<number>
  readonly listeners: Set<Listener>
  /** SUBSCRIBE and UNSUBSCRIBE of one filter go one after the other. */
  turn: Promise<unknown>
}

export interface TableCounts {
  received: number
  dropped: number
  unclaimed: number
  oversized: number
}

export interface SubscriptionTable {
  /**
   * Adds a listener and tells the broker, if there is a link; `granted` is false where it was lost meanwhile, and the next
   * one makes it. Throws as `MqttSession.subscribe`.
   */
  add(
    options: SubscribeOptions,
    filter: string,
    link: () => Link | undefined,
  ): Promise<{ listener: Listener; granted: boolean; qos: () => Qos }>
  remove(listener: Listener, link: () => Link | undefined): Promise<void>
  /** Makes all subscriptions that the broker does not have yet, and ends those that nobody wants any more. */
  restore(link: Link, force: boolean): Promise<void>
  /** The broker has no session of ours any more. */
  forget(endpoint: string): void
  /** Hands a message to its listeners; a promise where the acknowledgement has to wait for them. */
  dispatch(packet: IPublishPacket, message: IncomingMessage): Promise<void> | undefined
  readonly size: () => number
  /** Filters that were ever new: rises with each. */
  readonly made: () => number
  readonly counts: TableCounts
  readonly budget: ReceiveBudget
  /** Ends all listeners. */
  close(reason: MhvError | undefined): void
}

export function createSubscriptionTable(throttling: MqttSettings['throttling']): SubscriptionTable {
  const entries = new Map<string, Entry>()
  const byId = new Map<number, Entry>()
  /** By endpoint: the id under which each filter was last granted in the session that the broker has. */
  const granted = new Map<string, Map<string, number>>()
  const cache = new Map<string, readonly Entry[]>()
  const counts: TableCounts = { received: 0, dropped: 0, unclaimed: 0, oversized: 0 }
  const budget: ReceiveBudget = { used: 0, limit: throttling.buffer_bytes }
  let lastId = 0
  let made = 0

  function known(endpoint: string): Map<string, number> {
    const found = granted.get(endpoint) ?? new Map<string, number>()
    granted.set(endpoint, found)
    return found
  }

  function createListener(options: SubscribeOptions, filter: string): Listener {
    const closed = Promise.withResolvers<void>()
    closed.promise.catch(() => undefined)
    const listener: Listener = {
      filter,
      qos: options.qos,
      retained: options.retained !== false,
      closed,
      dropped: 0,
      ids: new Set(),
      delivery: createDelivery({
        max: throttling.buffer_size,
        budget,
        drop_oldest: throttling.drop_oldest_when_full,
        onMessage: options.onMessage,
        onDrop() {
          listener.dropped += 1
          counts.dropped += 1
        },
        onFailed: (error) => closed.reject(error),
      }),
    }
    return listener
  }

  function entryOf(filter: string, qos: Qos): Entry {
    const found = entries.get(filter)
    if (found) return found
    if (entries.size >= throttling.max_subscription_count) {
      const why = `${entries.size} of ${throttling.max_subscription_count} subscriptions are in use`
      throw mhvError('MHV_MQTT_SUBSCRIPTIONS_FULL', why, { retryAfter: 5 })
    }
    const entry: Entry = {
      filter,
      qos,
      granted: qos,
      id: 0,
      ids: new Set(),
      listeners: new Set(),
      turn: Promise.resolve(),
    }
    entries.set(filter, entry)
    made += 1
    cache.clear()
    return entry
  }

  /** Sends one SUBSCRIBE for an entry. Kept messages that follow belong to the listeners in `whose`. */
  async function send(entry: Entry, link: Link, whose: Iterable<Listener>, retained: boolean): Promise<void> {
    lastId = (lastId % MAX_ID) + 1
    const id = lastId
    entry.id = id
    entry.ids.add(id)
    byId.set(id, entry)
    for (const listener of whose) listener.ids.add(id)
    entry.granted = await link.subscribe({ filter: entry.filter, qos: entry.qos, retained, id })
    forgetIds(entry)
    known(link.endpoint.name).set(entry.filter, id)
  }

  /** From here on messages come under the newest id; one that is still on its way under an older one is found by its topic. */
  function forgetIds(entry: Entry): void {
    for (const id of entry.ids) {
      if (entry.ids.size <= KEPT_IDS) return
      entry.ids.delete(id)
      byId.delete(id)
      for (const listener of entry.listeners) listener.ids.delete(id)
    }
  }

  function inTurn<T>(entry: Entry, act: () => Promise<T>): Promise<T> {
    const result = entry.turn.then(act)
    entry.turn = result.catch(() => undefined)
    return result
  }

  function drop(entry: Entry): void {
    if (entries.get(entry.filter) === entry) entries.delete(entry.filter)
    for (const id of entry.ids) byId.delete(id)
    cache.clear()
  }

  async function remove(listener: Listener, link: () => Link | undefined): Promise<void> {
    const entry = entries.get(listener.filter)
    listener.delivery.close()
    listener.closed.resolve()
    if (!entry?.listeners.delete(listener) || entry.listeners.size > 0) return
    drop(entry)
    const now = link()
    if (now === undefined) return
    await inTurn(entry, async () => {
      // Somebody else may have subscribed to it in the meantime.
      if (entries.has(entry.filter)) return
      known(now.endpoint.name).delete(entry.filter)
      await now.unsubscribe(entry.filter)
    })
  }

  function entriesFor(packet: IPublishPacket): readonly Entry[] {
    const ids = packet.properties?.subscriptionIdentifier as number | readonly number[] | undefined
    if (ids !== undefined) {
      const list = typeof ids === 'number' ? [ids] : ids
      const found = new Set(list.flatMap((id) => byId.get(id) ?? []))
      if (found.size > 0) return [...found]
    }
    const { topic } = packet
    let found = cache.get(topic)
    if (found === undefined) {
      found = [...entries.values()].filter(({ filter }) => matchesFilter(filter, topic))
      if (cache.size >= CACHED_TOPICS) cache.clear()
      cache.set(topic, found)
    }
    return found
  }

  function wants(listener: Listener, packet: IPublishPacket): boolean {
    if (!packet.retain) return true
    const ids = packet.properties?.subscriptionIdentifier as number | readonly number[] | undefined
    if (ids === undefined) return listener.retained
    return listener.retained && (typeof ids === 'number' ? [ids] : ids).some((id) => listener.ids.has(id))
  }

  return {
    counts,
    budget,
    size: () => entries.size,
    made: () => made,
    remove,
    async add(options, filter, link) {
      const entry = entryOf(filter, options.qos)
      const listener = createListener(options, filter)
      const first = entry.listeners.size === 0
      const higher = options.qos > entry.qos
      if (higher) entry.qos = options.qos
      entry.listeners.add(listener)
      let granted = true
      try {
        await inTurn(entry, async () => {
          const now = link()
          // Without one, it is made together with all others as soon as there is.
          if (now === undefined) return
          if (!first && !higher && !listener.retained && known(now.endpoint.name).has(filter)) return
          await send(entry, now, [listener], listener.retained)
        })
      } catch (error) {
        const { code } = toMhvError(error)
        // The link was lost while it asked: it is asked again over the next.
        if (code !== 'MHV_MQTT_NOT_CONNECTED') {
          entry.listeners.delete(listener)
          if (entry.listeners.size === 0) drop(entry)
          throw error
        }
        granted = false
      }
      return { listener, granted, qos: () => entry.granted }
    },
    async restore(link, force) {
      const there = known(link.endpoint.name)
      const stale = [...there.keys()].filter((filter) => !entries.has(filter))
      const wanted = [...entries.values()].filter((entry) => force || there.get(entry.filter) !== entry.id)
      const made = wanted.map((entry) =>
        inTurn(entry, async () => {
          if (entries.get(entry.filter) !== entry) return
          // Somebody may have made it in the meantime.
          if (!force && there.get(entry.filter) === entry.id) return
          const retained = [...entry.listeners].some((listener) => listener.retained)
          await send(entry, link, entry.listeners, retained).catch((error: unknown) => {
            const known = toMhvError(error)
            if (known.code === 'MHV_MQTT_NOT_CONNECTED') throw known
            // The broker does not grant it any more: whoever waits for messages is told.
            for (const listener of entry.listeners) listener.closed.reject(known)
            drop(entry)
          })
        }),
      )
      const ended = stale.map(async (filter) => {
        there.delete(filter)
        await link.unsubscribe(filter)
      })
      await Promise.all([...made, ...ended])
    },
    forget: (endpoint) => granted.delete(endpoint),
    dispatch(packet, message) {
      counts.received += 1
      if (packet.payload.length > throttling.max_message_size) {
        counts.oversized += 1
        return undefined
      }
      const found = entriesFor(packet)
      if (found.length === 0) counts.unclaimed += 1
      let waits: Promise<void>[] | undefined
      for (const { listeners } of found) {
        for (const listener of listeners) {
          if (!wants(listener, packet)) continue
          const wait = listener.delivery.push(message)
          if (wait !== undefined) {
            waits ??= []
            waits.push(wait)
          }
        }
      }
      if (waits === undefined) return undefined
      return waits.length === 1 ? waits[0] : Promise.all(waits).then(() => undefined)
    },
    close(reason) {
      for (const { listeners } of entries.values()) {
        for (const { delivery, closed } of listeners) {
          delivery.close()
          if (reason === undefined) closed.resolve()
          else closed.reject(reason)
        }
      }
      entries.clear()
      byId.clear()
      cache.clear()
    },
  }
}
