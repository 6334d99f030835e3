import type { Collected, CollectedResult, ManagerLimits, TaskResult } from './manager-types.ts'

/** Results of ended tasks, in the order of their ends; the oldest go when there are too many. */
export interface ManagerHistory {
  add(result: TaskResult): void
  /** Those of these workers, or of all, with an offset of at least `since`. */
  since(since: number, workers: ReadonlySet<string> | null): Collected
}

export function createHistory(limits: Pick<ManagerLimits, 'history' | 'history_characters'>): ManagerHistory {
  const kept: { readonly result: CollectedResult; readonly characters: number }[] = []
  /** By worker, the offset after the last result that is not kept any more. */
  const gone = new Map<string, number>()
  let characters = 0
  let next = 0

  function forgetOldest(): void {
    const oldest = kept.shift()
    if (oldest === undefined) return
    characters -= oldest.characters
    const { worker_id, offset } = oldest.result
    // In the order of the last loss, so that the record of workers that are long closed can go first.
    gone.delete(worker_id)
    gone.set(worker_id, offset + 1)
    const [first] = gone.keys()
    if (gone.size > limits.history && first !== undefined) gone.delete(first)
  }

  return {
    add(result) {
      const entry = { result: { ...result, offset: next }, characters: JSON.stringify(result).length }
      next += 1
      kept.push(entry)
      characters += entry.characters
      // The newest stays, however large.
      while (kept.length > 1 && (kept.length > limits.history || characters > limits.history_characters)) {
        forgetOldest()
      }
    },
    since(since, workers) {
      const asked = (worker: string) => workers === null || workers.has(worker)
      return {
        results: kept.flatMap(({ result }) => (result.offset >= since && asked(result.worker_id) ? [result] : [])),
        next_offset: Math.max(next, since),
        gap: [...gone].some(([worker, end]) => end > since && asked(worker)),
      }
    },
  }
}
