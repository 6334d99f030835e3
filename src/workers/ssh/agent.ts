import type { BaseAgent, KnownPublicKeys, ParsedKey } from 'ssh2'
import { localPath } from './local-path.ts'
import { MAX_KEY_BYTES, readRegular } from './read-regular.ts'
import type { SshEndpoint } from './route/endpoint.ts'
import { ssh2 } from './ssh2-library.ts'

/** Socket of the agent that an endpoint may use; undefined where it names none, or SSH_AUTH_SOCK is not set. */
export function agentSocket(endpoint: Pick<SshEndpoint, 'agent'>, folder: string): string | undefined {
  if (endpoint.agent === false) return undefined
  return endpoint.agent === true ? process.env.SSH_AUTH_SOCK || undefined : localPath(endpoint.agent, folder)
}

/** Bytes of the public keys that the endpoint's identity files name, from their `.pub` beside them. */
async function namedKeys(endpoint: SshEndpoint, folder: string): Promise<readonly Buffer[]> {
  const files = endpoint.identityFiles.map(({ path }) => localPath(path, folder))
  const keys = await Promise.all(files.map((path) => publicKey(path.endsWith('.pub') ? path : `${path}.pub`)))
  return keys.filter((key) => key !== undefined)
}

async function publicKey(path: string): Promise<Buffer | undefined> {
  try {
    const parsed: unknown = ssh2.utils.parseKey(await readRegular(path, MAX_KEY_BYTES))
    const key = (Array.isArray(parsed) ? parsed[0] : parsed) as ParsedKey | Error
    return key instanceof Error ? undefined : key.getPublicSSH()
  } catch {
    // It is only a hint which of the agent's keys to take; the private key is tried by itself.
    return undefined
  }
}

/**
 * The agent as ssh2 takes it; under IdentitiesOnly it shows only the keys that are named. `offers` is told how many keys
 * it is going to show: each counts as an attempt on the host.
 */
export async function agentFor(
  endpoint: SshEndpoint,
  socket: string,
  folder: string,
  offers: (keys: number) => void,
): Promise<BaseAgent> {
  const agent = ssh2.createAgent(socket) as BaseAgent
  const named = endpoint.identitiesOnly ? await namedKeys(endpoint, folder) : undefined
  const isWanted = (key: unknown) => {
    const bytes = Buffer.isBuffer(key) ? key : (key as ParsedKey).getPublicSSH()
    return named === undefined || named.some((other) => other.equals(bytes))
  }
  const all = agent.getIdentities.bind(agent)
  agent.getIdentities = (done) => {
    all((error, keys) => {
      if (error) return done(error)
      const wanted = (keys ?? []).filter(isWanted) as KnownPublicKeys
      offers(wanted.length)
      done(null, wanted)
    })
  }
  return agent
}
