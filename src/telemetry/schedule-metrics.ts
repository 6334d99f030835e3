import { Counter, type Registry } from './prometheus.ts'

/** Schedules that have a label of their own; the rest share one, so that a long file does not make endless series. */
const LABELLED = 100

/** What becomes of occurrences. Returns a function that is told of each; `names` are those of the file, in its order. */
export function observeSchedules(
  registry: Registry,
  names: readonly string[],
): (schedule: string, outcome: string, count: number) => void {
  const own = new Set(names.slice(0, LABELLED))
  const counter = new Counter({
    name: 'mahavishnu_schedule_runs_total',
    help: 'Occurrences of schedules, by what became of them: fired, missed, skipped (the run before went on), refused.',
    labelNames: ['schedule', 'outcome'] as const,
    registers: [registry],
  })
  return (name, outcome, count) => counter.inc({ schedule: own.has(name) ? name : '(other)', outcome }, count)
}
