import type { Clock } from '../../../../core/clock.ts'
import { type MhvError, mhvError } from '../../../../core/errors.ts'
import type { MqttSettings } from '../../settings.ts'
import type { OutgoingMessage, PublishAck, Qos, SendListener } from '../mqtt-session.ts'
import { connectError, refusedConnect, saidBy } from './connect-errors.ts'
import type { Credentials } from './credentials.ts'
import type { Endpoint } from './endpoint.ts'
import { createInflight, sendOne } from './inflight.ts'
import {
  connectMqtt,
  type IClientOptions,
  type IConnackPacket,
  type IPublishPacket,
  type MqttClient,
} from './mqtt-library.ts'
import { createSentStore, type ReceivedStore } from './packet-stores.ts'
import { createPingTimer } from './ping-timer.ts'
import { NOT_AUTHORIZED, reasonText, SESSION_TAKEN_OVER } from './reason-codes.ts'
import {
  guardMemory,
  largestPacket,
  neverMindReceiveMaximum,
  type ReceiveGate,
  receiveFrom,
  receiveMaximum,
} from './receiving.ts'

/** How long acknowledgements are waited for before a goodbye, and then for the goodbye to go out, in milliseconds. */
const GOODBYE_MS = 1_000
const LAST_WORD_MS = 50
/** Longest wait for the answer to an UNSUBSCRIBE, in milliseconds. */
const UNSUBSCRIBE_MS = 1_000

export interface LinkOptions {
  readonly endpoint: Endpoint
  readonly credentials: Credentials
  readonly client_id: string
  readonly protocol: '5' | '3.1.1'
  /** Whether the broker shall forget an earlier session. */
  readonly clean: boolean
  /** Seconds for which the broker keeps the session after the link (MQTT 5). */
  readonly session_expiry: number
  readonly will?: { readonly topic: string; readonly payload: Uint8Array; readonly retain: boolean }
  readonly settings: MqttSettings
  readonly received: ReceivedStore
  readonly gate: ReceiveGate
  readonly clock: Clock
  /** Before anything that the broker sends because of the session. */
  onSession(present: boolean): void
  /** Returns a promise where the acknowledgement has to wait for it. */
  onPublish(packet: IPublishPacket): Promise<void> | undefined
}

/** What a broker said of itself when it took us (MQTT 5); everything is allowed where it said nothing. */
export interface BrokerLimits {
  readonly retain: boolean
  readonly max_qos: Qos
  readonly subscription_ids: boolean
  /** Bytes of a packet. */
  readonly max_packet: number
  readonly keepalive: number | undefined
}

export interface SubscribeRequest {
  readonly filter: string
  readonly qos: Qos
  readonly retained: boolean
  /** Subscription identifier, where the broker takes them. */
  readonly id: number | undefined
}

/** One network connection to one broker, from its CONNACK to its end. It is never made again: the next is another. */
export interface Link {
  readonly endpoint: Endpoint
  readonly session_present: boolean
  readonly limits: BrokerLimits
  /** See `MqttSession.publishNow`, without its checks and its rate. */
  publish(message: OutgoingMessage, signal: AbortSignal): Promise<PublishAck>
  /** See `MqttSession.send`. */
  send(message: OutgoingMessage, signal: AbortSignal, listener: SendListener): void
  /** Throws MHV_MQTT_NOT_AUTHORIZED, _SUBSCRIBE_REJECTED or _NOT_CONNECTED. */
  subscribe(request: SubscribeRequest): Promise<Qos>
  unsubscribe(filter: string): Promise<void>
  /** Says goodbye to the broker. With `forget`, the broker drops the session at once. */
  end(forget: boolean): Promise<void>
  /** Breaks it off, for a reason of ours. */
  destroy(reason: MhvError): void
  /** Fulfilled when it is over, with the reason. */
  readonly over: Promise<MhvError>
}

