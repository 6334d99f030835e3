import { getCiphers } from 'node:crypto'
import { connect as connectTcp, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Client, ConnectConfig } from 'ssh2'
import type { Clock } from '../../core/clock.ts'
import type { MhvError } from '../../core/errors.ts'
import { agentSocket } from './agent.ts'
import { type ConnectStage, closedEarly, connectError, connectTimeout, endpointName } from './connect-errors.ts'
import { createConnection, type SshConnection } from './connection.ts'
import type { LogIn } from './credentials.ts'
import type { SshEndpoint } from './route/endpoint.ts'
import { tunnelStream } from './route/tunnel.ts'
import type { SshSettings } from './settings.ts'
import { ssh2 } from './ssh2-library.ts'

/** What decides about the key that a host presents. */
export interface HostKeyVerifier {
  /** Host key algorithms to ask for, in this order. */
  readonly algorithms: readonly string[]
  verify(key: Buffer, answer: (accepted: boolean) => void): void
  /** Why the key was not taken. */
  refusal(): MhvError | undefined
}

export interface DialRequest {
  readonly endpoint: SshEndpoint
  readonly settings: SshSettings
  readonly clock: Clock
  readonly folder: string
  readonly hostKey: HostKeyVerifier
  readonly logIn: LogIn
  /** Connection over which the host is reached; undefined where it is reached directly. */
  readonly through: SshConnection | undefined
  /** Milliseconds it may take, and the seconds that an error names. */
  readonly timeoutMs: number
  readonly timeoutShown: number
  /** Ends the attempt well as soon as the host has proved its key, before any credential: for looking at keys. */
  readonly onHandshake?: () => void
}

/**
 * One host of the way: the stream to it, handshake, its key, log-in. Throws what `connectSsh` throws of one host.
 */
export async function dial(request: DialRequest, signal: AbortSignal): Promise<SshConnection> {
  signal.throwIfAborted()
  const { endpoint, clock, hostKey, logIn, through } = request
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client()
    let stage: ConnectStage = through !== undefined || isIP(endpoint.host) !== 0 ? 'tcp' : 'name'
    let socket: Duplex | undefined
    let settled = false

    function settle(): boolean {
      if (settled) return false
      settled = true
      cancelTimeout()
      signal.removeEventListener('abort', onAbort)
      logIn.forget()
      return true
    }
    function fail(error: MhvError): void {
      if (!settle()) return
      socket?.destroy()
      reject(error)
    }
    const onAbort = () => fail(signal.reason)
    const onTimeout = () => fail(connectTimeout(endpoint, request.timeoutShown, stage))
    const cancelTimeout = clock.after(request.timeoutMs, onTimeout)
    signal.addEventListener('abort', onAbort, { once: true })

    function begin(stream: Duplex): void {
      if (settled) return void stream.destroy()
      socket = stream
      // These stay for good: without a listener, a late error would end the process.
      stream.on('error', (error) => fail(connectError(error, stage, endpoint, logIn)))
      stream.on('close', () => fail(hostKey.refusal() ?? closedEarly(endpoint, stage)))
    }
    function speak(stream: Duplex): void {
      if (settled) return
      stage = 'banner'
      stream.once('data', () => {
        if (stage === 'banner') stage = 'handshake'
      })
      startSsh(client, stream, request, fail)
    }

    client.on('error', (error) => {
      // One agent or one key that cannot sign is not the end: ssh2 goes on to the next.
      if (isAboutOneCredential(error) && !logIn.exhausted() && logIn.failure() === undefined) {
        if (error.level === 'agent') logIn.agentFailed(error.message)
        return
      }
      fail(hostKey.refusal() ?? connectError(error, stage, endpoint, logIn))
    })
    client.on('handshake', () => {
      stage = 'authentication'
      if (request.onHandshake === undefined) return
      request.onHandshake()
      socket?.destroy()
    })
    client.on('ready', () => {
      if (socket !== undefined && settle()) resolve(createConnection(client, socket, endpointName(endpoint), through))
    })
    logIn.onRefused(fail)

    if (through === undefined) {
      const tcp = connectTcp({ host: endpoint.host, port: endpoint.port, noDelay: true })
      tcp.once('lookup', () => {
        stage = 'tcp'
      })
      begin(tcp)
      tcp.once('connect', () => speak(tcp))
    } else {
      through.forward(endpoint.host, endpoint.port).then((channel) => {
        const stream = tunnelStream(channel)
        begin(stream)
        speak(stream)
      }, fail)
    }
  })
}

function isAboutOneCredential(error: { readonly level?: string }): boolean {
  return error.level === 'agent' || error.level === 'client-authentication'
}

function startSsh(client: Client, socket: Duplex, request: DialRequest, fail: (error: MhvError) => void): void {
  const { endpoint, settings, hostKey, logIn, folder } = request
  const agent = endpoint.agentForward ? agentSocket(endpoint, folder) : undefined
  const config = {
    sock: socket,
    username: endpoint.user,
    // Our own timer covers name resolution and TCP as well.
    readyTimeout: 0,
    keepaliveInterval: settings.keepalive_interval * 1000,
    keepaliveCountMax: settings.keepalive_count_max,
    algorithms: { serverHostKey: hostKey.algorithms, cipher: usableCiphers(settings.ciphers) },
    hostVerifier: (key: Buffer, answer: (accepted: boolean) => void) => {
      hostKey.verify(key, (accepted) => {
        try {
          answer(accepted)
        } catch (error) {
          // The connection broke while the key was looked up, or the rest of the handshake was nonsense. Outside of
          // ssh2's own stack nobody would catch it, and the process would end.
          client.emit('error', error as Error)
        }
      })
    },
    authHandler: logIn.handler,
    ...(agent === undefined ? {} : { agent, agentForward: true }),
  } as unknown as ConnectConfig
  try {
    client.connect(config)
  } catch (error) {
    fail(connectError(error, 'handshake', endpoint, logIn))
  }
}

/** Without what this Node's OpenSSL lacks (chacha20 in FIPS builds): ssh2 would refuse the whole list. */
function usableCiphers(ciphers: SshSettings['ciphers']): readonly string[] {
  const available = new Set(getCiphers())
  return ciphers.filter((cipher) => !cipher.startsWith('chacha20') || available.has('chacha20'))
}
