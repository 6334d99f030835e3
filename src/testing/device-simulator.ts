import { setTimeout as delay } from 'node:timers/promises'
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt'
import {
  createSimulatedDevice,
  type DeviceBehaviour,
  type SentByDevice,
  type SimulatedDevice,
} from './simulated-device.ts'

/** Devices that speak MQTT with a real broker, by the topics of the documentation. For tests, chaos and the demo. */

export interface SimulatorOptions {
  /** `mqtt://HOST:PORT`, or mqtts, ws, wss. */
  readonly url: string
  readonly ids: readonly string[]
  /** Connections that all devices share, or `each`: one for every device, whose client id is its own. Default: 1. */
  readonly connections?: number | 'each'
  readonly protocol?: '5' | '3.1.1'
  /** What a device does; by default it does all that it is told, and well. */
  readonly behaviour?: (id: string, index: number) => DeviceBehaviour
  /** Whether each keeps its status at the broker: `online`, and `offline` when it ends. Default: true. */
  readonly status?: boolean
  /** Whether what they had the broker keep is removed when they end in order. Default: false, as devices do. */
  readonly forget?: boolean
  /** Credentials, TLS and the like, as mqtt.js takes them. */
  readonly client?: IClientOptions
}

export interface DeviceSimulator extends AsyncDisposable {
  readonly devices: ReadonlyMap<string, SimulatedDevice>
  /** One round of telemetry: each device publishes a reading to `sensors/ID/temperature`. */
  measure(qos?: 0 | 1): Promise<void>
  /** Sends as this device, whatever it is. */
  sendAs(id: string, message: SentByDevice): Promise<void>
  /** Messages that came from the broker, and that were sent to it. */
  counts(): { readonly received: number; readonly sent: number }
  /** Ends these devices without a word, as a power cut does; only with a connection for each. */
  lose(ids: readonly string[]): Promise<void>
  close(): Promise<void>
}

/** Filters of one SUBSCRIBE. */
const FILTERS_AT_ONCE = 200
/** Connections that are made at once. */
const CONNECTS_AT_ONCE = 50
const RECONNECT_MS = 200
/** Whoever ends does not wait longer for a broker that has no answer, in milliseconds. */
const GOODBYE_MS = 5_000

interface Line {
  readonly client: MqttClient
  readonly ids: readonly string[]
  /** Topics on which the broker keeps something of them. */
  readonly kept: Set<string>
}