/** Throws MHV_MQTT_CONNECT_*, _TLS_*, _AUTH_FAILED, or the signal's reason. */
export function openLink(options: LinkOptions, signal: AbortSignal): Promise<Link> {
  const { endpoint, settings, clock } = options
  const { promise, resolve, reject } = Promise.withResolvers<Link>()
  const over = Promise.withResolvers<MhvError>()
  let connack: IConnackPacket | undefined
  let failure: unknown
  let state: 'opening' | 'open' | 'over' = 'opening'
  if (signal.aborted) return Promise.reject(signal.reason)
  /** What acknowledgements say beside yes, by packet id: mqtt.js does not pass it on. */
  const reasons = new Map<number | undefined, number>()
  const client = connectMqtt(clientOptions(options, reasons))

  function finish(reason: MhvError): void {
    if (state === 'over') return
    const was = state
    state = 'over'
    stopTimer()
    signal.removeEventListener('abort', onAbort)
    client.end(true)
    // It is not ended while somebody waits for a goodbye, whose time is over then.
    client.stream?.destroy()
    if (was === 'opening') reject(reason)
    over.resolve(reason)
  }
  const onAbort = () => finish(signal.reason)
  const stopTimer = clock.after(settings.connect_timeout * 1000, () => {
    const why = `${endpoint.name} did not answer within ${settings.connect_timeout} s`
    finish(mhvError('MHV_MQTT_CONNECT_TIMEOUT', why, { details: { endpoint: endpoint.name } }))
  })
  signal.addEventListener('abort', onAbort, { once: true })

  client.on('packetreceive', (packet) => {
    if (packet.cmd === 'puback' || packet.cmd === 'pubrec') {
      const { messageId, reasonCode } = packet
      if (reasonCode && isOutgoing(client, messageId)) reasons.set(messageId, reasonCode)
      return
    }
    if (packet.cmd !== 'connack' || connack !== undefined) return
    connack = packet
    const code = packet.reasonCode ?? packet.returnCode ?? 0
    const { reasonString, receiveMaximum: most, maximumPacketSize: largest } = packet.properties ?? {}
    if (code !== 0) finish(refusedConnect(code, reasonString, endpoint))
    else if (most === 0 || largest === 0) finish(nonsense(endpoint))
    else keepAsking(packet, settings.keepalive)
    if (state === 'opening') options.onSession(packet.sessionPresent)
  })
  client.on('error', (error) => {
    failure ??= error
    // Also what cannot be parsed: the connection is of no use then.
    finish(state === 'open' ? lost(endpoint, error) : connectError(error, endpoint))
  })
  client.on('disconnect', ({ reasonCode = 0, properties }) => {
    if (reasonCode === SESSION_TAKEN_OVER && state === 'open') finish(takenOver(endpoint, options.client_id))
    failure ??= new Error(`the broker ended it, ${reasonText(reasonCode)}${saidBy(properties?.reasonString)}`)
    if (state === 'open') finish(lost(endpoint, failure, reasonCode))
  })
  client.on('close', () => {
    if (state === 'open') finish(lost(endpoint, failure ?? closedSilently(options.client_id)))
    else finish(connectError(failure ?? new Error('closed the connection before it answered'), endpoint))
  })
  client.on('connect', () => {
    if (state !== 'opening' || connack === undefined) return
    state = 'open'
    stopTimer()
    signal.removeEventListener('abort', onAbort)
    resolve(createLink(client, options, connack, { finish, isOpen: () => state === 'open', over: over.promise }))
  })
  receiveFrom(client, {
    ...options,
    isOpen: () => state !== 'over',
    // Its place in the broker's window would be lost for as long as this link lasts.
    onUntaken: () => finish(lost(endpoint, new Error('a consumer failed, and the broker has to send again'))),
  })
  client.connect()
  neverMindReceiveMaximum(client)
  guardMemory(client, { ...options, throttling: settings.throttling, finish })
  // mqtt.js keeps errors without a code to itself, such as an answer that is no WebSocket.
  client.stream.on('error', (error: unknown) => {
    failure ??= error
  })
  const { setNoDelay } = client.stream as { setNoDelay?: (on: boolean) => void }
  setNoDelay?.call(client.stream, true)
  return promise
}

