import type { WorkerContext } from '../../../../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../../../../core/errors.ts'
import type { MqttSettings, MqttTarget } from '../../settings.ts'
import { createIdentityCheck } from '../identity/identity-check.ts'
import { isRefusal } from '../link/connect-errors.ts'
import { sendOne } from '../link/inflight.ts'
import type { Link } from '../link/link.ts'
import type { IPublishPacket } from '../link/mqtt-library.ts'
import type { MqttSession, OutgoingMessage, SendListener, SessionState, SubscribeOptions } from '../mqtt-session.ts'
import { checkFilter, checkTopic } from '../topics/topics.ts'
import { createBrokerChoice } from './broker-choice.ts'
import { createDuplicates } from './duplicates.ts'
import { holdLink } from './hold-link.ts'
import { toIncoming } from './incoming.ts'
import { createLinkMaker, presencePayload } from './link-maker.ts'
import { createSubscriptionProbe } from './probe.ts'
import { createRateLimiter } from './rate-limiter.ts'
import { createSubscriptionTable } from './subscription-table.ts'

/** Where every broker refuses, another try is made after this long, or when somebody calls. */
const REFUSED_RETRY_MS = 60_000
/** A link that is lost sooner counts as a failed try. */
const STABLE_MS = 5_000
/** Least time between the end of a try and another one that a call asks for. */
const LEAST_PAUSE_MS = 1_000

export interface SessionParts {
  readonly target: MqttTarget
  readonly settings: MqttSettings
  readonly client_id: string
  readonly context: WorkerContext<MqttSettings>
}

export interface OwnedSession extends MqttSession {
  /** Says goodbye to the broker and ends everything. */
  close(): Promise<void>
}

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

