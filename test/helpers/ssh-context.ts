import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import type { Logger, OutputSink, OutputStream, SecretResolver, WorkerContext } from '../../src/core/context.ts'
import { mhvError } from '../../src/core/errors.ts'
import { createHeadTail } from '../../src/core/head-tail.ts'
import { newId } from '../../src/core/ids.ts'
import { createSecret } from '../../src/core/secret.ts'
import { createRedactor } from '../../src/governance/redaction.ts'
import { UNLIMITED } from '../../src/resilience/bandwidth.ts'
import { createSshPool, type PoolParts, type SshPool } from '../../src/workers/ssh/pool.ts'
import type { SshContext } from '../../src/workers/ssh/run-command.ts'
import { type SshSettings, type SshTarget, sshSettings, sshTarget } from '../../src/workers/ssh/settings.ts'
import type { Sshd } from './sshd.ts'

/** Contexts as the runtime makes them, without the runtime. */

/** Where nothing is kept. */
const NO_JOURNAL: Pick<WorkerContext, 'state' | 'records'> = {
  state: {
    get: async () => undefined,
    set: async () => undefined,
    delete: async () => undefined,
    apply: async () => undefined,
    list: async () => [],
  },
  records: {
    append: async () => undefined,
    query: async () => [],
    retain: async () => 0,
    stats: async () => ({ count: 0, bytes: 0, oldest_at: null }),
  },
}

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

export function recordingLog(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const at =
    (level: string) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      lines.push({ level, message, fields })
    }
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** Secrets from a table: `env:NAME` is the value under NAME. Remembers what was asked for. */
export function tableSecrets(
  table: Readonly<Record<string, string>> = {},
): SecretResolver & { readonly asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    async resolve(reference) {
      const name = typeof reference === 'string' ? reference : reference.exec.join(' ')
      asked.push(name)
      const value = table[name.replace(/^env:/, '')]
      if (value === undefined) throw mhvError('MHV_SECRET_UNRESOLVED', `${name} is not set`)
      return createSecret(name, value)
    },
  }
}

export interface MemorySink extends OutputSink {
  /** Everything that came, as it came. */
  bytes(stream: OutputStream): Buffer
}

/** Keeps the first and the last of each stream, as the runtime's sink does, and all of it where it is little. */
export function memorySink(options: { keep?: number; write?: (bytes: Uint8Array) => Promise<void> } = {}): MemorySink {
  const half = Math.floor((options.keep ?? 64 * 1024 * 1024) / 2)
  const streams = {
    stdout: { kept: createHeadTail({ head: half, tail: half }), bytes: 0 },
    stderr: { kept: createHeadTail({ head: half, tail: half }), bytes: 0 },
  }
  const all = (stream: OutputStream) => Buffer.concat([streams[stream].kept.head(), streams[stream].kept.tail()])
  return {
    async write(stream, bytes) {
      streams[stream].kept.push(bytes)
      streams[stream].bytes += bytes.length
      await options.write?.(bytes)
    },
    async collect(stream) {
      const { kept, bytes } = streams[stream]
      const text = kept.text((dropped) => `[${dropped}]`)
      return { text, bytes, dropped_bytes: kept.dropped(), utf8: !text.includes('\ufffd') }
    },
    bytes: all,
  }
}

export interface TestWorker {
  readonly pool: SshPool
  readonly settings: SshSettings
  readonly folder: string
  readonly log: ReturnType<typeof recordingLog>
  readonly secrets: ReturnType<typeof tableSecrets>
  close(): Promise<void>
}

/** A pool with its own instance folder. */
export async function startWorker(
  options: {
    settings?: Partial<SshSettings>
    secrets?: Readonly<Record<string, string>>
    parts?: PoolParts
    folder?: string
    state?: WorkerContext['state']
    clock?: Clock
  } = {},
): Promise<TestWorker> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'mhv-ssh-')))
  const settings = sshSettings.parse({ known_hosts: [], config_files: [], ...options.settings })
  const log = recordingLog()
  const secrets = tableSecrets(options.secrets)
  const context: WorkerContext<SshSettings> = {
    worker_id: 'ssh-test',
    settings,
    folder,
    clock: options.clock ?? systemClock,
    log,
    secrets,
    masker: createRedactor(),
    ...NO_JOURNAL,
    ...(options.state === undefined ? {} : { state: options.state }),
    targets: async () => [],
    target: async (name) => {
      throw mhvError('MHV_TARGET_UNKNOWN', name)
    },
    need: async (port) => {
      throw mhvError('MHV_PORT_MISSING', port)
    },
  }
  const pool = createSshPool(context, options.parts)
  return {
    pool,
    settings,
    folder,
    log,
    secrets,
    async close() {
      await pool.close()
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The target that a test server is. */
export function targetOf(sshd: Sshd, more: Partial<SshTarget> = {}): SshTarget {
  return sshTarget.parse({
    host: sshd.host,
    port: sshd.port,
    user: sshd.user,
    identity_files: [sshd.userKey],
    known_hosts: [sshd.knownHostsFile],
    ...more,
  })
}

export interface TestRun extends SshContext {
  readonly output: MemorySink
  /** Aborts as the runtime does at the deadline. */
  expire(): void
  /** Aborts as the runtime does on a cancellation. */
  cancel(): void
  /** Aborts as the runtime does when it stops and leaves the run to the next process. */
  stop(): void
}

/** What one attempt of an operation gets. `timeoutMs` is its deadline. */
export function operationContext(
  worker: TestWorker,
  target: SshTarget,
  options: { timeoutMs?: number; sink?: MemorySink; settings?: Partial<SshSettings> } = {},
): TestRun {
  const controller = new AbortController()
  const timeoutMs = options.timeoutMs ?? 60_000
  const expire = () => controller.abort(mhvError('MHV_RUN_TIMEOUT', 'the deadline of the run has passed'))
  systemClock.after(timeoutMs, expire)
  return {
    run_id: newId(systemClock),
    attempt: 1,
    principal: { id: 'user:test', kind: 'user' },
    effect: 'write',
    target: { name: 'test', tier: 'dev', tags: [], groups: [], address: target },
    connection: worker.pool,
    settings: { ...worker.settings, ...options.settings },
    signal: controller.signal,
    deadline: Date.now() + timeoutMs,
    clock: systemClock,
    log: worker.log,
    secrets: worker.secrets,
    ...NO_JOURNAL,
    output: options.sink ?? memorySink(),
    bandwidth: UNLIMITED,
    progress: async () => undefined,
    need: async (port) => {
      throw mhvError('MHV_PORT_MISSING', port)
    },
    expire,
    stop: () => controller.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')),
    cancel: () => controller.abort(mhvError('MHV_RUN_CANCELLED', 'cancelled by user:test')),
  }
}
