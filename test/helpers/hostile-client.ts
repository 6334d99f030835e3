import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type HostileServer, hostileKnownHosts } from './hostile-ssh.ts'
import { exitOnSignals } from './processes.ts'

/** How a command on a hostile server ended. */
export interface Outcome {
  readonly code: string
  readonly message: string
  readonly ms: number
  /** Bytes of memory that the client has had at the most by then. */
  readonly rss: number
}

export interface MeetOptions {
  readonly timeoutMs?: number
  readonly command?: string
  /** The output is taken slowly. */
  readonly slow?: boolean
}

/**
 * A worker in a process of its own: an exception that nobody catches ends it, and that is seen. Answers of several
 * servers at once do not disturb each other.
 */
export interface HostileClient {
  /** What a command on the server ends with; the server is closed then. */
  meet(server: HostileServer, options?: MeetOptions): Promise<Outcome>
  /** Bytes of memory that the client has had at the most by its last answer. */
  peak(): number
  /** Throws where the process did not live until now, or ended with an error. */
  stop(): Promise<void>
}

const SCRIPT = new URL('../fixtures/hostile-client.ts', import.meta.url).pathname

export interface ClientOptions {
  /** Seconds for a connection, the question for the login shell included. */
  readonly connectSeconds?: number
  /** Seconds of silence after which a connection is given up. */
  readonly keepaliveSeconds?: number
  /** How many times as fast time passes by the worker's clock; deadlines of commands are real ones. */
  readonly speed?: number
}

export async function startHostileClient(options: ClientOptions = {}): Promise<HostileClient> {
  const { connectSeconds = 1.5, keepaliveSeconds = 1, speed = 1 } = options
  const folder = await mkdtemp(join(tmpdir(), 'mhv-hostile-'))
  const child = spawn(process.execPath, [SCRIPT, ...[connectSeconds, keepaliveSeconds, speed].map(String)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  exitOnSignals()
  process.once('exit', () => child.kill('SIGKILL'))
  const waiting = new Map<number, (outcome: Outcome) => void>()
  let lastId = 0
  let peak = 0
  let said = ''
  let died: string | undefined
  const dead = () => ({ code: 'the client died', message: died ?? '', ms: 0, rss: 0 })

  child.stderr.on('data', (bytes) => {
    said = (said + bytes).slice(-4_000)
  })
  child.stdin.on('error', () => undefined)
  child.on('exit', (code, signal) => {
    died = `the client ended with ${signal ?? code}: ${said}`
    for (const done of waiting.values()) done(dead())
  })
  const ready = new Promise<Outcome>((resolve) => waiting.set(-1, resolve))
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, ...outcome } = JSON.parse(line)
    peak = Math.max(peak, outcome.rss)
    waiting.get(id)?.(outcome)
    waiting.delete(id)
  })
  await ready

  return {
    async meet(server, { timeoutMs = 3_000, command = 'echo done', slow } = {}) {
      const id = ++lastId
      const file = join(folder, `known_hosts-${id}`)
      await writeFile(file, hostileKnownHosts([server.port]))
      const target = { host: '127.0.0.1', port: server.port, user: 'u', password: 'env:PASSWORD', known_hosts: [file] }
      const outcome = new Promise<Outcome>((resolve) => waiting.set(id, resolve))
      if (died === undefined) child.stdin.write(`${JSON.stringify({ id, target, timeoutMs, command, slow })}\n`)
      else waiting.get(id)?.(dead())
      return outcome.finally(() => server.close())
    },
    peak: () => peak,
    async stop() {
      const code = await ended(child)
      await rm(folder, { recursive: true, force: true })
      assert.equal(code, 0, died)
    },
  }
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
  const exited = once(child, 'exit')
  child.stdin?.end()
  return (await exited)[0]
}

export interface Expected {
  /** Codes that it may end with; any of ours but the internal one without. */
  readonly codes?: RegExp
  /** Milliseconds within which it has to end. */
  readonly withinMs?: number
  readonly message?: RegExp
}

/** 1.5 s to connect, or 3 s of deadline and the time that ending a command may take on a host that does not answer. */
const CONNECT_MS = 5_000
export const COMMAND_MS = 25_000

/** A command that may have ended well too. */
export const ANY_END: Expected = { codes: /^(completed|MHV_SSH_)/, withinMs: COMMAND_MS }

/** It ended with a code that fits, in time, and with a message that can be shown. */
export function assertEnded(
  title: string,
  outcome: Outcome,
  { codes = /^MHV_SSH_/, withinMs = CONNECT_MS, message }: Expected = {},
): void {
  assert.match(outcome.code, codes, `${title}: ${outcome.code} ${outcome.message}`)
  assert.ok(outcome.ms < withinMs, `${title}: ${outcome.ms} ms`)
  assert.ok(!/[\x00-\x08\x0b-\x1f]/.test(outcome.message), `${title}: ${JSON.stringify(outcome.message)}`)
  assert.ok(outcome.message.length < 2_000, title)
  if (message) assert.match(outcome.message, message, title)
}

/** So many at once, the next ones when these have ended. */
export async function inGroups<T>(
  all: readonly T[],
  size: number,
  act: (one: T, place: number) => Promise<void>,
): Promise<void> {
  for (let from = 0; from < all.length; from += size) {
    await Promise.all(all.slice(from, from + size).map((one, place) => act(one, from + place)))
  }
}
