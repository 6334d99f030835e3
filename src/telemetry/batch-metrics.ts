import { Counter, Gauge, type Registry } from './prometheus.ts'

const STATES = ['running', 'stopping'] as const
const TARGETS = ['acting', 'waiting'] as const

/** Batches of this process, asked for when the metrics are. */
type BatchNumbers = Readonly<Record<(typeof STATES)[number] | (typeof TARGETS)[number], number>>

/** Batches and their targets. Returns what is told of each outcome and each end; no label names a batch or a target. */
export function observeBatches(registry: Registry, numbers: () => BatchNumbers) {
  const registers = [registry]
  new Gauge({
    name: 'mahavishnu_batches',
    help: 'Batches at work, by state: running, or stopping (no new runs).',
    labelNames: ['state'] as const,
    registers,
    collect() {
      const now = numbers()
      for (const state of STATES) this.set({ state }, now[state])
    },
  })
  new Gauge({
    name: 'mahavishnu_batch_targets',
    help: 'Targets of batches at work, by state: acting (a run, also one that waits for a slot), or waiting for their turn.',
    labelNames: ['state'] as const,
    registers,
    collect() {
      const now = numbers()
      for (const state of TARGETS) this.set({ state }, now[state])
    },
  })
  const ends = new Counter({
    name: 'mahavishnu_batches_total',
    help: 'Batches that ended, by state: completed, failed (more targets than may), stopped.',
    labelNames: ['state'] as const,
    registers,
  })
  const outcomes = new Counter({
    name: 'mahavishnu_batch_targets_total',
    help: 'Targets of batches that came to an outcome, by which: done, failed, refused (no run).',
    labelNames: ['outcome'] as const,
    registers,
  })
  return {
    target: (outcome: string) => outcomes.inc({ outcome }),
    ended: (state: string) => ends.inc({ state }),
  }
}
