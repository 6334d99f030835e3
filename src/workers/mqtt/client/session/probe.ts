import type { Clock } from '../../../../core/clock.ts'
import type { Logger } from '../../../../core/context.ts'
import { mhvError, toMhvError } from '../../../../core/errors.ts'
import { newId } from '../../../../core/ids.ts'
import type { Link } from '../link/link.ts'
import type { IPublishPacket } from '../link/mqtt-library.ts'

/** Longest time that a message to itself may take. */
const ANSWER_MS = 10_000

/**
 * Looks whether subscriptions are alive, by messages to itself: a broker may answer pings and yet have lost what it was
 * asked for. Where they miss once, all subscriptions are made again; where they miss twice, the link is broken off.
 */
export interface SubscriptionProbe {
  /** Whether this packet is one of its own. */
  arrived(packet: IPublishPacket): boolean
  /** Looks again and again while the link is up and the signal allows. */
  watch(link: Link, signal: AbortSignal): Promise<void>
}

export interface ProbeParts {
  readonly topic: string
  readonly interval_ms: number
  readonly clock: Clock
  readonly log: Logger
  /** Whether there is anything to look after. */
  wanted(): boolean
  /** Rises with every new subscription. */
  made(): number
  /** Makes all subscriptions again. */
  resubscribe(link: Link): Promise<void>
}

export function createSubscriptionProbe(parts: ProbeParts): SubscriptionProbe {
  const { topic, interval_ms, clock, log } = parts
  /** Endpoints on which such a message has come back: elsewhere nothing can be told from one that does not. */
  const works = new Set<string>()
  /** By endpoint: how many subscriptions had ever been made when the one of the probe was. */
  const there = new Map<string, number>()
  const watched = new Set<string>()
  let expected: { readonly id: string; readonly came: () => void } | undefined

  /** Whether a message came back in time. Throws what the broker refuses. */
  async function look(link: Link, signal: AbortSignal): Promise<boolean> {
    const id = newId(clock)
    const came = Promise.withResolvers<boolean>()
    expected = { id, came: () => came.resolve(true) }
    const stop = clock.after(Math.min(ANSWER_MS, interval_ms), () => came.resolve(false))
    try {
      const message = { topic, payload: Buffer.from(id), qos: 1, retain: false } as const
      await Promise.race([link.publish(message, signal), came.promise])
      return await came.promise
    } finally {
      stop()
      expected = undefined
    }
  }

  async function subscribe(link: Link): Promise<void> {
    const made = parts.made()
    await link.subscribe({ filter: topic, qos: 0, retained: false, id: undefined })
    there.set(link.endpoint.name, made)
  }

  async function watch(link: Link, signal: AbortSignal): Promise<void> {
    const endpoint = link.endpoint.name
    // A session that is still there should have its subscription: whether it has shows whether it is the one that was left.
    let subscribed = link.session_present && there.get(endpoint) === parts.made()
    // A broker that comes back from an older copy of its state knows the session, and not what was made since.
    let doubtful = link.session_present && watched.has(endpoint) && !subscribed
    watched.add(endpoint)
    let misses = 0
    while (!signal.aborted) {
      await clock.sleep(interval_ms, signal)
      if (!parts.wanted()) continue
      if (doubtful) await parts.resubscribe(link)
      doubtful = false
      if (!subscribed) await subscribe(link)
      subscribed = true
      if (await look(link, signal)) {
        works.add(endpoint)
        misses = 0
        // Its own is to be the last that was made: who has that one has them all.
        if (there.get(endpoint) !== parts.made()) await subscribe(link)
        continue
      }
      signal.throwIfAborted()
      if (!works.has(endpoint)) {
        log.warn('mqtt: the messages to itself never come back; subscriptions are not looked after', {
          endpoint,
          topic,
        })
        return
      }
      misses += 1
      if (misses > 1) {
        const why = `${endpoint}: the connection was lost: its subscriptions are dead`
        link.destroy(mhvError('MHV_MQTT_CONNECTION_LOST', why, { details: { endpoint } }))
        return
      }
      log.warn('mqtt: a message to itself did not come back; all subscriptions are made again', { endpoint })
      subscribed = false
      await parts.resubscribe(link)
    }
  }

  return {
    arrived(packet) {
      if (packet.topic !== topic) return false
      if (expected !== undefined && packet.payload.toString() === expected.id) expected.came()
      return true
    },
    async watch(link, signal) {
      try {
        await watch(link, signal)
      } catch (error) {
        if (signal.aborted) return
        const { code, message } = toMhvError(error)
        if (code === 'MHV_MQTT_NOT_CONNECTED' || code === 'MHV_MQTT_CONNECTION_LOST') return
        log.warn('mqtt: subscriptions are not looked after', {
          endpoint: link.endpoint.name,
          error_code: code,
          message,
        })
      }
    },
  }
}
