import { getCiphers } from 'node:crypto'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Client, ConnectConfig } from 'ssh2'
import type { Clock } from '../../core/clock.ts'
import type { Logger, SecretResolver } from '../../core/context.ts'
import type { MhvError } from '../../core/errors.ts'
import { type ConnectStage, closedEarly, connectError, connectTimeout, endpoint } from './connect-errors.ts'
import { createConnection, type SshConnection } from './connection.ts'
import { createLogIn, type LogIn } from './credentials.ts'
import {
  algorithmsFor,
  authorityLines,
  type HostNames,
  judgeHostKey,
  type KnownHostsFile,
  namesOf,
  readKnownHosts,
  recordHostKey,
  refusalOf,
} from './host-keys.ts'
import { localPath } from './local-path.ts'
import type { SshSettings, SshTarget } from './settings.ts'
import { ssh2 } from './ssh2-library.ts'

export interface ConnectRequest {
  readonly target: SshTarget
  readonly settings: SshSettings
  readonly secrets: SecretResolver
  /** Folder of the instance: our own known_hosts lies in it, and relative paths start there. */
  readonly folder: string
  readonly clock: Clock
  readonly log: Logger
}

/** What decides about a host's key. Only tests compose another one. */
export interface ConnectParts {
  readonly judge: typeof judgeHostKey
}

const PARTS: ConnectParts = { judge: judgeHostKey }

/**
 * Makes one authenticated connection: TCP without delay (a command in sequence costs 3 ms instead of 45), handshake,
 * the host's key, log-in. All of it within `connect_timeout`, name resolution included.
 *
 * Throws MHV_SSH_CONNECT_REFUSED, _CONNECT_TIMEOUT, _CONNECT_FAILED, _HOST_KEY_UNKNOWN, _HOST_KEY_CHANGED,
 * _HOST_KEY_REVOKED, _KNOWN_HOSTS_UNREADABLE, _AUTH_FAILED, _KEY_INVALID, MHV_SECRET_UNRESOLVED, or the signal's reason.
 */
export async function connectSsh(
  request: ConnectRequest,
  signal: AbortSignal,
  parts: ConnectParts = PARTS,
): Promise<SshConnection> {
  signal.throwIfAborted()
  const { target, settings, folder, log } = request
  const names = namesOf(target.host, target.port, target.host_key_alias)
  const ours = join(folder, 'known_hosts')
  const paths = (target.known_hosts ?? settings.known_hosts).map((path) => localPath(path, folder))
  const files = await readKnownHosts([ours, ...paths], settings.host_key_policy, log)
  for (const place of authorityLines(files, names)) {
    log.debug('a certificate authority in known_hosts is not used: host certificates are not supported', { place })
  }
  signal.throwIfAborted()
  return dial(request, files, hostVerifier(request, files, names, ours, parts), names, signal)
}

interface HostVerifier {
  verify(key: Buffer, answer: (accepted: boolean) => void): void
  refusal(): MhvError | undefined
}

function hostVerifier(
  { target, settings, log }: ConnectRequest,
  files: readonly KnownHostsFile[],
  names: HostNames,
  ours: string,
  { judge }: ConnectParts,
): HostVerifier {
  let accepted: Buffer | undefined
  let refusal: MhvError | undefined

  async function decide(key: Buffer): Promise<void> {
    let verdict = judge(files, names, key)
    if (verdict.kind === 'unknown' && settings.host_key_policy === 'accept_new') {
      verdict = await recordHostKey(ours, names, key, log)
    }
    refusal = refusalOf(verdict, endpoint(target))
    if (refusal) throw refusal
    accepted = Buffer.from(key)
  }

  return {
    verify(key, answer) {
      // Asked again at every rekeying.
      if (accepted?.equals(key)) return answer(true)
      decide(key).then(
        () => answer(true),
        (error: MhvError) => {
          refusal = error
          answer(false)
        },
      )
    },
    refusal: () => refusal,
  }
}

function dial(
  request: ConnectRequest,
  files: readonly KnownHostsFile[],
  hostKey: HostVerifier,
  names: HostNames,
  signal: AbortSignal,
): Promise<SshConnection> {
  const { target, settings, clock } = request
  return new Promise((resolve, reject) => {
    const logIn = createLogIn(target, request.secrets, request.folder)
    const client = new ssh2.Client()
    const socket = connectTcp({ host: target.host, port: target.port, noDelay: true })
    let stage: ConnectStage = isIP(target.host) === 0 ? 'name' : 'tcp'
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
      socket.destroy()
      reject(error)
    }
    const onAbort = () => fail(signal.reason)
    const onTimeout = () => fail(connectTimeout(target, settings.connect_timeout, stage))
    const cancelTimeout = clock.after(settings.connect_timeout * 1000, onTimeout)
    signal.addEventListener('abort', onAbort, { once: true })

    socket.once('lookup', () => {
      stage = 'tcp'
    })
    // These stay for good: without a listener, a late error would end the process.
    socket.on('error', (error) => fail(connectError(error, stage, target, logIn)))
    socket.on('close', () => fail(hostKey.refusal() ?? closedEarly(target, stage)))
    client.on('error', (error) => {
      // One agent or one key that cannot sign is not the end: ssh2 goes on to the next.
      if (isAboutOneCredential(error) && !logIn.exhausted() && logIn.failure() === undefined) {
        if (error.level === 'agent') logIn.agentFailed(error.message)
        return
      }
      fail(hostKey.refusal() ?? connectError(error, stage, target, logIn))
    })
    client.on('handshake', () => {
      stage = 'authentication'
    })
    client.on('ready', () => {
      if (settle()) resolve(createConnection(client, socket, endpoint(target)))
    })
    socket.once('connect', () => {
      stage = 'banner'
      socket.once('data', () => {
        if (stage === 'banner') stage = 'handshake'
      })
      startSsh(client, socket, request, algorithmsFor(files, names), hostKey, logIn, fail)
    })
  })
}

function isAboutOneCredential(error: { readonly level?: string }): boolean {
  return error.level === 'agent' || error.level === 'client-authentication'
}

function startSsh(
  client: Client,
  socket: Socket,
  { target, settings }: ConnectRequest,
  serverHostKey: readonly string[],
  hostKey: HostVerifier,
  logIn: LogIn,
  fail: (error: MhvError) => void,
): void {
  const config = {
    sock: socket,
    username: target.user,
    // Our own timer covers name resolution and TCP as well.
    readyTimeout: 0,
    keepaliveInterval: settings.keepalive_interval * 1000,
    keepaliveCountMax: settings.keepalive_count_max,
    algorithms: { serverHostKey, cipher: usableCiphers(settings.ciphers) },
    hostVerifier: hostKey.verify,
    authHandler: logIn.handler,
  } as unknown as ConnectConfig
  try {
    client.connect(config)
  } catch (error) {
    fail(connectError(error, 'handshake', target, logIn))
  }
}

/** Without what this Node's OpenSSL lacks (chacha20 in FIPS builds): ssh2 would refuse the whole list. */
function usableCiphers(ciphers: SshSettings['ciphers']): readonly string[] {
  const available = new Set(getCiphers())
  return ciphers.filter((cipher) => !cipher.startsWith('chacha20') || available.has('chacha20'))
}