function clientOptions(options: LinkOptions, reasons: Map<number | undefined, number>): IClientOptions {
  const { endpoint, credentials, settings, protocol, will } = options
  const { throttling } = settings
  const { ca, cert, key, passphrase } = credentials
  const servername = endpoint.server_name
  const five = protocol === '5'
  return {
    manualConnect: true,
    protocol: endpoint.protocol,
    host: endpoint.host,
    // Its builders of streams differ in which one they read.
    hostname: endpoint.protocol.startsWith('ws') && endpoint.host.includes(':') ? `[${endpoint.host}]` : endpoint.host,
    port: endpoint.port,
    path: endpoint.protocol.startsWith('ws') ? endpoint.path : undefined,
    ...(servername === undefined ? {} : { servername }),
    wsOptions: { perMessageDeflate: false, ...(servername === undefined ? {} : { servername }) },
    username: credentials.username,
    password: credentials.password,
    // With a certificate mqtt.js would speak TLS, whatever the URL says.
    ...(endpoint.tls ? { ca, cert, key, passphrase } : {}),
    rejectUnauthorized: true,
    clientId: options.client_id,
    protocolVersion: five ? 5 : 4,
    clean: options.clean,
    keepalive: settings.keepalive,
    // Ours covers name resolution, TCP and TLS as well.
    connectTimeout: settings.connect_timeout * 1000 + 5_000,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    timerVariant: createPingTimer(),
    // By default it makes a text of every packet, for nobody.
    log: () => undefined,
    outgoingStore: createSentStore(reasons),
    incomingStore: options.received,
    ...(will === undefined
      ? {}
      : { will: { topic: will.topic, payload: Buffer.from(will.payload), qos: 1, retain: will.retain } }),
    ...(five
      ? {
          properties: {
            sessionExpiryInterval: options.session_expiry,
            receiveMaximum: receiveMaximum(throttling),
            maximumPacketSize: largestPacket(throttling),
          },
        }
      : {}),
  } as IClientOptions
}

function lost(endpoint: Endpoint, thrown: unknown, reason_code?: number): MhvError {
  const why = thrown instanceof Error ? thrown.message : String(thrown)
  return mhvError('MHV_MQTT_CONNECTION_LOST', `${endpoint.name}: the connection was lost: ${why}`, {
    details: { endpoint: endpoint.name, ...(reason_code === undefined ? {} : { reason_code }) },
    cause: thrown,
  })
}

/** A broker may want more signs of life than we would give, and not fewer: a dead connection would live for hours. */
function keepAsking({ properties }: IConnackPacket, seconds: number): void {
  if (properties?.serverKeepAlive !== undefined) {
    properties.serverKeepAlive = Math.min(properties.serverKeepAlive, seconds)
  }
}

/** MQTT 5, 3.2.2.3: both are protocol errors, and nothing could be sent. */
function nonsense(endpoint: Endpoint): MhvError {
  const why = `${endpoint.name} says that it takes no packet at all: its receive maximum or maximum packet size is 0`
  return mhvError('MHV_MQTT_CONNECT_REJECTED', why, { details: { endpoint: endpoint.name } })
}

/** mosquitto 2.0 says nothing when a session is taken over. */
function closedSilently(client_id: string): Error {
  const id = JSON.stringify(client_id)
  return new Error(`the broker closed it and gave no reason; some do so when another client has the client id ${id}`)
}

/** Not to be tried again at once: each would end the other's connection, for ever. */
function takenOver(endpoint: Endpoint, client_id: string): MhvError {
  const why =
    `${endpoint.name} ended the connection, ${reasonText(SESSION_TAKEN_OVER)} (${JSON.stringify(client_id)}): ` +
    'every process needs a client_id of its own'
  return mhvError('MHV_MQTT_CONNECT_REJECTED', why, { details: { endpoint: endpoint.name, client_id } })
}

/** Whether something with this packet id waits for its acknowledgement. */
function isOutgoing(client: MqttClient, messageId: number | undefined): boolean {
  const { outgoing } = client as unknown as { readonly outgoing: Readonly<Record<number, unknown>> }
  return messageId !== undefined && messageId in outgoing
}

interface LinkParts {
  finish(reason: MhvError): void
  isOpen(): boolean
  readonly over: Promise<MhvError>
}