/** One session: see `MqttSession`. It connects at once and until it is closed. */
export function createSession({ target, settings, client_id, context }: SessionParts): OwnedSession {
  const { clock, log } = context
  const { throttling } = settings
  const presence =
    settings.presence_topic === '' ? undefined : settings.presence_topic.replaceAll('{client_id}', client_id)
  const table = createSubscriptionTable(throttling)
  const duplicates = createDuplicates(settings.duplicate_window * 1000, clock, target.brokers.length)
  const identity = createIdentityCheck(settings.identity, clock, log)
  const limiter = createRateLimiter(throttling.max_publish_rate, throttling.publish_burst, clock)
  const choice = createBrokerChoice({
    brokers: target.brokers.length,
    threshold: settings.broker_switch_threshold,
    base_ms: settings.reconnect_base * 1000,
    cap_ms: settings.reconnect_cap * 1000,
  })
  const maker = createLinkMaker({
    target,
    settings,
    client_id,
    context,
    presence,
    onForgotten,
    onPublish: receive,
  })
  const probe = createSubscriptionProbe({
    topic: `mahavishnu/probe/${client_id}`,
    interval_ms: settings.subscription_health_check * 1000,
    clock,
    log,
    wanted: () => table.size() > 0,
    made: table.made,
    resubscribe: (link) => table.restore(link, true),
  })
  const ended = new AbortController()
  const waiters = new Set<Waiter>()
  const connected = new Set<() => void>()
  const disconnected = new Set<(reason: MhvError) => void>()
  const counts = { lost: 0, sessions_lost: 0, switches: 0, failures: 0, published: 0, duplicates: 0 }
  /** QoS 2 messages whose consumers are not done: the broker may come back to them over another link. */
  const delivering = new WeakMap<IPublishPacket, Promise<void>>()
  let state: SessionState = 'connecting'
  let current: Link | undefined
  let shown = ''
  let lastError: MhvError | undefined
  let failedAt = Number.NEGATIVE_INFINITY
  let wake: (() => void) | undefined

  /** Without subscriptions there was nothing to lose. */
  function onForgotten(endpoint: string, lost: boolean): void {
    table.forget(endpoint)
    if (!lost || table.size() === 0) return
    counts.sessions_lost += 1
    log.warn('mqtt: the broker has lost the session; what it kept for it meanwhile is lost', { endpoint })
  }

  function receive(packet: IPublishPacket, link: object): Promise<void> | undefined {
    if (probe.arrived(packet)) return undefined
    const before = delivering.get(packet)
    if (before !== undefined) return before
    const duplicate = duplicates.seen(packet, link)
    if (duplicate) counts.duplicates += 1
    const message = identity.check(toIncoming(packet, duplicate, clock.now(), shown))
    if (message === undefined) return undefined
    const wait = table.dispatch(packet, message)
    if (wait !== undefined && packet.qos === 2) {
      delivering.set(packet, wait)
      // A consumer has failed with it: over the next link it is a matter of those who are there then.
      wait.catch(() => delivering.delete(packet))
    }
    return wait
  }

  function settle(error: MhvError | undefined): void {
    for (const { resolve, reject } of waiters) {
      if (error === undefined) resolve()
      else reject(error)
    }
    waiters.clear()
  }

  /** Waits for the next try; a call may cut it short. */
  async function pause(ms: number): Promise<void> {
    const woken = new AbortController()
    wake = () => woken.abort()
    try {
      await clock.sleep(ms, AbortSignal.any([woken.signal, ended.signal])).catch(() => undefined)
    } finally {
      wake = undefined
    }
  }

  async function failed(error: MhvError): Promise<void> {
    lastError = error
    failedAt = clock.monotonic()
    counts.failures += 1
    const { switched, exhausted, all_refused } = choice.failed(isRefusal(error))
    if (switched) counts.switches += 1
    const ms = all_refused ? REFUSED_RETRY_MS : choice.wait()
    state = all_refused ? 'refused' : 'waiting'
    log.warn('mqtt: no connection', { error_code: error.code, message: error.message, next_try_seconds: ms / 1000 })
    for (const listener of disconnected) listener(error)
    if (exhausted) settle(error)
    await pause(ms)
  }

  /** A link with all subscriptions on it. */
  async function make(index: number): Promise<Link> {
    const link = await maker.open(index, ended.signal)
    // Nobody else knows of this link yet, and its broker may take long to answer.
    const onEnd = () => void link.end(target.client_id === undefined)
    ended.signal.addEventListener('abort', onEnd, { once: true })
    try {
      await table.restore(link, false)
      ended.signal.throwIfAborted()
    } catch (error) {
      if (!ended.signal.aborted) link.destroy(toMhvError(error))
      throw error
    } finally {
      ended.signal.removeEventListener('abort', onEnd)
    }
    return link
  }

  function use(link: Link): void {
    if (current !== undefined || shown !== '') duplicates.linkChanged()
    if (current !== undefined && current !== link) leave(current)
    if (shown !== '' && shown !== link.endpoint.name)
      log.info('mqtt: another broker is in use', { endpoint: link.endpoint.name })
    current = link
    shown = link.endpoint.name
    state = 'connected'
    lastError = undefined
    settle(undefined)
    for (const listener of connected) listener()
    // For whoever subscribed while all others were being made again; where the link is lost, the next one has them.
    table.restore(link, false).catch(() => undefined)
    void announce(link, 'online')
  }

  /** What waits for its turn was meant for this link: over the next one it would overtake what has to be sent again. */
  function leave(link: Link): void {
    limiter.abandon(link, notConnected())
  }

  async function announce(link: Link, status: 'online' | 'stopped'): Promise<void> {
    if (presence === undefined) return
    const message = {
      topic: presence,
      payload: presencePayload(status, client_id),
      qos: 1,
      retain: target.client_id !== undefined,
    } as const
    const timeout = AbortSignal.timeout(2_000)
    await link.publish(message, timeout).catch((error: unknown) => {
      const { code, message: why } = toMhvError(error)
      if (code !== 'MHV_MQTT_CONNECTION_LOST')
        log.warn('mqtt: the presence message was not taken', { error_code: code, message: why })
    })
  }

  /** Uses links, one after the other, as long as one replaces the other without a gap. */
  async function useLinks(index: number): Promise<void> {
    let link = await make(index)
    let at = index
    for (;;) {
      const since = clock.monotonic()
      use(link)
      const next = await holdLink({ link, at, maker, make, probe, settings, clock, log, ended: ended.signal })
      if ('link' in next) {
        const old = link
        link = next.link
        at = 0
        counts.switches += 1
        choice.succeeded(at, true)
        use(link)
        void old.end(false)
        continue
      }
      current = undefined
      counts.lost += 1
      lastError = next.lost
      leave(link)
      if (ended.signal.aborted) return
      const lasted = clock.monotonic() - since
      if (lasted < STABLE_MS || isUnfit(next.lost)) throw next.lost
      choice.succeeded(at, lasted > settings.reconnect_cap * 1000)
      state = 'waiting'
      log.warn('mqtt: the connection was lost', { message: next.lost.message })
      for (const listener of disconnected) listener(next.lost)
      await pause(choice.wait())
      return
    }
  }

  async function run(): Promise<void> {
    while (!ended.signal.aborted) {
      state = 'connecting'
      try {
        await useLinks(choice.current())
      } catch (error) {
        if (!ended.signal.aborted) await failed(toMhvError(error))
      }
    }
  }
  const running = run()

  function notConnected(): MhvError {
    const why = lastError === undefined ? '' : `: ${lastError.message}`
    return mhvError('MHV_MQTT_NOT_CONNECTED', `there is no connection at the moment${why}`, { retryAfter: 1 })
  }

  function sendOver(link: Link | undefined, message: OutgoingMessage, signal: AbortSignal, listener: SendListener) {
    if (link === undefined || (link !== current && message.qos > 0)) {
      listener.failed(notConnected(), message)
      return
    }
    counts.published += 1
    link.send(message, signal, listener)
  }

  function send(message: OutgoingMessage, signal: AbortSignal, listener: SendListener): void {
    const link = current
    try {
      signal.throwIfAborted()
      checkTopic(message.topic)
      checkSize(message, throttling.max_message_size)
      if (link === undefined) throw notConnected()
    } catch (error) {
      listener.failed(error, message)
      return
    }
    // QoS 0 goes over whatever link there is by then.
    const own = message.qos > 0
    const turn = limiter.take(signal, own ? link : undefined)
    if (turn === undefined) sendOver(link, message, signal, listener)
    else {
      turn.then(
        () => sendOver(own ? link : current, message, signal, listener),
        (error: unknown) => listener.failed(error, message),
      )
    }
  }

  function ready(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason)
    if (state === 'connected') return Promise.resolve()
    if (ended.signal.aborted) return Promise.reject(ended.signal.reason)
    return new Promise((resolve, reject) => {
      const done = () => {
        waiters.delete(waiter)
        signal.removeEventListener('abort', onAbort)
      }
      const waiter: Waiter = {
        resolve() {
          done()
          resolve()
        },
        reject(error) {
          done()
          reject(error)
        },
      }
      const onAbort = () => waiter.reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      waiters.add(waiter)
      const soon = Math.max(0, failedAt + LEAST_PAUSE_MS - clock.monotonic())
      clock.after(soon, () => {
        if (waiters.has(waiter)) wake?.()
      })
    })
  }

  async function subscribe(filter: string, options: SubscribeOptions) {
    checkFilter(filter)
    await ready(options.signal)
    const { listener, granted, qos } = await table.add(options, filter, () => current)
    const close = () => table.remove(listener, () => current)
    if (!granted) {
      try {
        // The loss of the link is seen first, and then the next link, which has it.
        await clock.sleep(1)
        await ready(options.signal)
      } catch (error) {
        await close()
        throw error
      }
    }
    const onAbort = () => void close()
    options.signal.addEventListener('abort', onAbort, { once: true })
    if (options.signal.aborted) onAbort()
    const closed = listener.closed.promise.finally(() => options.signal.removeEventListener('abort', onAbort))
    // Who does not ask how it ended is not to be ended by it; a consumer that failed gets nothing more.
    closed.catch(close)
    return { filter, qos: qos(), dropped: () => listener.dropped, close, closed }
  }

  return {
    client_id,
    protocol: target.protocol,
    publishNow: (message, signal) => sendOne({ send }, message, signal),
    send,
    subscribe,
    ready,
    state: () => state,
    endpoint: () => current?.endpoint.name ?? null,
    onConnected(listener) {
      connected.add(listener)
      return () => connected.delete(listener)
    },
    onDisconnected(listener) {
      disconnected.add(listener)
      return () => disconnected.delete(listener)
    },
    facts: () => ({
      state,
      endpoint: current?.endpoint.name ?? null,
      client_id,
      ...counts,
      subscriptions: table.size(),
      received: table.counts.received,
      dropped: table.counts.dropped,
      impostors: identity.impostors(),
      buffered_bytes: table.budget.used,
      last_error: lastError === undefined ? null : `${lastError.code}: ${lastError.message}`,
    }),
    async close() {
      if (state === 'closed') return
      const link = current
      const reason = mhvError('MHV_MQTT_NOT_CONNECTED', 'the connection is being closed')
      ended.abort(reason)
      settle(reason)
      table.close(undefined)
      if (link !== undefined) {
        await announce(link, 'stopped')
        await link.end(target.client_id === undefined)
      }
      await running
      state = 'closed'
    },
  }
}

/** Whether the broker, although it can be reached, does not do what it is there for. */
function isUnfit(lost: MhvError): boolean {
  return isRefusal(lost) || lost.details?.['unacknowledged'] === true
}

function checkSize({ topic, payload }: OutgoingMessage, most: number): void {
  if (payload.length <= most) return
  const why = `the message to ${JSON.stringify(topic.slice(0, 100))} has ${payload.length} bytes; ${most} are the most`
  throw mhvError('MHV_MQTT_MESSAGE_TOO_LARGE', why)
}
