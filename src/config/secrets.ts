import { systemClock } from '../core/clock.ts'
import type { SecretResolver } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { exec } from '../core/exec.ts'
import { createSecret, MIN_SECRET_LENGTH, type Secret } from '../core/secret.ts'
import {
  describeReference,
  type ParsedReference,
  parseSecretReference,
  SECRET_REFERENCE_FORM,
} from '../core/secret-reference.ts'
import { readTextFile, resolveInFolder } from './read-file.ts'

/** Largest secret, in bytes. */
export const MAX_SECRET_BYTES = 65_536
/** How long a program may take to give a secret, in milliseconds. */
export const SECRET_EXEC_TIMEOUT_MS = 10_000
/** How long a secret is remembered, in milliseconds: one run reads it once, a rotated one is seen soon. */
export const SECRET_TTL_MS = 30_000

export interface SecretResolverOptions {
  /** The instance folder: relative paths start here, and programs run in it. */
  readonly folder: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Called with every value before anybody gets it, so that it is masked wherever it would be written. */
  onResolved(value: string, reference: string): void
  /** Milliseconds that never go back. */
  readonly monotonic?: () => number
}

/**
 * Reads secrets when they are needed. No error has a value, the output of a program or its arguments in it. Rejects
 * with MHV_SECRET_INVALID (not a reference, or what it gives is no usable secret) or MHV_SECRET_UNRESOLVED.
 */
export function createSecretResolver(options: SecretResolverOptions): SecretResolver {
  const { monotonic = systemClock.monotonic } = options
  const remembered = new Map<string, { readonly until: number; readonly secret: Promise<Secret> }>()

  async function read(parsed: ParsedReference, reference: string): Promise<Secret> {
    const value = withoutNewline(await readValue(parsed, reference, options))
    if (value.trim().length < MIN_SECRET_LENGTH) {
      throw mhvError(
        'MHV_SECRET_INVALID',
        `the secret of ${reference} has fewer than ${MIN_SECRET_LENGTH} characters`,
        {
          remedy: 'Use a longer secret: a shorter one cannot be masked.',
        },
      )
    }
    options.onResolved(value, reference)
    return createSecret(reference, value)
  }

  return {
    async resolve(given) {
      const parsed = parseSecretReference(given)
      // The text itself is not repeated: whoever wrote the value in its place would find it in the log.
      if (!parsed) throw mhvError('MHV_SECRET_INVALID', `not ${SECRET_REFERENCE_FORM}`)
      const key = JSON.stringify(parsed)
      const known = remembered.get(key)
      if (known && monotonic() < known.until) return known.secret
      const secret = read(parsed, describeReference(given))
      remembered.set(key, { until: monotonic() + SECRET_TTL_MS, secret })
      // What failed is not remembered: the next call may find it put right.
      secret.catch(() => {
        if (remembered.get(key)?.secret === secret) remembered.delete(key)
      })
      return secret
    },
  }
}

async function readValue(parsed: ParsedReference, reference: string, options: SecretResolverOptions): Promise<string> {
  if (parsed.kind === 'env') return readVariable(parsed.name, options)
  if (parsed.kind === 'file') return readSecretFile(parsed.path, options)
  return runProgram(parsed.argv, reference, options)
}

function unresolved(message: string, remedy?: string): MhvError {
  return mhvError('MHV_SECRET_UNRESOLVED', message, { remedy })
}

function readVariable(name: string, { env }: SecretResolverOptions): string {
  const value = Object.hasOwn(env, name) ? env[name] : undefined
  if (value === undefined) throw unresolved(`the variable ${name} is not set`)
  return value
}

/** Group and others may neither read nor write it, as sshd asks of private keys. */
const OTHERS = 0o077

async function readSecretFile(path: string, { folder, env }: SecretResolverOptions): Promise<string> {
  if (/^~[^/]/.test(path)) throw mhvError('MHV_SECRET_INVALID', `file:${path}: only ~/ is known, no other home folder`)
  const file = resolveInFolder(folder, path, env['HOME'])
  const read = await readTextFile(file, MAX_SECRET_BYTES)
  if ('refusal' in read) {
    if (read.refusal === 'not-utf8') throw mhvError('MHV_SECRET_INVALID', `the secret in ${file} ${read.why}`)
    throw unresolved(`${file} ${read.why}`)
  }
  if ((read.mode & OTHERS) !== 0) {
    const mode = read.mode.toString(8).padStart(4, '0')
    throw unresolved(`${file} is open to other users (mode ${mode})`, `Run: chmod 600 ${file}`)
  }
  return read.text
}

async function runProgram(
  [program, ...args]: readonly [string, ...string[]],
  reference: string,
  { folder, env }: SecretResolverOptions,
): Promise<string> {
  // Deliberately without the program's own words: they may be the secret, or half of it.
  const failed = (why: string) => unresolved(`${reference} ${why}`)
  const path = resolveInFolder(folder, program, env['HOME'])
  const result = await exec({
    program: program.includes('/') ? path : program,
    args,
    cwd: folder,
    timeoutMs: SECRET_EXEC_TIMEOUT_MS,
    maxBytes: MAX_SECRET_BYTES,
  }).catch((error: unknown) => {
    const { code, message } = toMhvError(error)
    throw failed(code === 'MHV_EXEC_TIMEOUT' ? `took longer than ${SECRET_EXEC_TIMEOUT_MS / 1000} s` : `: ${message}`)
  })
  if (result.exit_code !== 0) throw failed(`ended with ${result.signal ?? `exit code ${result.exit_code}`}`)
  if (result.dropped_bytes > 0) throw failed(`gave more than ${MAX_SECRET_BYTES} bytes`)
  if (!result.utf8) throw mhvError('MHV_SECRET_INVALID', `${reference} gave something that is not UTF-8 text`)
  return result.stdout
}

function withoutNewline(text: string): string {
  return text.replace(/\r?\n$/, '')
}
