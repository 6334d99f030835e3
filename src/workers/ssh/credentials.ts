import type { AnyAuthMethod, AuthenticationType, ParsedKey, Prompt } from 'ssh2'
import type { SecretResolver } from '../../core/context.ts'
import { MhvError, mhvError, outOfDescriptors, systemCode, toMhvError } from '../../core/errors.ts'
import { agentFor, agentSocket } from './agent.ts'
import { endpointName } from './connect-errors.ts'
import { localPath } from './local-path.ts'
import { MAX_KEY_BYTES, readRegular, UnsuitableFile } from './read-regular.ts'
import { plainText } from './remote-text.ts'
import type { IdentityFile, SshEndpoint } from './route/endpoint.ts'
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
  /** Calls back when the host asks what cannot be answered: ssh2 would wait for an answer for ever. */
  onRefused(listener: (error: MhvError) => void): void
  /** Something in our own configuration is wrong: a key that cannot be read, a secret that cannot be resolved. */
  failure(): MhvError | undefined
  /** Set when nothing is left to try. */
  exhausted(): boolean
  /** Wipes what ssh2 would keep of the credentials for as long as the connection lives. */
  forget(): void
}

/** Each credential is read when its turn comes and not before; what is read is wiped by `forget`. */
export function createLogIn(target: SshEndpoint, secrets: SecretResolver, folder: string): LogIn {
  const tried: string[] = []
  const wipe: (() => void)[] = []
  let left: readonly AuthenticationType[] | null = null
  let failure: MhvError | undefined
  let exhausted = false
  let refused: (error: MhvError) => void = () => undefined

  async function* methods(): AsyncGenerator<AnyAuthMethod, void, void> {
    const username = target.user
    if (target.agent !== false) {
      const socket = agentSocket(target, folder)
      tried.push(socket === undefined ? 'agent (SSH_AUTH_SOCK is not set)' : 'agent')
      if (socket !== undefined)
        yield { type: 'agent', username, agent: await agentFor(target, socket, folder, agentOffers) }
    }
    for (const file of target.identityFiles) {
      if (!allowed(left, 'publickey')) break
      const key = await readOrPass(file)
      if (key === undefined) continue
      wipe.push(() => wipeKey(key))
      tried.push(`key ${file.path}`)
      yield { type: 'publickey', username, key }
    }
    if (target.password !== undefined) yield* byPassword(username, target.password)
  }

  async function* byPassword(username: string, reference: NonNullable<SshEndpoint['password']>) {
    // Nothing was asked yet: the host's refusal of nothing says in which of two ways it takes a password.
    if (left === null) yield { type: 'none', username } satisfies AnyAuthMethod
    const method = (['password', 'keyboard-interactive'] as const).find((one) => allowed(left, one))
    if (method === undefined) {
      tried.push(`password (the host takes only ${plainText(left?.join(', ') ?? '')})`)
      return
    }
    const secret = await secrets.resolve(reference)
    if (method === 'password') {
      const password = Buffer.from(secret.reveal())
      wipe.push(() => password.fill(0))
      tried.push('password')
      // ssh2 takes bytes as well as text, and only bytes can be wiped; its types know only the text.
      yield { type: 'password', username, password: password as unknown as string } satisfies AnyAuthMethod
    }
    // Once refused, the same password is not given again under another name: some hosts lock accounts for it. After a
    // part of the log-in was taken, the host may ask for more.
    if (method === 'password' && !(partly && allowed(left, 'keyboard-interactive'))) return
    let answer = method === 'password' ? undefined : secret.reveal()
    tried.push(`keyboard-interactive${answer === undefined ? '' : ' (password)'}`)
    yield {
      type: 'keyboard-interactive',
      username,
      prompt(_name, _instructions, _language, prompts, finish) {
        const [only, ...more] = prompts
        if (answer === undefined || only === undefined || only.echo === true || more.length > 0) {
          failure = unanswerable(target, prompts)
          refused(failure)
          return
        }
        const given = answer
        answer = undefined
        finish([given])
      },
    } satisfies AnyAuthMethod
  }

  function agentOffers(keys: number): void {
    const place = tried.lastIndexOf('agent')
    if (place >= 0) tried[place] = `agent (${keys} keys)`
  }

  /** A key of ssh_config that is not there, or needs a passphrase that nobody named, is passed over. */
  async function readOrPass(file: IdentityFile): Promise<ParsedKey | undefined> {
    try {
      return await readKey(localPath(file.path, folder), target, secrets)
    } catch (error) {
      if (!file.optional || !(error instanceof MhvError) || error.code !== 'MHV_SSH_KEY_INVALID') throw error
      tried.push(`key ${error.message}`)
      return undefined
    }
  }

  let partly = false
  const sequence = methods()
  return {
    handler(methodsLeft, partial, next) {
      left = methodsLeft
      partly = partial === true
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
      const place = tried.findLastIndex((what) => what.startsWith('agent'))
      if (place >= 0) tried[place] = `agent (${plainText(message)})`
    },
    onRefused(listener) {
      refused = listener
    },
    failure: () => failure,
    exhausted: () => exhausted,
    forget() {
      for (const act of wipe.splice(0)) act()
    },
  }
}

/** A password answers one hidden question, once. What else a host asks, only a person could know. */
function unanswerable(target: SshEndpoint, prompts: readonly Prompt[]): MhvError {
  const asked = prompts.slice(0, 4).map(({ prompt }) => `"${plainText(prompt, 80)}"`)
  const message = `${target.user}@${endpointName(target)} asks what cannot be answered: ${asked.join(', ')}`
  return mhvError('MHV_SSH_AUTH_FAILED', message, {
    remedy: 'Use a key, or an account for which the host asks only for a password: one-time codes are not supported.',
  })
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
async function readKey(path: string, target: SshEndpoint, secrets: SecretResolver): Promise<ParsedKey> {
  const invalid = (why: string, cause?: unknown) =>
    mhvError('MHV_SSH_KEY_INVALID', `${path} ${why}`, { details: { file: path }, cause })
  let bytes: Buffer
  try {
    bytes = await readRegular(path, MAX_KEY_BYTES)
  } catch (error) {
    if (error instanceof UnsuitableFile) throw invalid(error.message)
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
