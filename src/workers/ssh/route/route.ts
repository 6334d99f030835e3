import { mhvError } from '../../../core/errors.ts'
import { type ConfigFile, readConfigFiles } from '../config/read.ts'
import { endpointName } from '../connect-errors.ts'
import { localPath } from '../local-path.ts'
import type { SshSettings, SshTarget } from '../settings.ts'
import { jumpWish, resolveEndpoint, type SshEndpoint } from './endpoint.ts'
import { MAX_JUMPS } from './jump-spec.ts'

/** The hosts on the way to a target, the nearest first; the last one is the target itself. */
export type Route = readonly [SshEndpoint, ...SshEndpoint[]]

/**
 * Reads ssh_config and finds the way. As with OpenSSH, of several jump hosts only the first one's own jump hosts count:
 * the others are reached through the one before.
 *
 * Throws MHV_SSH_CONFIG_INVALID, MHV_SSH_JUMP_INVALID (a loop, too many, no such name, more
 * connections than `max_connections`).
 */
export async function findRoute(target: SshTarget, settings: SshSettings, folder: string): Promise<Route> {
  const files = await readConfigFiles(settings.config_files.map((path) => localPath(path, folder)))
  const [first, ...rest] = expand(target, files, [])
  const route: Route = [first, ...rest]
  if (route.length - 1 > MAX_JUMPS) {
    throw mhvError('MHV_SSH_JUMP_INVALID', `the way to ${target.host} leads over more than ${MAX_JUMPS} jump hosts`)
  }
  refuseLoop(route)
  refuseTooLong(route, settings)
  return route
}

function expand(
  target: Parameters<typeof jumpWish>[1],
  files: readonly ConfigFile[],
  behind: readonly string[],
): Route {
  const endpoint = resolveEndpoint(target, files)
  const key = keyOf(endpoint)
  const [first, ...others] = endpoint.proxyJump
  if (first === undefined) return [endpoint]
  const hop = resolveEndpoint(jumpWish(first, target), files)
  // `Host *` with a ProxyJump names the jump host too: as in OpenSSH, it is then reached directly.
  if (endpoint.proxyJumpPlace !== undefined && endpoint.proxyJump.length === 1 && keyOf(hop) === key) return [endpoint]
  if (behind.includes(key) || behind.length > MAX_JUMPS) {
    throw mhvError(
      'MHV_SSH_JUMP_INVALID',
      `the way leads in a circle: ${[...behind, key].slice(-4).join(', reached by ')}`,
    )
  }
  const way = expand(jumpWish(first, target), files, [...behind, key])
  const further = others.map((name) => resolveEndpoint(jumpWish(name, target), files))
  return [...way, ...further, endpoint] as unknown as Route
}

function refuseLoop(route: Route): void {
  const keys = route.map(keyOf)
  const twice = keys.find((key, place) => keys.indexOf(key) !== place)
  if (twice !== undefined) throw mhvError('MHV_SSH_JUMP_INVALID', `the way leads over ${twice} twice`)
}

/** Each host on the way takes a connection of its own: a call would wait for room that there can never be. */
function refuseTooLong(route: Route, { max_connections }: SshSettings): void {
  if (route.length <= max_connections) return
  const last = endpointName(route.at(-1) as SshEndpoint)
  throw mhvError(
    'MHV_SSH_JUMP_INVALID',
    `the way to ${last} takes ${route.length} connections, and ssh.max_connections is ${max_connections}`,
    { remedy: 'Raise ssh.max_connections in settings/mahavishnu.yaml, or take jump hosts out of the way.' },
  )
}

function keyOf(endpoint: SshEndpoint): string {
  return `${endpoint.user}@${endpointName(endpoint).toLowerCase()}`
}
