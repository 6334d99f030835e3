import { createServer, type Socket } from 'node:net'

/**
 * A fake broker (MQTT 5) that does what brokers do, but for what a test takes out of its hands: packets as bytes, read
 * whole however they come.
 */

export const CONNECT = 1
export const PUBLISH = 3
const PUBREL = 6
export const SUBSCRIBE = 8
const UNSUBSCRIBE = 10
const PINGREQ = 12

export interface ClientPacket {
  readonly type: number
  readonly body: Buffer
  /** Of PUBLISH. */
  readonly qos: number
  readonly topic: string
  readonly payload: string
  /** Packet id; 0 where there is none. */
  readonly id: number
}

export interface BrokerClient {
  /** 1 for the first connection, and so on. */
  readonly number: number
  send(bytes: Uint8Array | readonly number[]): void
  /** Ends it: what was sent before goes out, what the client has sent meanwhile is not read. */
  cut(): void
}

export interface ScriptedBroker extends AsyncDisposable {
  readonly url: string
  readonly connections: () => number
  /** Those that are open. */
  readonly clients: () => readonly BrokerClient[]
}

/** @param act true where it has dealt with the packet; everything else is answered as brokers do */
export async function startScriptedBroker(
  act: (packet: ClientPacket, client: BrokerClient) => boolean | undefined = () => false,
): Promise<ScriptedBroker> {
  const open = new Map<Socket, BrokerClient>()
  let connections = 0
  const server = createServer((socket) => {
    connections += 1
    let rest: Buffer = Buffer.alloc(0)
    const client: BrokerClient = {
      number: connections,
      send: (bytes) => void socket.write(Buffer.from(bytes)),
      cut() {
        open.delete(socket)
        socket.removeAllListeners('data')
        socket.resume()
        socket.end(() => socket.destroy())
      },
    }
    open.set(socket, client)
    socket.on('error', () => undefined)
    socket.on('close', () => open.delete(socket))
    socket.on('data', (bytes: Buffer) => {
      rest = Buffer.concat([rest, bytes])
      for (let next = take(rest); next !== undefined; next = take(rest)) {
        rest = next.rest
        if (!open.has(socket)) return
        if (act(next.packet, client) !== true) answer(next.packet, client)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `mqtt://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    connections: () => connections,
    clients: () => [...open.values()],
    async [Symbol.asyncDispose]() {
      for (const socket of open.keys()) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** CONNACK with these properties, as bytes. */
export function connack(properties: readonly number[] = [], { present = false, reason = 0 } = {}): number[] {
  return [0x20, 3 + properties.length, present ? 1 : 0, reason, properties.length, ...properties]
}

/** PUBACK, PUBREC or PUBCOMP. */
export function acknowledgement(type: 'puback' | 'pubrec' | 'pubcomp', id: number, reason = 0): number[] {
  return [{ puback: 0x40, pubrec: 0x50, pubcomp: 0x70 }[type], 3, id >> 8, id & 255, reason]
}

/** DISCONNECT, with a text that says why. */
export function disconnect(reason: number, text = ''): Buffer {
  const said = Buffer.from(text)
  const property = text === '' ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x1f, 0, said.length]), said])
  return Buffer.concat([Buffer.from([0xe0, 2 + property.length, reason, property.length]), property])
}

export function suback(id: number, reason = 2): number[] {
  return [0x90, 4, id >> 8, id & 255, 0, reason]
}

function answer({ type, qos, id }: ClientPacket, client: BrokerClient): void {
  if (type === CONNECT) client.send(connack())
  if (type === PINGREQ) client.send([0xd0, 0])
  if (type === SUBSCRIBE) client.send(suback(id))
  if (type === UNSUBSCRIBE) client.send([0xb0, 4, id >> 8, id & 255, 0, 0])
  if (type === PUBLISH && qos === 1) client.send(acknowledgement('puback', id))
  if (type === PUBLISH && qos === 2) client.send(acknowledgement('pubrec', id))
  if (type === PUBREL) client.send(acknowledgement('pubcomp', id))
}

/** The first whole packet of what has come. */
function take(bytes: Buffer): { readonly packet: ClientPacket; readonly rest: Buffer } | undefined {
  const first = bytes[0]
  const length = first === undefined ? undefined : varint(bytes, 1)
  if (first === undefined || length === undefined || bytes.length < length.end + length.value) return undefined
  const body = bytes.subarray(length.end, length.end + length.value)
  return { packet: packetOf(first, body), rest: bytes.subarray(length.end + length.value) }
}

function packetOf(first: number, body: Buffer): ClientPacket {
  const type = first >> 4
  const qos = (first >> 1) & 3
  if (type !== PUBLISH)
    return { type, body, qos: 0, topic: '', payload: '', id: body.length < 2 ? 0 : body.readUInt16BE(0) }
  const end = 2 + body.readUInt16BE(0)
  const properties = varint(body, end + (qos > 0 ? 2 : 0))
  const payload = body.subarray((properties?.end ?? 0) + (properties?.value ?? 0)).toString()
  return { type, body, qos, topic: body.toString('utf8', 2, end), payload, id: qos > 0 ? body.readUInt16BE(end) : 0 }
}

/** A variable byte integer (MQTT 5, 1.5.5), and where it ends; undefined where it is not all there. */
function varint(bytes: Buffer, from: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at] as number
    value += (byte & 127) << (7 * (at - from))
    if (byte < 128) return { value, end: at + 1 }
  }
  return undefined
}
