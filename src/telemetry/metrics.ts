import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { RunStatus } from '../core/result.ts'

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

  return {
    registry,
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
