import type { Progress } from '../core/context.ts'
import type { MhvError } from '../core/errors.ts'
import type { RunRecord } from '../store/store.ts'

/** A run of this process that has not ended. */
export interface LiveRun {
  readonly run_id: string
  /** Fulfilled when its end is in the journal. Never rejects. */
  readonly done: Promise<RunRecord>
  /** The run as it stands. */
  record(): RunRecord
  /** Writes a run that is otherwise journaled once, so that its handle can be given out. */
  ensureJournaled(): Promise<void>
  abort(reason: MhvError): void
  onProgress(listener: (progress: Progress) => void): () => void
}

/** The runs of this process that have not ended, by id. */
export interface LiveRuns {
  add(run: LiveRun): void
  remove(run_id: string): void
  get(run_id: string): LiveRun | undefined
  all(): readonly LiveRun[]
}

export function createLiveRuns(): LiveRuns {
  const runs = new Map<string, LiveRun>()
  return {
    add: (run) => void runs.set(run.run_id, run),
    remove: (run_id) => void runs.delete(run_id),
    get: (run_id) => runs.get(run_id),
    all: () => [...runs.values()],
  }
}
