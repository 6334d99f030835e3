import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { isFinal, type WorkerResult } from '../core/result.ts'
import { quoted } from '../core/suggest.ts'
import { assign, performAll } from './manager-batch.ts'
import { createGate } from './manager-gate.ts'
import { createHistory } from './manager-history.ts'
import { wholeOutput } from './manager-output.ts'
import { createSlot, type Slot, type SlotParts } from './manager-slot.ts'
import { bindWorkerType, openBreakers } from './manager-targets.ts'
import { resultOfError, resultOfRun, taskCall } from './manager-task.ts'
import {
  type Collected,
  MANAGER_LIMITS,
  type ManagerHealth,
  type ManagerOptions,
  type ManagerTask,
  type SpawnedWorker,
  type TaskResult,
  type WorkerStatuses,
} from './manager-types.ts'

export interface BatchOptions {
  /** Cancels all tasks that have not ended. */
  readonly signal?: AbortSignal
  /** Called with each result as it comes, and its place among the results. */
  readonly onResult?: (result: TaskResult, index: number) => void
}

/**
 * The original project's WorkerManager, under its method names. A spawned worker is a named place bound to one of our
 * workers, and usually to a target; every task it does is one run through `invoke`: authorised, bounded, journaled.
 */
export interface WorkerManager {
  /**
   * Spawns `count` workers of a type: the name of a worker, or `WORKER:TARGET`. All of them or none. Throws
   * MHV_MANAGER_FULL, MHV_WORKER_UNKNOWN, MHV_TARGET_REQUIRED, MHV_TARGET_UNKNOWN.
   */
  spawn_workers(worker_type: string, count?: number): Promise<string[]>
  /**
   * Does a task; a text is a prompt for the worker's default operation. What fails is a result; only an unknown or
   * closed worker throws (MHV_MANAGER_WORKER_UNKNOWN, MHV_MANAGER_WORKER_CLOSED). The signal cancels the task.
   */
  execute_task(worker_id: string, task: string | ManagerTask, signal?: AbortSignal): Promise<TaskResult>
  /** Does many tasks (see `assign` for who does which); one result for each, in their order, whatever fails. */
  execute_batch(
    worker_ids: readonly string[],
    tasks: readonly (string | ManagerTask)[],
    options?: BatchOptions,
  ): Promise<TaskResult[]>
  /** Status of each worker, of all without ids; null for one that is closed or unknown. */
  monitor_workers(worker_ids?: readonly string[]): WorkerStatuses
  /** The statuses now and after each change, looking again after `interval` seconds at the latest. Ends by the signal. */
  watch_workers(
    worker_ids: readonly string[] | undefined,
    interval: number,
    signal: AbortSignal,
  ): AsyncGenerator<WorkerStatuses, void, void>
  /** Results of ended tasks in the order of their ends, those of closed workers too; see `Collected`. */
  collect_results(worker_ids?: readonly string[], since_offset?: number): Collected
  /** Closes a worker when its tasks are done; with `force` they are cancelled. Throws MHV_MANAGER_WORKER_UNKNOWN. */
  close_worker(worker_id: string, force?: boolean): Promise<void>
  /** Closes all workers, and resolves with their ids. */
  close_all(force?: boolean): Promise<string[]>
  list_workers(): SpawnedWorker[]
  health_check(): Promise<ManagerHealth>
}

/** Most workers that one call may spawn, as in the original. */
const MAX_COUNT = 50
/** Seconds that one question for the end of a run may take. */
const RUN_WAIT_SECONDS = 45

