import type { AnyWorker } from './worker.ts'

type Dependent = Pick<AnyWorker, 'name' | 'requires'>

/**
 * The workers so that each comes after all that it requires, else in the order in which they were given. They start in
 * this order and stop in the reverse one. Throws for a requirement that is no worker, and for a circle: both are
 * defects of a declaration.
 */
export function startOrder<W extends Dependent>(workers: readonly W[]): readonly W[] {
  const byName = new Map(workers.map((worker) => [worker.name, worker]))
  const ordered = new Set<W>()

  function place(worker: W, path: readonly string[]): void {
    if (ordered.has(worker)) return
    if (path.includes(worker.name)) throw new Error(`workers require each other: ${[...path, worker.name].join(' → ')}`)
    for (const name of worker.requires ?? []) {
      const required = byName.get(name)
      if (required === undefined) throw new Error(`worker "${worker.name}" requires "${name}", which is no worker`)
      place(required, [...path, worker.name])
    }
    ordered.add(worker)
  }

  for (const worker of workers) place(worker, [])
  return [...ordered]
}
