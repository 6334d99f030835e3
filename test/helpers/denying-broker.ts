import { createServer, type Socket } from 'node:net'
import { packetsIn } from './hostile-broker.ts'

/**
 * As little of a broker as it takes to refuse every subscription with a reason (MQTT 5, 3.9.3): mosquitto 2.0 grants
 * them all, unless a plugin decides.
 */
export interface DenyingBroker extends AsyncDisposable {
  readonly url: string
}

const CONNECT = 1
const PUBLISH = 3
const SUBSCRIBE = 8

export async function startDenyingBroker(): Promise<DenyingBroker> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (bytes) => {
      for (const { type, body } of packetsIn(bytes)) {
        if (type === CONNECT) socket.write(Buffer.from([0x20, 3, 0, 0, 0]))
        if (type === SUBSCRIBE) socket.write(Buffer.from([0x90, 4, body[0] ?? 0, body[1] ?? 0, 0, 0x87]))
        // The birth message, of QoS 1: topic, packet id.
        if (type === PUBLISH) {
          const at = 2 + body.readUInt16BE(0)
          socket.write(Buffer.from([0x40, 2, body[at] ?? 0, body[at + 1] ?? 0]))
        }
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    url: `mqtt://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