export function createWorkerManager(options: ManagerOptions): WorkerManager {
  const { instance, clock, prompts, surface = 'embedded', principal = instance.principal } = options
  const limits = { ...MANAGER_LIMITS, ...instance.managerLimits, ...options.limits }
  const slots = new Map<string, Slot>()
  const gate = createGate(limits.max_concurrent)
  const history = createHistory(limits)
  let change = Promise.withResolvers<void>()

  function changed(): void {
    change.resolve()
    change = Promise.withResolvers()
  }

  function slotOf(worker_id: string): Slot {
    const slot = slots.get(worker_id)
    if (slot !== undefined) return slot
    throw mhvError('MHV_MANAGER_WORKER_UNKNOWN', `there is no spawned worker ${quoted(worker_id)}`)
  }

  /** Waits for the end also where the answer is a handle: the instance may be another process that waits less long. */
  async function ended(result: WorkerResult, signal: AbortSignal): Promise<WorkerResult> {
    let latest = result
    while (!isFinal(latest.status)) {
      const cancel = signal.aborted
      const name = cancel ? 'run_cancel' : 'run_wait'
      const input = { run_id: latest.run_id, ...(cancel ? {} : { seconds: RUN_WAIT_SECONDS }) }
      const answer = await instance
        .control({ name, input, principal, ...(cancel ? {} : { signal }) })
        .catch((error) => {
          if (signal.aborted && !cancel) return undefined
          throw notFollowed(latest.run_id, error)
        })
      latest = (answer?.run as WorkerResult | undefined) ?? latest
    }
    return latest
  }

  const perform: SlotParts['perform'] = async (slot, task, signal, started) => {
    const startedAt = clock.now()
    let leave: (() => void) | undefined
    let result: TaskResult
    try {
      signal.throwIfAborted()
      const call = taskCall(instance.registry, slot, task, prompts)
      leave = await gate.enter(signal)
      started()
      const answer = await instance.invoke({ ...call, principal, surface, signal })
      const run = await ended(answer, signal)
      result = resultOfRun(slot, run, await wholeOutput(instance, principal, run, limits.output_bytes))
    } catch (thrown) {
      const error = leave === undefined && signal.aborted ? notBegun(signal.reason) : toMhvError(thrown)
      result = resultOfError(slot, error, { clock, startedAt, principal: principal.id, surface })
    } finally {
      leave?.()
    }
    history.add(result)
    return result
  }

  async function inBatch(worker_id: string, task: ManagerTask, signal: AbortSignal | undefined): Promise<TaskResult> {
    const startedAt = clock.now()
    try {
      return await slotOf(worker_id).submit(task, signal)
    } catch (thrown) {
      const nobody = { worker_id, worker_type: 'unknown', target: null }
      return resultOfError(nobody, toMhvError(thrown), { clock, startedAt, principal: principal.id, surface })
    }
  }

  async function closeSlot(slot: Slot, force: boolean): Promise<void> {
    const closed = slot.close(force)
    changed()
    await closed
    slots.delete(slot.worker_id)
    changed()
  }

  const manager: WorkerManager = {
    async spawn_workers(worker_type, count = 1) {
      if (!Number.isInteger(count) || count < 1 || count > MAX_COUNT) {
        throw mhvError('MHV_INPUT_INVALID', `count: must be a whole number from 1 to ${MAX_COUNT}`)
      }
      const bound = await bindWorkerType(instance, principal, worker_type)
      if (slots.size + count > limits.max_spawned) {
        const has = `there are ${slots.size} spawned workers and room for ${limits.max_spawned} (manager.max_spawned)`
        throw mhvError('MHV_MANAGER_FULL', `${has}; ${count} more were asked for`)
      }
      return Array.from({ length: count }, () => {
        const worker_id = `${bound.worker_type}-${newId(clock)}`
        slots.set(worker_id, createSlot({ ...bound, worker_id, perform, changed }))
        return worker_id
      })
    },
    execute_task: async (worker_id, task, signal) => slotOf(worker_id).submit(taskOf(task), signal),
    execute_batch: async (worker_ids, tasks, { signal, onResult } = {}) =>
      performAll(assign(worker_ids, tasks.map(taskOf)), async ({ worker_id, task }, index) => {
        const result = await inBatch(worker_id, task, signal)
        onResult?.(result, index)
        return result
      }),
    monitor_workers(worker_ids = [...slots.keys()]) {
      return Object.fromEntries(worker_ids.map((id) => [id, slots.get(id)?.view().status ?? null]))
    },
    async *watch_workers(worker_ids, interval, signal) {
      while (!signal.aborted) {
        const next = change.promise
        yield manager.monitor_workers(worker_ids)
        await firstOf(next, interval, signal)
      }
    },
    collect_results: (worker_ids, since_offset = 0) =>
      history.since(since_offset, worker_ids === undefined ? null : new Set(worker_ids)),
    close_worker: async (worker_id, force = false) => closeSlot(slotOf(worker_id), force),
    async close_all(force = false) {
      const all = [...slots.values()]
      await Promise.all(all.map((slot) => closeSlot(slot, force)))
      return all.map(({ worker_id }) => worker_id)
    },
    list_workers: () => [...slots.values()].map((slot) => slot.view()),
    async health_check() {
      const workers = manager.list_workers()
      const { max_concurrent, max_spawned } = limits
      const breakers = await openBreakers(instance, principal, workers).catch((thrown: unknown) => {
        instance.log.warn('the health of the workers could not be asked for', { error: toMhvError(thrown) })
        return null
      })
      const status = breakers === null ? 'unknown' : breakers.length === 0 ? 'healthy' : 'degraded'
      const open_breakers = breakers ?? []
      return { status, workers_active: workers.length, max_concurrent, max_spawned, open_breakers, workers }
    },
  }

  async function firstOf(next: Promise<void>, seconds: number, signal: AbortSignal): Promise<void> {
    const late = Promise.withResolvers<void>()
    const cancel = clock.after(seconds * 1000, late.resolve)
    const stop = () => late.resolve()
    signal.addEventListener('abort', stop, { once: true })
    await Promise.race([next, late.promise])
    cancel()
    signal.removeEventListener('abort', stop)
  }

  return manager
}

function taskOf(task: string | ManagerTask): ManagerTask {
  return typeof task === 'string' ? { prompt: task } : task
}

/** The run goes on, but nobody here is told of its end. */
function notFollowed(run_id: string, error: unknown): MhvError {
  const { message } = toMhvError(error)
  return mhvError('MHV_RUN_INTERRUPTED', `the end of run ${run_id} could not be waited for: ${message}`, {
    details: { run_id },
    remedy: 'See `mahavishnu runs show RUN` for how it ended.',
    cause: error,
  })
}

function notBegun(reason: unknown): MhvError {
  const { message } = toMhvError(reason)
  return mhvError('MHV_RUN_CANCELLED_QUEUED', `the task was not begun: ${message}`)
}