/** Resolves when every device is connected and subscribed. Throws what keeps a connection from being made. */
export async function startDeviceSimulator(options: SimulatorOptions): Promise<DeviceSimulator> {
  const { ids, behaviour = () => ({}), status = true } = options
  const counts = { received: 0, sent: 0 }
  const lines = new Map<string, Line>()
  const devices = new Map<string, SimulatedDevice>()

  function send(id: string, { topic, payload, retain = false, correlation_data }: SentByDevice, qos: 0 | 1 = 1) {
    const line = lines.get(id)
    if (line === undefined || line.client.disconnecting) return Promise.resolve()
    const { client, kept } = line
    counts.sent += 1
    if (retain) kept.add(topic)
    const properties =
      correlation_data === undefined || options.protocol === '3.1.1'
        ? {}
        : { properties: { correlationData: correlation_data } }
    return client.publishAsync(topic, payload, { qos, retain, ...properties }).then(
      () => undefined,
      // Whoever is being ended says nothing more.
      () => undefined,
    )
  }

  for (const [index, id] of ids.entries()) {
    devices.set(
      id,
      createSimulatedDevice(id, behaviour(id, index), (message) => void send(id, message)),
    )
  }

  function receive(topic: string, payload: Buffer, packet: IPublishPacket): void {
    counts.received += 1
    const [, kind, id = ''] = topic.split('/', 3)
    const device = devices.get(id)
    const { responseTopic, correlationData } = packet.properties ?? {}
    const received = {
      topic,
      payload,
      ...(responseTopic === undefined ? {} : { response_topic: responseTopic }),
      ...(correlationData === undefined ? {} : { correlation_data: correlationData }),
    }
    if (kind === 'commands') device?.onCommand(received)
    else if (kind === 'ota') device?.onOta(received)
  }

  async function open(own: readonly string[]): Promise<void> {
    const client = await connect(options, own)
    client.on('message', receive)
    client.on('error', () => undefined)
    const line = { client, ids: own, kept: new Set<string>() }
    for (const id of own) lines.set(id, line)
    const filters = own.flatMap((id) => [`mahavishnu/commands/${id}`, `mahavishnu/ota/${id}`])
    for (let at = 0; at < filters.length; at += FILTERS_AT_ONCE) {
      const granted = await client.subscribeAsync(filters.slice(at, at + FILTERS_AT_ONCE), { qos: 1 })
      const denied = granted.find(({ qos }) => qos > 2)
      if (denied !== undefined) throw new Error(`the broker refused the subscription to ${denied.topic}`)
    }
    if (status) await Promise.all(own.map((id) => send(id, statusOf(id, 'online'))))
  }

  async function sayGoodbye({ client, ids: own, kept }: Line): Promise<void> {
    if (status) await Promise.all(own.map((id) => send(id, statusOf(id, 'offline'))))
    if (options.forget !== true) return
    // An empty message is kept by nobody: MQTT 5, 3.3.1.3.
    const forgotten = [...kept].map((topic) => client.publishAsync(topic, '', { qos: 1, retain: true }))
    await Promise.allSettled(forgotten)
  }

  async function end(line: Line, quietly: boolean): Promise<void> {
    for (const id of line.ids) devices.get(id)?.stop()
    const late = new AbortController()
    if (!quietly) await Promise.race([sayGoodbye(line), delay(GOODBYE_MS, undefined, { signal: late.signal })])
    late.abort()
    await line.client.endAsync(true)
  }

  async function close(): Promise<void> {
    const open = new Set(lines.values())
    await Promise.all([...open].map((line) => end(line, !line.client.connected)))
    lines.clear()
  }

  const groups = groupsOf(ids, options.connections ?? 1)
  try {
    for (let at = 0; at < groups.length; at += CONNECTS_AT_ONCE) {
      await Promise.all(groups.slice(at, at + CONNECTS_AT_ONCE).map(open))
    }
  } catch (error) {
    await close()
    throw error
  }

  return {
    devices,
    counts: () => ({ ...counts }),
    sendAs: (id, message) => send(id, message),
    async measure(qos = 0) {
      const reading = (index: number) => (20 + (index % 10) / 10).toFixed(1)
      await Promise.all(
        ids.map((id, index) => send(id, { topic: `sensors/${id}/temperature`, payload: reading(index) }, qos)),
      )
    },
    async lose(lost) {
      for (const id of lost) {
        const line = lines.get(id)
        if (line === undefined || line.ids.length > 1) throw new Error(`${id} has no connection of its own`)
        devices.get(id)?.stop()
        line.client.stream.destroy()
        await line.client.endAsync(true)
        lines.delete(id)
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

function statusOf(id: string, state: string): SentByDevice {
  return { topic: `mahavishnu/status/${id}`, payload: JSON.stringify({ device_id: id, state }), retain: true }
}

function groupsOf(ids: readonly string[], connections: number | 'each'): readonly (readonly string[])[] {
  const size = connections === 'each' ? 1 : Math.ceil(ids.length / connections)
  const groups: string[][] = []
  for (let at = 0; at < ids.length; at += size) groups.push(ids.slice(at, at + size))
  return groups
}

function connect({ url, protocol = '5', status = true, client = {} }: SimulatorOptions, own: readonly string[]) {
  const [id = ''] = own
  const last = own.length === 1 && status ? statusOf(id, 'offline') : undefined
  return mqtt.connectAsync(
    url,
    {
      reconnectPeriod: RECONNECT_MS,
      ...client,
      protocolVersion: protocol === '5' ? 5 : 4,
      clientId: own.length === 1 ? id : `simulator-${process.pid}-${id}`,
      ...(last === undefined
        ? {}
        : { will: { topic: last.topic, payload: Buffer.from(last.payload), qos: 1, retain: true } }),
    },
    false,
  )
}
