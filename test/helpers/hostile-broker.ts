import { createServer, type Socket } from 'node:net'

/**
 * A broker that takes a client (MQTT 5) and then sends what a test wants: bytes as they are. It answers CONNECT,
 * SUBSCRIBE and pings, and acknowledges nothing else but the birth message.
 */
export interface HostileBroker extends AsyncDisposable {
  readonly url: string
  /** To every client that has subscribed. False where the socket wants no more for now. */
  send(bytes: Uint8Array): boolean
  /** Clients that have subscribed, over all connections. */
  readonly subscribed: () => number
  readonly connections: () => number
}

const CONNECT = 1
const PUBLISH = 3
const SUBSCRIBE = 8
const PINGREQ = 12

/** @param answers whether a SUBSCRIBE is answered */
export async function startHostileBroker({ answers = true } = {}): Promise<HostileBroker> {
  const sockets = new Set<Socket>()
  const ready = new Set<Socket>()
  let subscribed = 0
  let connections = 0
  const server = createServer((socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => {
      sockets.delete(socket)
      ready.delete(socket)
    })
    socket.on('data', (bytes) => {
      for (const { type, body } of packetsIn(bytes)) {
        if (type === CONNECT) socket.write(Buffer.from([0x20, 3, 0, 0, 0]))
        if (type === PINGREQ) socket.write(Buffer.from([0xd0, 0]))
        if (type === SUBSCRIBE) {
          if (answers) socket.write(Buffer.from([0x90, 4, body[0] ?? 0, body[1] ?? 0, 0, 2]))
          subscribed += 1
          ready.add(socket)
        }
        if (type === PUBLISH) {
          const at = 2 + body.readUInt16BE(0)
          socket.write(Buffer.from([0x40, 2, body[at] ?? 0, body[at + 1] ?? 0]))
        }
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `mqtt://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    send: (bytes) => [...ready].every((socket) => socket.write(bytes)),
    subscribed: () => subscribed,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A PUBLISH of MQTT 5 without properties, or with those bytes of properties. */
export function publishPacket(
  topic: string,
  payload: Uint8Array,
  { qos = 0, id = 1, properties = new Uint8Array(0) }: { qos?: 0 | 1 | 2; id?: number; properties?: Uint8Array } = {},
): Buffer {
  const name = Buffer.from(topic)
  const head = Buffer.alloc(2 + name.length + (qos > 0 ? 2 : 0))
  head.writeUInt16BE(name.length, 0)
  name.copy(head, 2)
  if (qos > 0) head.writeUInt16BE(id, 2 + name.length)
  const body = Buffer.concat([head, variable(properties.length), properties, payload])
  return Buffer.concat([Buffer.from([0x30 | (qos << 1)]), variable(body.length), body])
}

/** A variable byte integer: MQTT 5, 1.5.5. */
export function variable(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  do {
    bytes.push((rest % 128) | (rest >= 128 ? 128 : 0))
    rest = Math.floor(rest / 128)
  } while (rest > 0)
  return Buffer.from(bytes)
}

/** Whole packets, as they come in these tests: none is split. */
export function* packetsIn(bytes: Buffer): Generator<{ readonly type: number; readonly body: Buffer }> {
  for (let at = 0; at < bytes.length; ) {
    const type = (bytes[at] ?? 0) >> 4
    let length = 0
    let shift = 0
    let byte: number
    do {
      at += 1
      byte = bytes[at] ?? 0
      length += (byte & 0x7f) << shift
      shift += 7
    } while (byte & 0x80)
    yield { type, body: bytes.subarray(at + 1, at + 1 + length) }
    at += 1 + length
  }
}
