import { spawn } from 'node:child_process'
import { type AddressInfo, connect, createServer, type Socket, type Server as TcpServer } from 'node:net'
import type { AuthContext, Connection, ServerChannel } from 'ssh2'
import { ssh2 } from '../../src/workers/ssh/ssh2-library.ts'

/** Servers that do wrong, on free loopback ports: plain TCP, ssh2's own server, and one of these behind a bad wire. */

export interface HostileServer {
  readonly port: number
  close(): Promise<void>
}

const KEY = ssh2.utils.generateKeyPairSync('ecdsa', { bits: 256 })

/** Lines of known_hosts for servers made by `hostileSsh`, each by its own port. */
export function hostileKnownHosts(ports: readonly number[]): string {
  const [type, key] = KEY.public.split(' ')
  return ports.map((port) => `[127.0.0.1]:${port} ${type} ${key}\n`).join('')
}

/** A server of plain TCP. `speak` is called once for every connection. */
export async function hostileTcp(speak: (socket: Socket) => void): Promise<HostileServer> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    speak(socket)
  })
  return listening(server, () => {
    for (const socket of sockets) socket.destroy()
  })
}

async function listening(server: TcpServer, endAll: () => void): Promise<HostileServer> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      endAll()
      return closed
    },
  }
}

/** What a server of `hostileSsh` does wrong; what is left out it does as it should. */
export interface Misdeeds {
  /** Decides about each attempt to log in. */
  readonly authenticate?: (context: AuthContext, connection: Connection) => void
  /** After the log-in. */
  readonly ready?: (connection: Connection) => void
  /** Instead of taking a channel. */
  readonly session?: (accept: () => unknown, reject: () => void, connection: Connection) => void
  /** Instead of running the command; the question for the login shell is answered honestly. */
  readonly exec?: (running: Running) => void
}

export interface Running {
  readonly connection: Connection
  readonly command: string
  /** Says that the command was started, and gives its channel. */
  accept(): ServerChannel
  readonly reject: () => void
}

/** A server that speaks SSH. Commands are run by /bin/sh, as by an honest host. */
export async function hostileSsh(misdeeds: Misdeeds): Promise<HostileServer> {
  const clients = new Set<Connection>()
  const server = new ssh2.Server({ hostKeys: [KEY.private], ident: 'hostile' }, (connection) => {
    clients.add(connection)
    connection.on('error', () => undefined)
    connection.on('close', () => clients.delete(connection))
    connection.on('authentication', (context) => {
      if (misdeeds.authenticate) misdeeds.authenticate(context, connection)
      else context.accept()
    })
    connection.on('ready', () => {
      misdeeds.ready?.(connection)
      connection.on('session', (accept, reject) => {
        if (misdeeds.session) return misdeeds.session(accept, reject, connection)
        accept().on('exec', (acceptExec, rejectExec, { command }) => {
          const running = { connection, command, accept: acceptExec, reject: rejectExec }
          if (misdeeds.exec && !isProbe(command)) misdeeds.exec(running)
          else runHonestly(running)
        })
      })
    })
  })
  return listening(server as unknown as TcpServer, () => {
    for (const client of clients) rawSocket(client)?.destroy()
  })
}

/** The question for the login shell: login-shell.ts. */
function isProbe(command: string): boolean {
  return /^echo \S+ \$SHELL; exec \/bin\/sh -c/.test(command)
}

/** Runs a command as sshd does. `said` is called when the first of its standard error has been sent. */
export function runHonestly(
  { connection, command, accept }: Omit<Running, 'reject'>,
  said: () => void = () => undefined,
): ServerChannel {
  const channel = accept()
  const env = { ...process.env, SHELL: '/bin/sh' }
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'pipe', 'pipe'], env, detached: true })
  const end = () => {
    child.stdout.destroy()
    child.stderr.destroy()
    try {
      if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It has just ended by itself.
    }
  }
  channel.on('error', () => undefined)
  child.stdin.on('error', () => undefined)
  channel.pipe(child.stdin)
  child.stdout.pipe(channel, { end: false })
  child.stderr.pipe(channel.stderr, { end: false })
  // After the pipe's own listener, which sends it. On standard error the worker's line says that the command starts.
  child.stderr.once('data', said)
  channel.on('close', end)
  // ssh2's server does not close its channels when the connection breaks.
  connection.once('close', end)
  child.on('close', (code) => {
    try {
      channel.exit(code ?? 255)
      channel.end()
    } catch {
      // The client has gone.
    }
  })
  return channel
}

/** The parts of ssh2's server that are in no type: https://github.com/mscdex/ssh2, lib/protocol/Protocol.js. */
interface Protocol {
  readonly _packetRW: {
    readonly write: { readonly allocStart: number; alloc(size: number): Buffer; finalize(packet: Buffer): Buffer }
  }
  readonly _cipher: { encrypt(packet: Buffer): void }
}

/** Sends a message of this payload, whatever it is: its first byte is the message's number. */
export function sendPayload(connection: Connection, payload: Buffer): void {
  const { _packetRW: rw, _cipher: cipher } = (connection as unknown as { _protocol: Protocol })._protocol
  const packet = rw.write.alloc(payload.length)
  payload.copy(packet, rw.write.allocStart)
  cipher.encrypt(rw.write.finalize(packet))
}

export function rawSocket(connection: Connection): Socket | undefined {
  return (connection as unknown as { _sock?: Socket })._sock
}

/** A number and strings as SSH writes them: RFC 4251, section 5. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}
export function sshString(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint32(bytes.length), bytes])
}

/** Number of the client's channel for its command: the first one asks for the login shell. */
export const RECIPIENT = 1

export function message(type: number, ...parts: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from([type]), ...parts])
}

/** A packet before keys are agreed: length, padding, no MAC. RFC 4253, section 6. */
export function plainPacket(payload: Buffer): Buffer {
  const padding = 8 - ((payload.length + 5) % 8) + 4
  return Buffer.concat([uint32(payload.length + padding + 1), Buffer.from([padding]), payload, Buffer.alloc(padding)])
}

/** What happens to the bytes from the server on their way: the offset is that of the first one of the piece. */
export type Wire = (bytes: Buffer, offset: number, client: Socket) => Buffer | undefined

/** A server behind a wire that changes or cuts what it says. */
export async function badWire(server: HostileServer, wire: Wire): Promise<HostileServer> {
  const proxy = await hostileTcp((client) => {
    const upstream = connect({ port: server.port, host: '127.0.0.1', noDelay: true })
    let offset = 0
    upstream.on('error', () => client.destroy())
    upstream.on('data', (bytes) => {
      const passed = wire(bytes, offset, client)
      offset += bytes.length
      if (passed !== undefined && !client.destroyed) client.write(passed)
    })
    upstream.on('end', () => client.end())
    client.on('data', (bytes) => upstream.write(bytes))
    client.on('close', () => upstream.destroy())
  })
  return {
    port: proxy.port,
    async close() {
      await proxy.close()
      await server.close()
    },
  }
}
