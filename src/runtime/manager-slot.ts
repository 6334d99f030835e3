import { mhvError } from '../core/errors.ts'
import type { RunStatus } from '../core/result.ts'
import type { ManagerTask, SpawnedWorker, TaskResult } from './manager-types.ts'

/** A spawned worker: it does its tasks one at a time, in the order in which they came. */
export interface Slot {
  readonly worker_id: string
  readonly worker_type: string
  readonly target: string | null
  view(): SpawnedWorker
  /** Resolves with the task's result, whatever becomes of it. Throws MHV_MANAGER_WORKER_CLOSED. */
  submit(task: ManagerTask, signal?: AbortSignal): Promise<TaskResult>
  /**
   * Takes nothing new and resolves when everything that it had taken is done. With `force` the running task is
   * cancelled, and those that wait are not begun. May be called again.
   */
  close(force: boolean): Promise<void>
}

export interface SlotParts {
  readonly worker_id: string
  readonly worker_type: string
  readonly target: string | null
  /** Does one task. Never rejects; `started` is called when it begins to act. */
  readonly perform: (slot: Slot, task: ManagerTask, signal: AbortSignal, started: () => void) => Promise<TaskResult>
  /** Called after every change of the status. */
  readonly changed: () => void
}

export function createSlot({ worker_id, worker_type, target, perform, changed }: SlotParts): Slot {
  const forced = new AbortController()
  let tail: Promise<unknown> = Promise.resolve()
  let status: RunStatus = 'pending'
  let unfinished = 0
  let running = false
  let finished = 0
  let closing = false

  async function performInTurn(before: Promise<unknown>, task: ManagerTask, signal: AbortSignal): Promise<TaskResult> {
    await before
    const result = await perform(slot, task, signal, () => {
      running = true
      status = 'running'
      changed()
    })
    running = false
    unfinished -= 1
    finished += 1
    status = result.status
    changed()
    return result
  }

  const slot: Slot = {
    worker_id,
    worker_type,
    target,
    view: () => ({
      worker_id,
      worker_type,
      status,
      target,
      waiting: unfinished - (running ? 1 : 0),
      finished,
      closing,
    }),
    submit(task, signal) {
      if (closing) throw mhvError('MHV_MANAGER_WORKER_CLOSED', `the worker ${worker_id} is being closed`)
      const either = signal === undefined ? forced.signal : AbortSignal.any([signal, forced.signal])
      unfinished += 1
      const result = performInTurn(tail, task, either)
      tail = result
      return result
    },
    async close(force) {
      closing = true
      if (force) forced.abort(mhvError('MHV_RUN_CANCELLED', `the worker ${worker_id} was closed`))
      await tail
    },
  }
  return slot
}
