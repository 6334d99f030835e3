import type { SecretReference } from '../../../core/context.ts'
import { type MhvError, mhvError } from '../../../core/errors.ts'
import type { ConfigFile } from '../config/read.ts'
import { type HostConfig, type Keyword, resolveHost } from '../config/resolve.ts'
import { plainText } from '../remote-text.ts'
import type { SshTarget } from '../settings.ts'
import { type JumpSpec, parseJump } from './jump-spec.ts'

/** One host to connect to, with nothing left open: what the inventory says, then ssh_config, then the defaults. */
export interface SshEndpoint {
  /** Name or address to connect to, as the one before it on the way sees it. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly identityFiles: readonly IdentityFile[]
  /** Of an agent, only keys that `identityFiles` names too. */
  readonly identitiesOnly: boolean
  readonly passphrase: SecretReference | undefined
  readonly password: SecretReference | undefined
  readonly agent: boolean | string
  readonly agentForward: boolean
  readonly hostKeyAlias: string | undefined
  /** Files that count instead of the setting's; undefined where none are named. */
  readonly knownHosts: readonly string[] | undefined
  /** Jump hosts before it, the nearest to us first, as names of the inventory or `user@host:port`. */
  readonly proxyJump: readonly string[]
  /** Where `proxyJump` stands when it comes from ssh_config. */
  readonly proxyJumpPlace: string | undefined
}

export interface IdentityFile {
  readonly path: string
  /** One that ssh_config names and that is not there, or is encrypted, is passed over, as OpenSSH does. */
  readonly optional: boolean
}

type Wish = Partial<Omit<SshTarget, 'host'>> & Pick<SshTarget, 'host'>

/**
 * Settles an address. What the inventory says wins; a line of ssh_config that cannot be used is an error only where the
 * inventory leaves open what it is about. Throws MHV_SSH_CONFIG_INVALID.
 */
export function resolveEndpoint(target: Wish, files: readonly ConfigFile[]): SshEndpoint {
  const config = resolveHost(files, target.host)
  refuseProblems(target, config)
  const { host, user = config.user } = target
  if (user === undefined) {
    const remedy = 'Give the target a user in settings/inventory.yaml, or the host one in ssh_config.'
    throw invalid(`neither the inventory nor ssh_config names a user for ${host}`, remedy)
  }
  const own = target.identity_files?.map((path) => ({ path, optional: false }))
  const theirs = config.identityFiles?.map((path) => ({ path, optional: true }))
  return {
    host: config.hostName ?? host,
    port: target.port ?? config.port ?? 22,
    user,
    identityFiles: own ?? theirs ?? [],
    identitiesOnly: config.identitiesOnly ?? false,
    passphrase: target.passphrase,
    password: target.password,
    agent: target.agent ?? false,
    agentForward: target.agent_forward ?? false,
    hostKeyAlias: target.host_key_alias ?? config.hostKeyAlias,
    knownHosts: target.known_hosts ?? config.knownHosts,
    proxyJump: jumpsOf(target.proxy_jump) ?? config.proxyJump ?? [],
    proxyJumpPlace: target.proxy_jump === undefined ? config.places.proxyjump : undefined,
  }
}

function jumpsOf(written: SshTarget['proxy_jump']): readonly string[] | undefined {
  if (written === undefined) return undefined
  if (written === 'none') return []
  return typeof written === 'string' ? [written] : written
}

/** Which field of the inventory settles what a keyword would say. */
const FIELDS: Readonly<Record<Keyword, keyof SshTarget | undefined>> = {
  hostname: undefined,
  user: 'user',
  port: 'port',
  identityfile: 'identity_files',
  identitiesonly: undefined,
  proxyjump: 'proxy_jump',
  proxycommand: 'proxy_jump',
  userknownhostsfile: 'known_hosts',
  hostkeyalias: 'host_key_alias',
}

function refuseProblems(target: Wish, config: HostConfig): void {
  const open = (keyword: Keyword | undefined) => {
    const field = keyword === undefined ? undefined : FIELDS[keyword]
    return field === undefined || target[field] === undefined
  }
  const problem = config.problems.find(({ keyword }) => open(keyword))
  if (problem !== undefined) throw invalid(plainText(problem.text, 1_000))
  if (config.proxyCommand === undefined || !open('proxycommand')) return
  const remedy =
    'Give the target proxy_jump in settings/inventory.yaml: the jump host, or `none` where the host can be reached directly.'
  throw invalid(`${config.places.proxycommand}: ProxyCommand is not run, and ${target.host} is reached by it`, remedy)
}

function invalid(message: string, remedy?: string): MhvError {
  return mhvError('MHV_SSH_CONFIG_INVALID', message, remedy === undefined ? {} : { remedy })
}

/**
 * A jump host: a target of the inventory with what that says, or a name that only ssh_config may know more of. One of
 * the latter has no credentials of the target behind it but the agent, which signs here and hands nothing on.
 */
export function jumpWish(name: string, target: Wish): Wish {
  const linked = target.jump_targets?.[name]
  if (linked !== undefined) return linked
  const spec: JumpSpec | undefined = parseJump(name)
  if (spec === undefined) {
    throw mhvError('MHV_SSH_JUMP_INVALID', `"${plainText(name)}" is no jump host: a target's name, or user@host:port`)
  }
  return { ...spec, agent: target.agent ?? false }
}
