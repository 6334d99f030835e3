import type { ClientChannel } from 'ssh2'
import { mhvError } from '../../../core/errors.ts'
import { abandon } from '../connection.ts'
import { type LoginShell, wrapForAnyShell } from '../login-shell.ts'
import type { PoolCall, SshPool } from '../pool.ts'
import { plainText } from '../remote-text.ts'
import { shellQuote } from '../shell-quote.ts'
import { newMarker } from '../start-report.ts'

/** What the host's own programs say of its files. */
export type HashAnswer =
  /** In the order of the paths. */
  | { readonly kind: 'hashes'; readonly hashes: readonly string[] }
  /** There is no program for it, or no channel to run it on. */
  | { readonly kind: 'none'; readonly why: string; readonly busy: boolean }
  /** There is one, and it did not read every file. */
  | { readonly kind: 'failed'; readonly said: string }

/** Milliseconds to wait for a channel: whoever holds one and waits for another may wait for itself. */
const PLACE_MS = 2_000
/** Most bytes of an answer; a line has a digest and a path. */
const MAX_ANSWER = 64 * 1024 * 1024

/** Each with the options that make it print `DIGEST  PATH`, one line per file. */
const PROGRAMS = ['sha256sum', 'shasum -a 256', 'openssl dgst -sha256 -r'] as const

/**
 * Reads paths from standard input, each ended by NUL, and prints their digests. xargs packs them into as few processes
 * as the system allows. Names never stand in the line.
 */
function hashScript(marker: string): string {
  const branches = PROGRAMS.map((program) => {
    const [name = ''] = program.split(' ')
    return `command -v ${name} >/dev/null 2>&1; then echo ${marker}; xargs -0 ${program} 2>&1; echo ${marker} $?`
  })
  const chain = `if ${branches.join('; elif ')}; else echo ${marker} none; fi`
  return `if command -v xargs >/dev/null 2>&1; then ${chain}; else echo ${marker} none; fi`
}

/** Prints the digest of the first bytes of one file. */
function prefixScript(marker: string, path: string, bytes: number): string {
  const source = `head -c ${bytes} < ${shellQuote(path)}`
  const branches = PROGRAMS.map((program) => {
    const [name = ''] = program.split(' ')
    return `command -v ${name} >/dev/null 2>&1; then echo ${marker}; ${source} | ${program} 2>&1; echo ${marker} $?`
  })
  return `if ${branches.join('; elif ')}; else echo ${marker} none; fi`
}

/** Why the host cannot hash; undefined where it can, as far as can be told without a file. */
export async function probeHash(pool: SshPool, call: PoolCall): Promise<string | undefined> {
  const marker = newMarker()
  const answer = await ask(pool, call, hashScript(marker), '', marker, 0)
  return answer.kind === 'none' && !answer.busy ? answer.why : undefined
}

/** SHA-256 of so many files of the host, read by the host. Throws what opening a channel throws. */
export function hashRemote(pool: SshPool, call: PoolCall, paths: readonly string[]): Promise<HashAnswer> {
  const marker = newMarker()
  // A path must not look like an option.
  const names = paths.map((path) => `${path.startsWith('/') ? '' : './'}${path}\0`).join('')
  return ask(pool, call, hashScript(marker), names, marker, paths.length)
}

/** SHA-256 of the first bytes of one file. */
export function hashRemotePrefix(pool: SshPool, call: PoolCall, path: string, bytes: number): Promise<HashAnswer> {
  const marker = newMarker()
  const named = path.startsWith('/') ? path : `./${path}`
  return ask(pool, call, prefixScript(marker, named, bytes), '', marker, 1)
}

async function ask(
  pool: SshPool,
  call: PoolCall,
  script: string,
  stdin: string,
  marker: string,
  count: number,
): Promise<HashAnswer> {
  const channel = await openSoon(pool, call, script)
  if (channel === undefined) return { kind: 'none', why: 'no channel was free for it', busy: true }
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  // The host may never say that the channel has closed.
  const onAbort = () => {
    abandon(channel)
    reject(call.signal.reason)
  }
  // It may have come while the channel was opened.
  if (call.signal.aborted) onAbort()
  else call.signal.addEventListener('abort', onAbort, { once: true })
  try {
    return parseHashes(await Promise.race([textOf(channel, stdin), aborted]), marker, count)
  } finally {
    call.signal.removeEventListener('abort', onAbort)
  }
}

/** A channel that runs the script, or none where none comes free in time. */
async function openSoon(pool: SshPool, call: PoolCall, script: string): Promise<ClientChannel | undefined> {
  const line = (shell: LoginShell) => (shell.posix ? script : wrapForAnyShell(script))
  const waiting = new AbortController()
  const signal = AbortSignal.any([call.signal, waiting.signal])
  const cancel = pool.clock.after(PLACE_MS, () => waiting.abort(mhvError('MHV_RUN_CANCELLED', 'no channel in time')))
  try {
    for (;;) {
      const lease = await pool.acquire({ ...call, signal })
      try {
        return await lease.exec(line(lease.shell))
      } catch (error) {
        const delay = lease.retryDelay()
        if (delay === undefined) throw error
        if (delay > 0) await pool.clock.sleep(delay)
      }
    }
  } catch (error) {
    if (waiting.signal.aborted && !call.signal.aborted) return undefined
    throw error
  } finally {
    cancel()
  }
}

function textOf(channel: ClientChannel, stdin: string): Promise<string> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = []
    let bytes = 0
    channel.on('data', (piece: Buffer) => {
      bytes += piece.length
      if (bytes > MAX_ANSWER) return abandon(channel)
      pieces.push(piece)
    })
    channel.stderr.resume()
    channel.once('close', () => resolve(Buffer.concat(pieces).toString('latin1')))
    channel.end(Buffer.from(stdin))
  })
}

/**
 * The digests between the two marks. The programs escape a line break in a path or they do not: only the digests and
 * their number count, so a name that looks like a line of its own makes too many, never a wrong one.
 */
export function parseHashes(text: string, marker: string, count: number): HashAnswer {
  const lines = text.split('\n')
  const from = lines.indexOf(marker)
  if (lines.includes(`${marker} none`)) {
    return { kind: 'none', why: 'the host has neither sha256sum nor shasum nor openssl', busy: false }
  }
  const to = lines.findLastIndex((line) => line.startsWith(`${marker} `))
  if (from < 0 || to < 0) return { kind: 'failed', said: plainText(text) || 'the answer was cut off' }
  const between = lines.slice(from + 1, to)
  const hashes = between.flatMap((line) => /^\\?([0-9a-f]{64}) [ *]/.exec(line)?.[1] ?? [])
  if (lines[to] === `${marker} 0` && hashes.length === count) return { kind: 'hashes', hashes }
  return { kind: 'failed', said: plainText(between.filter((line) => !/^\\?[0-9a-f]{64} [ *]/.test(line)).join(' ')) }
}
