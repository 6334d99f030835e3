import { Counter, Gauge, type Registry } from './prometheus.ts'

/** What is measured of a worker's own process. */
export interface ProcessFacts {
  readonly worker: string
  readonly up: boolean
  /** Since the start of the instance. */
  readonly restarts: number
  readonly memory_bytes: number
}

/** The processes of workers, asked for when the metrics are; none where all workers are in the main process. */
export function observeWorkerProcesses(registry: Registry, facts: () => readonly ProcessFacts[]): void {
  const common = { labelNames: ['worker'] as const, registers: [registry] }
  new Gauge({
    ...common,
    name: 'mahavishnu_worker_process_up',
    help: "Whether a worker's own process serves; 0 before its first use.",
    collect() {
      for (const { worker, up } of facts()) this.set({ worker }, up ? 1 : 0)
    },
  })
  new Gauge({
    ...common,
    name: 'mahavishnu_worker_process_memory_bytes',
    help: "Resident memory of a worker's own process.",
    collect() {
      for (const { worker, memory_bytes } of facts()) this.set({ worker }, memory_bytes)
    },
  })
  new Counter({
    ...common,
    name: 'mahavishnu_worker_process_restarts_total',
    help: "Times that a worker's own process was replaced.",
    collect() {
      this.reset()
      for (const { worker, restarts } of facts()) this.inc({ worker }, restarts)
    },
  })
}
