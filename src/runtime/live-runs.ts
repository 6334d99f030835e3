import type { Principal, Progress } from '../core/context.ts'
import type { MhvError } from '../core/errors.ts'
import type { RunRecord } from '../store/store.ts'

/** A caller who waits for a run. */
export interface Waiting {
  /** `mcp`, `cli`, `http` or `embedded`. */
  readonly surface: string
  readonly principal: Principal
  readonly signal?: AbortSignal | undefined
  readonly left?: AbortSignal | undefined
}

/** A run of this process that has not ended. */
export interface LiveRun {
  readonly run_id: string
  /** Fulfilled when its end is in the journal. Never rejects. */
  readonly done: Promise<RunRecord>
  /** When it has to have ended, in milliseconds of the monotonic clock; later while it takes back what it did. */
  dueAt(): number
  /** The run as it stands. */
  record(): RunRecord
  /** Writes a run that is otherwise journaled once, so that its handle can be given out. */
  ensureJournaled(): Promise<void>
  abort(reason: MhvError): void
  /**
   * Ends it with this error without waiting for whatever it does; what that comes to later changes nothing. False where
   * it is known already how it ended.
   */
  giveUp(reason: MhvError): boolean
  /**
   * Leaves a run that can be taken up again to the next process: its signal is aborted, and it stays in the journal as it
   * is. False where it cannot be, or it is known already how it ended.
   */
  handOver(reason: MhvError): boolean
  /** Whether it was left to the next process. */
  readonly handedOver: boolean
  /**
   * Counts a caller who waits for it. When all who were counted have gone away (their `signal` was aborted), the run is
   * cancelled; while others are there, and with `left` in any case, it goes on, and its event log tells who went. The
   * returned function ends the listening: whoever then has the handle counts for good.
   */
  join(caller: Waiting): () => void
  onProgress(listener: (progress: Progress) => void): () => void
  /** As `done`, for whoever may stop waiting: the returned function leaves nothing behind. */
  onEnd(listener: (record: RunRecord) => void): () => void
}

/** The runs of this process that have not ended, by id. While there are any, the process does not end by itself. */
export interface LiveRuns {
  add(run: LiveRun): void
  /** Takes away this run; one that was opened again under the same id meanwhile stays. */
  remove(run_id: string, run: LiveRun): void
  get(run_id: string): LiveRun | undefined
  all(): readonly LiveRun[]
}

/** About 24 days: the longest that a timer of Node waits. */
const KEEP_ALIVE_MS = 2 ** 31 - 1

export function createLiveRuns(): LiveRuns {
  const runs = new Map<string, LiveRun>()
  let keepAlive: NodeJS.Timeout | undefined

  return {
    add(run) {
      runs.set(run.run_id, run)
      // Deadlines and waits must come, also where an operation waits for something that keeps no process alive.
      keepAlive ??= setInterval(() => undefined, KEEP_ALIVE_MS)
    },
    remove(run_id, run) {
      if (runs.get(run_id) === run) runs.delete(run_id)
      if (runs.size > 0) return
      clearInterval(keepAlive)
      keepAlive = undefined
    },
    get: (run_id) => runs.get(run_id),
    all: () => [...runs.values()],
  }
}
