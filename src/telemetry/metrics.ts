import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { RunStatus } from '../core/result.ts'
import { Counter, Gauge, Histogram, Registry } from './prometheus.ts'

/** What the execution path measures. Labels are bounded: workers, operations, statuses and codes, never a target. */
export interface RunMetrics {
  accepted(worker: string): void
  refused(worker: string, code: string): void
  finished(run: {
    readonly worker: string
    readonly operation: string
    readonly status: RunStatus
    readonly seconds: number
    readonly queueSeconds: number
    readonly attempts: number
  }): void
  retried(worker: string): void
  /** A failed attempt after which there was no other; `reason` is one of the words of the event log. */
  retryDenied(worker: string, reason: string): void
  /** What the recovery table wanted beyond another attempt, and whether it was done. */
  recovered(worker: string, strategy: string, done: boolean): void
  /** A replay of a dead letter ended, and what became of the letter. */
  replayed(worker: string, state: string): void
  /** Numbers of a worker since start, for `worker_health`. */
  totals(
    worker: string,
  ): Promise<{ readonly runs: number; readonly refused: number; readonly by_status: Record<string, number> }>
  readonly registry: Registry
}

const SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300]

export function createRunMetrics(): RunMetrics {
  const registry = new Registry()
  const registers = [registry]
  const runs = new Counter({
    name: 'mahavishnu_runs_total',
    help: 'Finished runs.',
    labelNames: ['worker', 'operation', 'status'] as const,
    registers,
  })
  const refused = new Counter({
    name: 'mahavishnu_refused_total',
    help: 'Calls that did not become a run, by error code.',
    labelNames: ['worker', 'code'] as const,
    registers,
  })
  const attempts = new Counter({
    name: 'mahavishnu_attempts_total',
    help: 'Attempts of runs.',
    labelNames: ['worker', 'operation'] as const,
    registers,
  })
  const active = new Gauge({
    name: 'mahavishnu_runs_active',
    help: 'Runs accepted and not finished.',
    labelNames: ['worker'] as const,
    registers,
  })
  const duration = new Histogram({
    name: 'mahavishnu_run_duration_seconds',
    help: 'Time from acceptance to the end of a run.',
    labelNames: ['worker', 'operation'] as const,
    buckets: SECONDS,
    registers,
  })
  const queue = new Histogram({
    name: 'mahavishnu_queue_wait_seconds',
    help: 'Time a run waited for a slot.',
    labelNames: ['worker'] as const,
    buckets: SECONDS,
    registers,
  })

  const retries = new Counter({
    name: 'mahavishnu_retries_total',
    help: 'Attempts after the first.',
    labelNames: ['worker'] as const,
    registers,
  })
  const denials = new Counter({
    name: 'mahavishnu_retries_denied_total',
    help: 'Failed attempts after which there was no other, by reason.',
    labelNames: ['worker', 'reason'] as const,
    registers,
  })
  const recoveries = new Counter({
    name: 'mahavishnu_recoveries_total',
    help: 'Fallbacks and compensations that the recovery table wanted.',
    labelNames: ['worker', 'strategy', 'done'] as const,
    registers,
  })

  const replays = new Counter({
    name: 'mahavishnu_dead_letter_replays_total',
    help: 'Replays of dead letters that ended, by what became of the letter.',
    labelNames: ['worker', 'state'] as const,
    registers,
  })

  return {
    registry,
    replayed: (worker, state) => replays.inc({ worker, state }),
    retried: (worker) => retries.inc({ worker }),
    retryDenied: (worker, reason) => denials.inc({ worker, reason }),
    recovered: (worker, strategy, done) => recoveries.inc({ worker, strategy, done: String(done) }),
    accepted: (worker) => active.inc({ worker }),
    refused: (worker, code) => refused.inc({ worker, code }),
    finished(run) {
      const { worker, operation } = run
      active.dec({ worker })
      runs.inc({ worker, operation, status: run.status })
      attempts.inc({ worker, operation }, run.attempts)
      duration.observe({ worker, operation }, run.seconds)
      queue.observe({ worker }, run.queueSeconds)
    },
    async totals(worker) {
      const mine = (values: readonly { labels: Partial<Record<string, string | number>>; value: number }[]) =>
        values.filter((each) => each.labels.worker === worker)
      const by_status: Record<string, number> = {}
      for (const { labels, value } of mine((await runs.get()).values)) {
        by_status[String(labels.status)] = (by_status[String(labels.status)] ?? 0) + value
      }
      const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0)
      return {
        runs: sum(Object.values(by_status)),
        refused: sum(mine((await refused.get()).values).map((each) => each.value)),
        by_status,
      }
    },
  }
}

