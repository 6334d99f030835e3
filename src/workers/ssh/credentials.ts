import { readFile } from 'node:fs/promises'
import type { AnyAuthMethod, AuthenticationType, ParsedKey } from 'ssh2'
import type { SecretResolver } from '../../core/context.ts'
import { type MhvError, mhvError, outOfDescriptors, systemCode, toMhvError } from '../../core/errors.ts'
import { localPath } from './local-path.ts'
import type { SshTarget } from './settings.ts'
import { ssh2 } from './ssh2-library.ts'

/** How the log-in went, for the error that follows when it fails. */
export interface LogIn {
  /** What ssh2 calls for each next credential: agent, each key file, password; then nothing more. */
  readonly handler: (
    left: readonly AuthenticationType[] | null,
    partial: boolean | null,
    next: (method: AnyAuthMethod | false) => void,
  ) => void
  /** What was tried, and what could not be, in words. */
  readonly tried: readonly string[]
  agentFailed(message: string): void
  /** Something in our own configuration is wrong: a key that cannot be read, a secret that cannot be resolved. */
  failure(): MhvError | undefined
  /** Set when nothing is left to try. */
  exhausted(): boolean
  /** Wipes what ssh2 would keep of the credentials for as long as the connection lives. */
  forget(): void
}

/** Each credential is read when its turn comes and not before; what is read is wiped by `forget`. */
export function createLogIn(target: SshTarget, secrets: SecretResolver, folder: string): LogIn {
  const tried: string[] = []
  const wipe: (() => void)[] = []
  let left: readonly AuthenticationType[] | null = null
  let failure: MhvError | undefined
  let exhausted = false

  async function* methods(): AsyncGenerator<AnyAuthMethod, void, void> {
    const username = target.user
    if (target.agent !== false) {
      const agent = target.agent === true ? process.env.SSH_AUTH_SOCK : localPath(target.agent, folder)
      if (agent) tried.push('agent')
      else tried.push('agent (SSH_AUTH_SOCK is not set)')
      if (agent) yield { type: 'agent', username, agent }
    }
    for (const file of target.identity_files) {
      if (!allowed(left, 'publickey')) break
      const key = await readKey(localPath(file, folder), target, secrets)
      wipe.push(() => wipeKey(key))
      tried.push(`key ${file}`)
      yield { type: 'publickey', username, key }
    }
    if (target.password === undefined) return
    if (!allowed(left, 'password')) {
      tried.push(`password (the host takes only ${left?.join(', ')})`)
      return
    }
    const secret = await secrets.resolve(target.password)
    const password = Buffer.from(secret.reveal())
    wipe.push(() => password.fill(0))
    tried.push('password')
    // ssh2 takes bytes as well as text, and only bytes can be wiped; its types know only the text.
    yield { type: 'password', username, password: password as unknown as string }
  }

  const sequence = methods()
  return {
    handler(methodsLeft, _partial, next) {
      left = methodsLeft
      sequence.next().then(
        ({ value }) => {
          exhausted = value === undefined
          tell(next, value ?? false)
        },
        (error: unknown) => {
          failure = toMhvError(error)
          tell(next, false)
        },
      )
    },
    tried,
    agentFailed(message) {
      const place = tried.lastIndexOf('agent')
      if (place >= 0) tried[place] = `agent (${message})`
    },
    failure: () => failure,
    exhausted: () => exhausted,
    forget() {
      for (const act of wipe.splice(0)) act()
    },
  }
}

/** The connection may have broken while a secret was read; ssh2 then throws here, and its own event says why. */
function tell(next: (method: AnyAuthMethod | false) => void, method: AnyAuthMethod | false): void {
  try {
    next(method)
  } catch {
    // Nothing is lost: the event ends the attempt.
  }
}

function allowed(left: readonly AuthenticationType[] | null, method: AuthenticationType): boolean {
  return left === null || left.length === 0 || left.includes(method)
}

/** Throws MHV_SSH_KEY_INVALID, which names the file and nothing of what is in it. */
async function readKey(path: string, target: SshTarget, secrets: SecretResolver): Promise<ParsedKey> {
  const invalid = (why: string, cause?: unknown) =>
    mhvError('MHV_SSH_KEY_INVALID', `${path} ${why}`, { details: { file: path }, cause })
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (error) {
    throw outOfDescriptors(error, path) ?? invalid(`cannot be read (${systemCode(error) ?? 'unknown error'})`, error)
  }
  const passphrase = target.passphrase === undefined ? undefined : (await secrets.resolve(target.passphrase)).reveal()
  const parsed = parseKey(bytes, passphrase)
  const encryptedPem = bytes.includes('4,ENCRYPTED')
  bytes.fill(0)
  if (parsed instanceof Error) {
    const encrypted = encryptedPem || /encrypted|passphrase|decrypt|integrity/i.test(parsed.message)
    if (!encrypted) throw invalid('is not a private key of a kind that can be used')
    throw invalid(
      passphrase === undefined ? 'is encrypted and needs a passphrase' : 'does not open with its passphrase',
    )
  }
  if (!parsed.isPrivateKey()) throw invalid('is a public key, not a private one')
  return parsed
}

/** ssh2 returns its errors, except for some malformed keys, where it throws; some versions return a list of one. */
function parseKey(bytes: Buffer, passphrase: string | undefined): ParsedKey | Error {
  try {
    const parsed: unknown = ssh2.utils.parseKey(bytes, passphrase)
    return (Array.isArray(parsed) ? parsed[0] : parsed) as ParsedKey | Error
  } catch {
    return new Error('malformed')
  }
}

/** The private parts stand in properties whose names are symbols; afterwards the key can sign nothing. */
function wipeKey(key: ParsedKey): void {
  const fields = key as unknown as Record<symbol, unknown>
  for (const name of Object.getOwnPropertySymbols(key)) {
    if (typeof fields[name] === 'string') fields[name] = null
  }
}
