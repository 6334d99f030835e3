import type { ConnectAttempt } from '../core/context.ts'
import { ERROR_TABLE, type ErrorCode } from '../core/error-table.ts'
import type { Slo } from '../core/worker.ts'
import { Counter, Gauge, Histogram, type Registry } from './prometheus.ts'
import { observeSlos, type SloCounts } from './slo-metrics.ts'

/** What is asked of the end of a run for the names below. */
export interface EndedRun {
  readonly operation: string
  readonly error_code: ErrorCode | null
  readonly exit_code: number | null
  /** From its start to its end; null where it never acted. */
  readonly seconds: number | null
  /** Decoded when it is asked for. */
  readonly input: () => unknown
  readonly data: unknown
}

export interface SshMetrics {
  ended(run: EndedRun): void
  connected(attempt: ConnectAttempt): void
}

type PoolStats = Readonly<Record<string, number | string | boolean>> | undefined

const COMMANDS: ReadonlySet<string> = new Set(['ssh.execute', 'ssh.script'])
const TRANSFER = 'ssh.sftp_transfer'

/** From a host in the same rack to the longest connect_timeout in use. */
const CONNECT_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
/** The assessment's, and shorter ones: a command on a host nearby takes milliseconds. */
const COMMAND_SECONDS = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300]
const TRANSFER_SECONDS = [0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1_800]

/**
 * The names that the assessment gives to SSH, from the ends of runs and from what the pool tells of itself; labels are
 * bounded, so no host is one, `error_type` is the code, and an exit code is 0, other or none. A number that the pool does
 * not tell is not exposed. `slos` are measured by the same events.
 */
export function observeSsh(registry: Registry, stats: () => PoolStats, slos: readonly Slo[]): SshMetrics {
  observePool(registry, stats)
  const command = observeCommands(registry)
  const transfer = observeTransfers(registry)
  const connection = observeConnections(registry)
  const counts = { command: { good: 0, bad: 0 }, connect: { good: 0, bad: 0 } }
  const connectBound = slos.find(({ name }) => name === 'ssh_connect_latency')?.target ?? 0
  const bySlo: Readonly<Record<string, () => SloCounts>> = {
    ssh_command_success: () => counts.command,
    ssh_connect_latency: () => counts.connect,
    ssh_pool_availability: () => poolCounts(stats()),
  }
  observeSlos(registry, slos, (slo) => bySlo[slo]?.())

  return {
    ended(run) {
      if (COMMANDS.has(run.operation)) {
        command(run)
        if (isTheWorkers(run)) counts.command[run.error_code === null ? 'good' : 'bad'] += 1
      } else if (run.operation === TRANSFER) transfer(run)
    },
    connected(attempt) {
      connection(attempt)
      const good = attempt.error_code === null && attempt.seconds <= connectBound
      counts.connect[good ? 'good' : 'bad'] += 1
    },
  }
}

/** Whether its end says anything of the worker: not where the caller was wrong, was not allowed to, or cancelled it. */
function isTheWorkers({ error_code }: EndedRun): boolean {
  if (error_code === null) return true
  const { category } = ERROR_TABLE[error_code]
  return category !== 'validation' && category !== 'permission' && !error_code.startsWith('MHV_RUN_CANCELLED')
}

function poolCounts(stats: PoolStats): SloCounts {
  return { good: Number(stats?.given_total ?? 0), bad: Number(stats?.exhausted_total ?? 0) }
}

function observePool(registry: Registry, stats: () => PoolStats): void {
  const registers = [registry]
  const gauge = (name: string, help: string, stat: string) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = stats()?.[stat]
        if (typeof value === 'number') this.set(value)
        else this.remove()
      },
    })
  gauge('ssh_connection_pool_active', 'Connections with a command on them.', 'busy')
  gauge('ssh_connection_pool_idle', 'Connections that wait for a command.', 'idle')
  gauge('ssh_connection_pool_waiting', 'Calls that wait for a channel.', 'waiting')
  gauge('ssh_max_connections', 'Connections there may be.', 'max_connections')
  const states = { active: 'busy', idle: 'idle', connecting: 'connecting' } as const
  new Gauge({
    name: 'ssh_connection_pool_active_connections',
    help: 'Connections, by state.',
    labelNames: ['state'] as const,
    registers,
    collect() {
      this.reset()
      for (const [state, stat] of Object.entries(states)) {
        const value = stats()?.[stat]
        if (typeof value === 'number') this.set({ state }, value)
      }
    },
  })
  new Counter({
    name: 'ssh_connection_pool_exhausted_total',
    help: 'Calls that got no channel: none was free, or none before their deadline.',
    registers,
    collect() {
      this.reset()
      this.inc(poolCounts(stats()).bad)
    },
  })
}

function observeCommands(registry: Registry): (run: EndedRun) => void {
  const registers = [registry]
  const errors = new Counter({
    name: 'ssh_command_errors_total',
    help: 'Commands that did not end with a result, by code.',
    labelNames: ['error_type'] as const,
    registers,
  })
  const duration = new Histogram({
    name: 'ssh_command_duration_seconds',
    help: 'Time from the start of a command to its end, attempts included; exit_code is 0, other or none.',
    labelNames: ['exit_code'] as const,
    buckets: COMMAND_SECONDS,
    registers,
  })
  return ({ seconds, error_code, exit_code }) => {
    const label = exit_code === null ? 'none' : exit_code === 0 ? '0' : 'other'
    if (seconds !== null) duration.observe({ exit_code: label }, seconds)
    if (error_code !== null) errors.inc({ error_type: error_code })
  }
}

function observeTransfers(registry: Registry): (run: EndedRun) => void {
  const registers = [registry]
  const duration = new Histogram({
    name: 'ssh_sftp_transfer_duration_seconds',
    help: 'Time from the start of a transfer to its end, attempts included.',
    labelNames: ['direction', 'status'] as const,
    buckets: TRANSFER_SECONDS,
    registers,
  })
  const bytes = new Counter({
    name: 'ssh_sftp_bytes_transferred_total',
    help: 'Bytes of files that transfers brought over whole.',
    labelNames: ['direction'] as const,
    registers,
  })
  return ({ seconds, error_code, input, data }) => {
    const direction = directionOf(input())
    if (seconds !== null) duration.observe({ direction, status: error_code === null ? 'completed' : 'failed' }, seconds)
    const moved = (data as { bytes?: unknown } | null)?.bytes
    if (typeof moved === 'number' && moved >= 0) bytes.inc({ direction }, moved)
  }
}

function directionOf(input: unknown): 'upload' | 'download' | 'unknown' {
  const direction = (input as { direction?: unknown } | null)?.direction
  return direction === 'upload' || direction === 'download' ? direction : 'unknown'
}

function observeConnections(registry: Registry): (attempt: ConnectAttempt) => void {
  const registers = [registry]
  const creation = new Histogram({
    name: 'ssh_connection_creation_duration_seconds',
    help: 'Time until a new connection was ready for commands: authenticated, and its login shell known.',
    buckets: CONNECT_SECONDS,
    registers,
  })
  const failures = new Counter({
    name: 'ssh_connection_errors_total',
    help: 'Connections that could not be made, by code.',
    labelNames: ['error_type'] as const,
    registers,
  })
  return ({ seconds, error_code }) => {
    if (error_code === null) creation.observe(seconds)
    else failures.inc({ error_type: error_code })
  }
}
