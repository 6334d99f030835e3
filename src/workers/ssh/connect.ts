import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import type { Logger, SecretResolver } from '../../core/context.ts'
import { MhvError, mhvError } from '../../core/errors.ts'
import { connectTimeout, endpointName } from './connect-errors.ts'
import type { SshConnection } from './connection.ts'
import { createLogIn } from './credentials.ts'
import { dial, type HostKeyVerifier } from './dial.ts'
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
import type { SshEndpoint } from './route/endpoint.ts'
import { findRoute, type Route } from './route/route.ts'
import type { SshSettings, SshTarget } from './settings.ts'

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
 * the host's key, log-in; over jump hosts one after the other, each with a key and credentials of its own. All of it
 * within `connect_timeout`, name resolution included.
 *
 * Throws MHV_SSH_CONNECT_REFUSED, _CONNECT_TIMEOUT, _CONNECT_FAILED, _HOST_KEY_UNKNOWN, _HOST_KEY_CHANGED,
 * _HOST_KEY_REVOKED, _KNOWN_HOSTS_UNREADABLE, _AUTH_FAILED, _KEY_INVALID, _CONFIG_INVALID, _JUMP_INVALID,
 * _JUMP_REFUSED, MHV_SECRET_UNRESOLVED, or the signal's reason. What failed at a jump host names it.
 */
export async function connectSsh(
  request: ConnectRequest,
  signal: AbortSignal,
  parts: ConnectParts = PARTS,
): Promise<SshConnection> {
  signal.throwIfAborted()
  const { target, settings, folder } = request
  const walk = createWalk(request, await findRoute(target, settings, folder), parts)
  return walk.connect(walk.route.length, signal)
}

/** The way to a host, as far as one wants to go. */
export interface Walk {
  readonly route: Route
  /** Connects to the first so many hosts, one through the other. */
  connect(hosts: number, signal: AbortSignal): Promise<SshConnection>
  /** Milliseconds that are left of `connect_timeout`. */
  leftMs(): number
}

/** One attempt: its time begins now. */
export function createWalk(request: ConnectRequest, route: Route, parts: ConnectParts = PARTS): Walk {
  const { clock, settings } = request
  const until = clock.monotonic() + settings.connect_timeout * 1000

  async function step(endpoint: SshEndpoint, through: SshConnection | undefined, signal: AbortSignal) {
    const hostKey = await hostVerifier(request, endpoint, parts)
    // Whose key is handed on is decided for the last host only: jump hosts get nothing.
    const at = endpoint === route.at(-1) ? endpoint : { ...endpoint, agentForward: false }
    const logIn = createLogIn(at, request.secrets, request.folder)
    const timeoutMs = until - clock.monotonic()
    if (timeoutMs <= 0) throw connectTimeout(endpoint, settings.connect_timeout, 'tcp')
    const timing = { timeoutMs, timeoutShown: settings.connect_timeout }
    return dial({ ...request, ...timing, endpoint: at, hostKey, logIn, through }, signal)
  }

  return {
    route,
    leftMs: () => until - clock.monotonic(),
    async connect(hosts, signal) {
      let connection: SshConnection | undefined
      for (const [number, endpoint] of route.slice(0, hosts).entries()) {
        try {
          connection = await step(endpoint, connection, signal)
        } catch (error) {
          const carrier = connection
          void carrier?.close()
          throw signal.aborted ? error : withHop(error, route, number, carrier)
        }
      }
      return connection as SshConnection
    },
  }
}

/** The same error, saying at which of several hosts it was. */
export function withHop(error: unknown, route: Route, number: number, carrier: SshConnection | undefined): unknown {
  if (!(error instanceof MhvError) || route.length === 1) return error
  const endpoint = route[number] as SshEndpoint
  const jumps = route.length - 1
  const name = endpointName(endpoint)
  const where =
    number < jumps
      ? `jump host ${number + 1} of ${jumps} (${name})`
      : `behind ${jumps} jump host${jumps === 1 ? '' : 's'}`
  const cut = carrier?.alive() === false ? ` (the connection to the jump host ${carrier.endpoint} was lost)` : ''
  return mhvError(error.code, `${where}: ${error.message}${cut}`, {
    details: { ...error.details, hop: name, hop_number: number + 1, hops: route.length },
    remedy: error.remedy,
    retryAfter: error.retryAfter,
    cause: error,
  })
}

/** What known_hosts says of an endpoint, and where. */
export interface KnownKeys {
  readonly names: HostNames
  readonly files: readonly KnownHostsFile[]
  /** Our own file, the only one that is written. */
  readonly ours: string
}

/** Throws MHV_SSH_KNOWN_HOSTS_UNREADABLE. */
export async function knownKeys(
  { settings, folder, log }: Pick<ConnectRequest, 'settings' | 'folder' | 'log'>,
  endpoint: SshEndpoint,
  policy = settings.host_key_policy,
): Promise<KnownKeys> {
  const names = namesOf(endpoint.host, endpoint.port, endpoint.hostKeyAlias)
  const ours = join(folder, 'known_hosts')
  const paths = (endpoint.knownHosts ?? settings.known_hosts).map((path) => localPath(path, folder))
  return { names, ours, files: await readKnownHosts([ours, ...paths], policy, log) }
}

async function hostVerifier(
  request: ConnectRequest,
  endpoint: SshEndpoint,
  { judge }: ConnectParts,
): Promise<HostKeyVerifier> {
  const { settings, log } = request
  const { names, ours, files } = await knownKeys(request, endpoint)
  for (const place of authorityLines(files, names)) {
    log.debug('a certificate authority in known_hosts is not used: host certificates are not supported', { place })
  }
  let accepted: Buffer | undefined
  let refusal: MhvError | undefined

  async function decide(key: Buffer): Promise<void> {
    let verdict = judge(files, names, key)
    if (verdict.kind === 'unknown' && settings.host_key_policy === 'accept_new') {
      verdict = await recordHostKey(ours, names, key, log)
    }
    refusal = refusalOf(verdict, endpointName(endpoint), names)
    if (refusal) throw refusal
    accepted = Buffer.from(key)
  }

  return {
    algorithms: algorithmsFor(files, names),
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
