import { Counter, Gauge, type Registry } from './prometheus.ts'

type Kind = 'process' | 'worker' | 'target' | 'principal'

/** What is asked of admission when the metrics are asked for. */
interface AdmissionNumbers {
  counts(worker: string): { readonly running: number; readonly queued: number }
  kinds(): Readonly<
    Record<
      Kind,
      { readonly levels: number; readonly saturated: number; readonly running: number; readonly queued: number }
    >
  >
}

const GAUGES = {
  levels: 'Limits of this level (processes, workers, targets, principals) at which anything runs or waits.',
  saturated: 'Limits of this level without a free slot.',
  running: 'Runs that have a slot, at the fullest of this level.',
  queued: 'Runs that wait for a slot, at the fullest of this level.',
} as const

const OUTCOMES = {
  rejected: 'Calls refused because a queue of this level was full.',
  shed: 'Waiting runs of low priority that were ended for one of a higher priority, since a queue of this level was full.',
  expired: 'Runs that waited for longer than a limit of this level allows.',
} as const

/**
 * Slots and queues, by worker and by the four levels of limits; no label names a target or a principal. Returns a
 * function that is told what admission did, with the level whose limit it was.
 */
export function observeAdmission(
  registry: Registry,
  workers: readonly string[],
  numbers: () => AdmissionNumbers,
): (outcome: keyof typeof OUTCOMES, level: Kind) => void {
  const registers = [registry]
  const byWorker = (name: string, help: string, of: 'running' | 'queued') =>
    new Gauge({
      name,
      help,
      labelNames: ['worker'] as const,
      registers,
      collect() {
        for (const worker of workers) this.set({ worker }, numbers().counts(worker)[of])
      },
    })
  byWorker('mahavishnu_slots_taken', 'Runs that have a slot.', 'running')
  byWorker('mahavishnu_queue_depth', 'Runs that wait for a slot.', 'queued')
  for (const [of, help] of Object.entries(GAUGES) as [keyof typeof GAUGES, string][]) {
    new Gauge({
      name: `mahavishnu_admission_${of}`,
      help,
      labelNames: ['level'] as const,
      registers,
      collect() {
        for (const [level, counts] of Object.entries(numbers().kinds())) this.set({ level }, counts[of])
      },
    })
  }
  const counters = Object.entries(OUTCOMES).map(([outcome, help]) => {
    const name = `mahavishnu_admission_${outcome}_total`
    return [outcome, new Counter({ name, help, labelNames: ['level'] as const, registers })] as const
  })
  const counterOf = Object.fromEntries(counters) as Record<keyof typeof OUTCOMES, Counter<'level'>>
  return (outcome, level) => counterOf[outcome].inc({ level })
}
