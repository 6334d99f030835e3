import { type CoreSettings, managerSettingsSchema } from '../config/schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Principal } from '../core/context.ts'
import type { Priority } from '../core/operation.ts'
import type { RunStatus, toOriginalResult } from '../core/result.ts'
import type { Instance } from './instance.ts'

/** Numbers that bound what a manager holds: the settings `manager.*`. */
export type ManagerLimits = Readonly<CoreSettings['manager']>

/** Those of an instance that says nothing of them. */
export const MANAGER_LIMITS: ManagerLimits = managerSettingsSchema.parse({})

/** What a prompt is to a worker: the operation that runs it, and the field of the input that takes it. */
export interface PromptOperation {
  readonly operation: string
  readonly field: string
}

export interface ManagerOptions {
  readonly instance: Pick<Instance, 'invoke' | 'control' | 'registry' | 'principal' | 'log'> &
    Partial<Pick<Instance, 'managerLimits'>>
  readonly clock: Clock
  /** Instead of the instance's settings `manager.*`. */
  readonly limits?: Partial<ManagerLimits>
  /** In whose name tasks run; by default whoever runs the instance. */
  readonly principal?: Principal
  /** Surface named in the journal; `embedded` by default. */
  readonly surface?: string
  /** What prompts are to workers whose declaration does not say it, by the worker's name. */
  readonly prompts?: Readonly<Record<string, PromptOperation>>
}

/** A task: a prompt for the worker's default operation, or an operation with its input. */
export interface ManagerTask {
  readonly prompt?: string
  /** `worker.verb` of the spawned worker's own type; without it, the default operation. */
  readonly operation?: string
  readonly input?: Readonly<Record<string, unknown>>
  /** Instead of the target that the worker was spawned for. */
  readonly target?: string
  /** Seconds for the run itself; the wait for the worker's earlier tasks does not count. */
  readonly timeout?: number
  readonly idempotency_key?: string
  readonly priority?: Priority
  readonly reason?: string
}

/** The original's eight keys, and the run. `run_id` is null where there is no run: the task was refused. */
export type TaskResult = ReturnType<typeof toOriginalResult> & { readonly run_id: string | null }

/** A result in the history. Offsets rise over all workers in the order in which tasks ended. */
export type CollectedResult = TaskResult & { readonly offset: number }

export interface Collected {
  /** In the order in which the tasks ended. */
  readonly results: readonly CollectedResult[]
  /** `since_offset` of the next call: what was given once is not given again, and nothing is left out. */
  readonly next_offset: number
  /** Some results from `since_offset` on are not kept any more; the journal has their runs. */
  readonly gap: boolean
}

/** The original's facts about a worker, and what it is bound to. */
export interface SpawnedWorker {
  readonly worker_id: string
  readonly worker_type: string
  /** `pending` before its first task, `running` during one, else how the last one ended. */
  readonly status: RunStatus
  readonly target: string | null
  /** Tasks that wait for this worker. */
  readonly waiting: number
  readonly finished: number
  readonly closing: boolean
}

export interface ManagerHealth {
  /** `degraded`: calls to some target of a spawned worker are held back by its breaker; `unknown`: that cannot be seen. */
  readonly status: 'healthy' | 'degraded' | 'unknown'
  readonly workers_active: number
  readonly max_concurrent: number
  readonly max_spawned: number
  readonly open_breakers: readonly string[]
  readonly workers: readonly SpawnedWorker[]
}

export type WorkerStatuses = Readonly<Record<string, RunStatus | null>>
