import { isUtf8 } from 'node:buffer'
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { type MhvError, mhvError, systemCode } from './errors.ts'
import { createHeadTail, type HeadTail } from './head-tail.ts'

/** Variables of our own environment that every external program gets; nothing else of it is passed on. */
export const BASE_ENVIRONMENT = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'] as const

export interface ExecOptions {
  /** A path, or a name that is looked for in PATH. Never a shell line. */
  readonly program: string
  /** Values that come from a caller belong behind `--`, or through `positional` where the program knows no `--`. */
  readonly args?: readonly string[]
  readonly cwd?: string
  /** Variables for this one program, beside BASE_ENVIRONMENT. */
  readonly env?: Readonly<Record<string, string>>
  /** What it reads; without it, standard input is empty. */
  readonly stdin?: string | Uint8Array
  /** Milliseconds until its process group is ended. */
  readonly timeoutMs: number
  /** Bytes kept of each stream: the first and the last half of them. */
  readonly maxBytes: number
  /** When aborted, the process group is ended and the signal's reason is thrown. */
  readonly signal?: AbortSignal
  /** Milliseconds between TERM and KILL. */
  readonly killGraceMs?: number
  /** Is given the output as it comes, all of it. */
  readonly onOutput?: (stream: 'stdout' | 'stderr', bytes: Uint8Array) => void
}

export interface ExecResult {
  /** Null where a signal ended it. */
  readonly exit_code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** Bytes of both streams that were not kept; where some are missing, the text has a line that says so. */
  readonly dropped_bytes: number
  /** False where a stream was not UTF-8 and its text has U+FFFD instead. */
  readonly utf8: boolean
  readonly duration_ms: number
}

const KILL_GRACE_MS = 2_000
/** How long a program that has ended may leave its output open (a daemon that it left behind) without a word on it. */
const DRAIN_IDLE_MS = 1_000
/** How long to wait for a group after KILL: a process in uninterruptible sleep goes when the kernel lets it. */
const AFTER_KILL_MS = 1_000
const POLL_MS = 20

/** Groups that run now; they are ended when this process exits, since a group of its own gets no Ctrl-C. */
const running = new Set<number>()

/**
 * The one way to run an external program: arguments as a list, never a shell; its own process group, which is ended
 * (TERM, then KILL) at the deadline or when aborted; nothing inherited but the three standard streams; bounded output.
 * A non-zero exit is a result. A program that makes itself a session of its own (setsid) escapes the group's end, but
 * holds nobody up.
 *
 * Throws MHV_EXEC_NOT_FOUND, MHV_EXEC_ARGUMENT, MHV_EXEC_NOT_STARTED, MHV_EXEC_TIMEOUT, or the signal's reason.
 */
export async function exec(options: ExecOptions): Promise<ExecResult> {
  refuseNul(options)
  options.signal?.throwIfAborted()
  const started = performance.now()
  const child = await start(options)
  const group = child.pid as number
  const streams = {
    stdout: capture(child, 'stdout', options),
    stderr: capture(child, 'stderr', options),
  }
  feed(child, options.stdin)
  track(group)
  try {
    const stopped = await finished(child, options, streams)
    if (stopped === undefined) return toResult(child, streams, started)
    await endGroup(child, group, options.killGraceMs ?? KILL_GRACE_MS)
    throw stopped
  } finally {
    running.delete(group)
    child.stdout?.destroy()
    child.stderr?.destroy()
    child.stdin?.destroy()
    child.unref()
  }
}

/** A positional argument that comes from a caller: a leading dash would make it an option. Throws MHV_EXEC_ARGUMENT. */
export function positional(value: string): string {
  if (value.startsWith('-')) throw mhvError('MHV_EXEC_ARGUMENT', 'an argument may not begin with "-"')
  if (value.includes('\0')) throw mhvError('MHV_EXEC_ARGUMENT', 'an argument may not have a NUL byte')
  return value
}