type BreakerStates = readonly { readonly worker: string; readonly state: string }[]

/** Breakers that are not closed, asked for when the metrics are, and their changes. Returns a function told of each. */
export function observeBreakers(
  registry: Registry,
  workers: readonly string[],
  list: () => BreakerStates,
): (worker: string, to: string) => void {
  const registers = [registry]
  new Gauge({
    name: 'mahavishnu_breakers',
    help: 'Circuit breakers that are open or half-open, by state.',
    labelNames: ['worker', 'state'] as const,
    registers,
    collect() {
      const now = list()
      for (const worker of workers) {
        for (const state of ['open', 'half-open']) {
          this.set({ worker, state }, now.filter((each) => each.worker === worker && each.state === state).length)
        }
      }
    },
  })
  const changes = new Counter({
    name: 'mahavishnu_breaker_changes_total',
    help: 'Changes of circuit breakers, by the state that they changed to.',
    labelNames: ['worker', 'state'] as const,
    registers,
  })
  return (worker, to) => changes.inc({ worker, state: to })
}

/** A write of the journal lasts from 0.1 ms (one of many in a commit) to seconds (a disk that stalls). */
const WRITE_SECONDS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5]

/** Measures the writes of the journal that calls wait for. Returns a function that is told of each. */
export function observeJournal(registry: Registry): <T>(write: Promise<T>) => Promise<T> {
  const duration = new Histogram({
    name: 'mahavishnu_journal_write_seconds',
    help: 'Time until a run, or a change of its status, is on stable storage.',
    buckets: WRITE_SECONDS,
    registers: [registry],
  })
  const failures = new Counter({
    name: 'mahavishnu_journal_write_failures_total',
    help: 'Writes that the journal did not take.',
    registers: [registry],
  })
  return async (write) => {
    const began = performance.now()
    try {
      return await write
    } catch (error) {
      failures.inc()
      throw error
    } finally {
      duration.observe((performance.now() - began) / 1000)
    }
  }
}

/** How often the event loop is looked at, in milliseconds: more often would keep an idle process awake. */
const LOOP_RESOLUTION_MS = 50

/**
 * CPU, memory and event loop of this process, under the customary names. The lag is that since the metrics were last
 * asked for. The returned function ends the looking.
 */
export function observeProcess(registry: Registry): () => void {
  const registers = [registry]
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
  loop.enable()
  const seconds = (nanoseconds: number) => (Number.isFinite(nanoseconds) ? nanoseconds / 1e9 : 0)
  // What is measured has the time between two looks in it.
  const lag = (nanoseconds: number) => Math.max(0, seconds(nanoseconds) - LOOP_RESOLUTION_MS / 1000)
  new Gauge({
    name: 'nodejs_eventloop_lag_seconds',
    help: 'Lag of the event loop since the metrics were last asked for.',
    labelNames: ['of'] as const,
    registers,
    collect() {
      this.set({ of: 'mean' }, lag(loop.mean))
      this.set({ of: 'p99' }, lag(loop.percentile(99)))
      this.set({ of: 'max' }, lag(loop.max))
      loop.reset()
    },
  })
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the process.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When the process was started, in seconds since the epoch.',
    registers,
  }).set(Math.round(performance.timeOrigin / 1000))
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of the process.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage()
      this.reset()
      this.inc((user + system) / 1e6)
    },
  })
  return () => loop.disable()
}
