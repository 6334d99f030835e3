import type { Slo } from '../core/worker.ts'
import { Counter, Gauge, type Registry } from './prometheus.ts'

/** Good events and bad ones since the start. */
export interface SloCounts {
  readonly good: number
  readonly bad: number
}

/**
 * The declared objectives of workers beside what happened: counters of good and bad events, from which Prometheus has
 * the ratio of any window, and the ratio since the start. An objective of latency counts as good what was quick enough,
 * and its target is the percentile. One that `counts` does not know is declared only.
 */
export function observeSlos(
  registry: Registry,
  slos: readonly Slo[],
  counts: (slo: string) => SloCounts | undefined,
): void {
  const registers = [registry]
  new Gauge({
    name: 'mahavishnu_slo_target',
    help: 'Part of the events that should be good, by objective.',
    labelNames: ['slo'] as const,
    registers,
    collect() {
      for (const slo of slos) this.set({ slo: slo.name }, targetOf(slo))
    },
  })
  new Counter({
    name: 'mahavishnu_slo_events_total',
    help: 'Good and bad events, by objective.',
    labelNames: ['slo', 'outcome'] as const,
    registers,
    collect() {
      this.reset()
      for (const { name } of slos) {
        const { good = 0, bad = 0 } = counts(name) ?? {}
        this.inc({ slo: name, outcome: 'good' }, good)
        this.inc({ slo: name, outcome: 'bad' }, bad)
      }
    },
  })
  new Gauge({
    name: 'mahavishnu_slo_ratio',
    help: 'Part of the events since the start that were good, by objective; absent before the first.',
    labelNames: ['slo'] as const,
    registers,
    collect() {
      this.reset()
      for (const { name } of slos) {
        const { good = 0, bad = 0 } = counts(name) ?? {}
        if (good + bad > 0) this.set({ slo: name }, good / (good + bad))
      }
    },
  })
}

function targetOf({ kind, target, percentile = 100 }: Slo): number {
  return kind === 'ratio' ? target : percentile / 100
}