function createLink(client: MqttClient, options: LinkOptions, connack: IConnackPacket, parts: LinkParts): Link {
  const { endpoint, settings } = options
  const said = connack.properties ?? {}
  const five = options.protocol === '5'
  const limits: BrokerLimits = {
    retain: said.retainAvailable !== false,
    max_qos: (said.maximumQoS ?? 2) as Qos,
    subscription_ids: five && said.subscriptionIdentifiersAvailable !== false,
    max_packet: said.maximumPacketSize ?? Number.POSITIVE_INFINITY,
    keepalive: said.serverKeepAlive,
  }
  const window = Math.min(settings.throttling.max_inflight, said.receiveMaximum ?? 65_535)
  const inflight = createInflight({
    client,
    endpoint,
    limits,
    window,
    five,
    clock: options.clock,
    ack_timeout: settings.ack_timeout,
    ...parts,
  })

  return {
    endpoint,
    session_present: connack.sessionPresent,
    limits,
    publish: (message, signal) => sendOne(inflight, message, signal),
    send: inflight.send,
    async subscribe({ filter, qos, retained, id }) {
      const request = { qos, nl: false, rap: false, rh: retained ? 0 : 2 }
      const properties =
        id === undefined || !limits.subscription_ids ? {} : { properties: { subscriptionIdentifier: id } }
      const answer = new Promise<Qos>((resolve, reject) => {
        client.subscribe(filter, { ...request, ...properties }, (error, granted, packet) => {
          const code = Number(packet?.granted?.[0] ?? granted?.[0]?.qos ?? 128)
          if (code < 128 && !error) resolve(code as Qos)
          else reject(subscribeError(filter, code, error, endpoint))
        })
      })
      // A broker that answers pings and nothing else is of no use.
      const stop = options.clock.after(settings.connect_timeout * 1000, () =>
        parts.finish(lost(endpoint, new Error(`no answer to a SUBSCRIBE within ${settings.connect_timeout} s`))),
      )
      return Promise.race([answer, overAs(parts.over, endpoint)]).finally(stop)
    },
    async unsubscribe(filter) {
      if (!parts.isOpen()) return
      const { promise, resolve } = Promise.withResolvers<void>()
      // It was told; whoever unsubscribes does not wait for a broker that has no answer.
      const stop = options.clock.after(UNSUBSCRIBE_MS, resolve)
      client.unsubscribe(filter, () => resolve())
      await Promise.race([promise, parts.over]).finally(stop)
    },
    async end(forget) {
      if (!parts.isOpen()) return
      // With MQTT 5 the expiry of the session may be changed to 0 as the last thing.
      const last = options.protocol === '5' && forget ? { properties: { sessionExpiryInterval: 0 } } : {}
      const goodbye = new Promise<boolean>((resolve) => {
        client.end(false, { reasonCode: 0, ...last }, () => resolve(true))
      })
      if (!(await Promise.race([goodbye, options.clock.sleep(GOODBYE_MS).then(() => false)]))) {
        // mqtt.js waits for every acknowledgement first; without a goodbye the broker would send the last will.
        const inner = client as unknown as { _sendPacket(packet: object): void }
        inner._sendPacket({ cmd: 'disconnect', reasonCode: 0, ...last })
        await Promise.race([parts.over, options.clock.sleep(LAST_WORD_MS)])
      }
      parts.finish(mhvError('MHV_MQTT_NOT_CONNECTED', `${endpoint.name}: the connection was ended`))
    },
    destroy: parts.finish,
    over: parts.over,
  }
}

async function overAs(over: Promise<MhvError>, endpoint: Endpoint): Promise<never> {
  const reason = await over
  throw mhvError('MHV_MQTT_NOT_CONNECTED', `${endpoint.name}: the connection was lost: ${reason.message}`, {
    retryAfter: 1,
    cause: reason,
  })
}

function subscribeError(filter: string, code: number, error: Error | null, endpoint: Endpoint): MhvError {
  const details = { endpoint: endpoint.name, filter, reason_code: code }
  const why = `${endpoint.name} refused the subscription to ${JSON.stringify(filter)}`
  if (code === NOT_AUTHORIZED) return mhvError('MHV_MQTT_NOT_AUTHORIZED', `${why}, ${reasonText(code)}`, { details })
  const text = error !== null && code === 128 ? `: ${error.message}` : `, ${reasonText(code)}`
  return mhvError('MHV_MQTT_SUBSCRIBE_REJECTED', `${why}${text}`, { details })
}