function refuseNul({ program, args = [], cwd = '', env = {} }: ExecOptions): void {
  const texts = [program, cwd, ...args, ...Object.keys(env), ...Object.values(env)]
  if (texts.some((text) => text.includes('\0'))) {
    throw mhvError('MHV_EXEC_ARGUMENT', 'program, arguments and environment may not have a NUL byte')
  }
  if (program === '' || Object.keys(env).some((name) => name === '' || name.includes('='))) {
    throw mhvError('MHV_EXEC_ARGUMENT', 'a program and its variables need names; a name may not have "="')
  }
}

function environment(own: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const base = BASE_ENVIRONMENT.filter((name) => process.env[name] !== undefined)
  return { ...Object.fromEntries(base.map((name) => [name, process.env[name]])), ...own }
}

/** Resolves when the program runs. Node throws some failures of the start at once and emits the others. */
async function start(options: ExecOptions): Promise<ChildProcess> {
  const closed = openSync('/dev/null', 'r+')
  try {
    const child = spawn(options.program, options.args ?? [], {
      cwd: options.cwd,
      env: environment(options.env),
      stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...hiddenDescriptors(closed)],
      shell: false,
      // A session and process group of its own, so that what it starts can be ended with it.
      detached: true,
      windowsHide: true,
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    // Later errors (a failed kill) change nothing: the end of the process is what counts.
    child.on('error', () => {})
    return child
  } catch (error) {
    throw await startError(error, options)
  } finally {
    closeSync(closed)
  }
}

const CLOSE_ON_EXEC = 0o2000000

/**
 * Entries of `stdio` from 3 on that put /dev/null in place of every descriptor that the child would inherit. Node opens
 * its own as close-on-exec; addons (node-pty 1.1.0) and whoever started this process may not have. Needs /proc:
 * elsewhere those are inherited.
 */
export function hiddenDescriptors(replacement: number): (number | 'ignore')[] {
  const entries: (number | 'ignore')[] = []
  for (const descriptor of inheritableDescriptors()) {
    while (entries.length < descriptor - 3) entries.push('ignore')
    entries[descriptor - 3] = replacement
  }
  return entries
}

/** Open descriptors from 3 on that a child gets unless something is put in their place; none without /proc. */
export function inheritableDescriptors(): number[] {
  try {
    const open = readdirSync('/proc/self/fdinfo').map(Number)
    return open.filter((descriptor) => descriptor > 2 && !closesOnExec(descriptor)).sort((a, b) => a - b)
  } catch {
    return []
  }
}

function closesOnExec(descriptor: number): boolean {
  try {
    const flags = /^flags:\s+([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1'))?.[1]
    return flags === undefined || (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) !== 0
  } catch {
    // Closed since it was listed.
    return true
  }
}

async function startError(error: unknown, { program, cwd }: ExecOptions): Promise<MhvError> {
  const code = systemCode(error) ?? 'unknown error'
  const details = { program, code }
  if (['ENOENT', 'EACCES', 'ENOTDIR', 'ENOEXEC', 'EISDIR'].includes(code)) {
    const folder = cwd === undefined || (await stat(cwd).catch(() => undefined))?.isDirectory()
    if (!folder) {
      const remedy = 'Create the working directory, or name another one.'
      return mhvError('MHV_EXEC_NOT_FOUND', `working directory "${cwd}" of "${program}" does not exist`, {
        details,
        remedy,
      })
    }
    return mhvError('MHV_EXEC_NOT_FOUND', `program "${program}" cannot be run (${code})`, { details, cause: error })
  }
  if (code === 'E2BIG') return mhvError('MHV_EXEC_ARGUMENT', `the arguments of "${program}" are too long`, { details })
  return mhvError('MHV_EXEC_NOT_STARTED', `program "${program}" could not be started (${code})`, {
    details,
    cause: error,
  })
}

interface Captured {
  readonly kept: HeadTail
  /** When something came last, in milliseconds of `performance.now`. */
  last(): number
}

function capture(
  child: ChildProcess,
  name: 'stdout' | 'stderr',
  { maxBytes, onOutput }: Pick<ExecOptions, 'maxBytes' | 'onOutput'>,
): Captured {
  const head = Math.ceil(maxBytes / 2)
  const kept = createHeadTail({ head, tail: maxBytes - head })
  let last = performance.now()
  child[name]?.on('data', (bytes: Buffer) => {
    last = performance.now()
    kept.push(bytes)
    onOutput?.(name, bytes)
  })
  child[name]?.on('error', () => {})
  return { kept, last: () => last }
}

function feed(child: ChildProcess, stdin: ExecOptions['stdin']): void {
  // A program that ends without reading everything is no failure of ours.
  child.stdin?.on('error', () => {})
  child.stdin?.end(stdin)
}

type Streams = { readonly stdout: Captured; readonly stderr: Captured }

/** Waits for the end of the program and of its output; resolves with the error to throw if it has to be stopped. */
function finished(child: ChildProcess, options: ExecOptions, streams: Streams): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>()
  const deadline = performance.now() + options.timeoutMs
  let drain: NodeJS.Timeout | undefined
  const onAbort = () => resolve(options.signal?.reason ?? mhvError('MHV_RUN_CANCELLED', 'aborted'))
  const onDeadline = () =>
    resolve(child.exitCode === null && child.signalCode === null ? timeoutError(options) : undefined)
  const timer = setTimeout(onDeadline, Math.max(0, options.timeoutMs))

  child.once('close', () => resolve(undefined))
  child.once('exit', () => {
    const look = () => {
      const idle = performance.now() - Math.max(streams.stdout.last(), streams.stderr.last())
      if (idle >= DRAIN_IDLE_MS || performance.now() >= deadline) resolve(undefined)
      else drain = setTimeout(look, DRAIN_IDLE_MS - idle)
    }
    drain = setTimeout(look, DRAIN_IDLE_MS)
  })
  if (options.signal?.aborted) onAbort()
  options.signal?.addEventListener('abort', onAbort, { once: true })
  return promise.finally(() => {
    clearTimeout(timer)
    clearTimeout(drain)
    options.signal?.removeEventListener('abort', onAbort)
  })
}

function timeoutError({ program, timeoutMs }: ExecOptions): MhvError {
  return mhvError('MHV_EXEC_TIMEOUT', `program "${program}" was not done after ${timeoutMs / 1000} s and was ended`, {
    details: { program, timeout_ms: timeoutMs },
  })
}

/** TERM to the whole group, KILL to what is left of it after the grace; waits until nothing is left. */
async function endGroup(child: ChildProcess, group: number, graceMs: number): Promise<void> {
  signalGroup(group, 'SIGTERM')
  if (await gone(child, group, graceMs)) return
  signalGroup(group, 'SIGKILL')
  await gone(child, group, AFTER_KILL_MS)
}

async function gone(child: ChildProcess, group: number, withinMs: number): Promise<boolean> {
  const until = performance.now() + withinMs
  for (;;) {
    const ended = child.exitCode !== null || child.signalCode !== null
    if (ended && !signalGroup(group, 0)) return true
    if (performance.now() >= until) return false
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** Whether there was anybody in the group to get it. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal)
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}

function toResult(child: ChildProcess, { stdout, stderr }: Streams, started: number): ExecResult {
  const whole = ({ kept }: Captured) => kept.dropped() > 0 || isUtf8(Buffer.concat([kept.head(), kept.tail()]))
  return {
    exit_code: child.exitCode,
    signal: child.signalCode,
    stdout: stdout.kept.text(gap),
    stderr: stderr.kept.text(gap),
    dropped_bytes: stdout.kept.dropped() + stderr.kept.dropped(),
    utf8: whole(stdout) && whole(stderr),
    duration_ms: Math.round(performance.now() - started),
  }
}

function gap(droppedBytes: number): string {
  return `\n[${droppedBytes} bytes are missing here]\n`
}

function track(group: number): void {
  if (running.size === 0 && !process.listeners('exit').includes(endAll)) process.on('exit', endAll)
  running.add(group)
}

function endAll(): void {
  for (const group of running) signalGroup(group, 'SIGKILL')
}
