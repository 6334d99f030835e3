import { type Clock, isoTime } from '../core/clock.ts'
import { type MhvError, mhvError } from '../core/errors.ts'
import type { Registry } from '../core/registry.ts'
import { certaintyOf, RESULT_FORMAT, type RunStatus, toOriginalResult, type WorkerResult } from '../core/result.ts'
import { quoted } from '../core/suggest.ts'
import type { WholeOutput } from './manager-output.ts'
import type { ManagerTask, PromptOperation, TaskResult } from './manager-types.ts'
import type { InvokeRequest } from './runtime.ts'

/** Who does a task: what every result is labelled with. */
export interface TaskWorker {
  readonly worker_id: string
  readonly worker_type: string
  readonly target: string | null
}

export type TaskCall = Pick<InvokeRequest, 'operation' | 'input' | 'envelope'>

/** Longest that a run may take (the envelope's largest timeout), and a while for its end: so long a task is waited for. */
const WAIT_SECONDS = 86_400 + 600

/**
 * The default operation of a worker: the first whose declaration names the field for the words of a command line,
 * which is what a prompt is. `ssh` runs prompts as the `command` of `ssh.execute`.
 */
export function promptOperation(
  registry: Registry,
  worker: string,
  prompts: Readonly<Record<string, PromptOperation>> = {},
): PromptOperation | undefined {
  if (Object.hasOwn(prompts, worker)) return prompts[worker]
  for (const { id, worker: owner, spec } of registry.operations) {
    if (owner.name === worker && spec.cli?.rest !== undefined) return { operation: id, field: spec.cli.rest }
  }
  return undefined
}

/** What a task calls. Throws MHV_INPUT_INVALID where it is none for this worker. */
export function taskCall(
  registry: Registry,
  worker: TaskWorker,
  task: ManagerTask,
  prompts?: Readonly<Record<string, PromptOperation>>,
): TaskCall {
  const standard = promptOperation(registry, worker.worker_type, prompts)
  const operation = task.operation ?? standard?.operation
  if (operation === undefined) {
    throw mhvError('MHV_INPUT_INVALID', `${worker.worker_type} has no operation for prompts: name one with its input`)
  }
  const { spec, worker: owner } = registry.operation(operation)
  if (owner.name !== worker.worker_type) {
    throw mhvError('MHV_INPUT_INVALID', `a ${worker.worker_type} worker does not run ${quoted(operation)}`)
  }
  const target = task.target ?? worker.target
  const { timeout, idempotency_key, priority, reason } = task
  const envelope = {
    wait: WAIT_SECONDS,
    ...(target === null || spec.targeted === false ? {} : { target }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(idempotency_key === undefined ? {} : { idempotency_key }),
    ...(priority === undefined ? {} : { priority }),
    ...(reason === undefined ? {} : { reason }),
  }
  return { operation, input: { ...task.input, ...promptInput(task, operation, standard) }, envelope }
}

function promptInput(task: ManagerTask, operation: string, standard: PromptOperation | undefined) {
  if (task.prompt === undefined) return {}
  if (standard?.operation === operation) return { [standard.field]: task.prompt }
  throw mhvError('MHV_INPUT_INVALID', `${operation} takes no prompt: give its input instead`)
}

/**
 * The result of a run, under the spawned worker's id and with its whole output; what the eight keys have no place for
 * stands in `metadata`, with `output_cut` where even the journal has not all of the output.
 */
export function resultOfRun(worker: TaskWorker, result: WorkerResult, { output, cut }: WholeOutput): TaskResult {
  const { run_id, operation, target, error_code, effect_certainty } = result
  const more = { operation, target, error_code, effect_certainty, data: dataBeside(result), output_cut: cut }
  return {
    ...toOriginalResult(result),
    worker_id: worker.worker_id,
    output,
    metadata: { ...result.metadata, ...more },
    run_id,
  }
}

/** The typed output without what `output` has already: for a command its standard error, its signal, what was cut. */
function dataBeside({ data, output }: WorkerResult): unknown {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return data
  return Object.fromEntries(Object.entries(data).filter(([, value]) => value === '' || value !== output))
}

/** The result of a task that came to no run: refused, or cancelled while it waited for its worker. */
export function resultOfError(
  worker: TaskWorker,
  error: MhvError,
  { clock, startedAt, principal, surface }: { clock: Clock; startedAt: number; principal: string; surface: string },
): TaskResult {
  const now = clock.now()
  return {
    worker_id: worker.worker_id,
    status: statusOfError(error),
    output: null,
    error: error.message,
    exit_code: null,
    duration_seconds: Math.max(0, now - startedAt) / 1000,
    timestamp: isoTime(startedAt),
    metadata: {
      format: RESULT_FORMAT,
      principal,
      surface,
      // Nothing was run, so nothing was allowed to change anything.
      effect: 'read',
      tier: null,
      queue_seconds: 0,
      remedy: error.remedy,
      target: worker.target,
      error_code: error.code,
      effect_certainty: certaintyOf(error.code),
      ...(error.details === undefined ? {} : { details: { ...error.details } }),
      ...(error.retryAfter === undefined ? {} : { retry_after: error.retryAfter }),
    },
    run_id: typeof error.details?.run_id === 'string' ? error.details.run_id : null,
  }
}

function statusOfError({ code }: MhvError): RunStatus {
  if (code === 'MHV_RUN_CANCELLED' || code === 'MHV_RUN_CANCELLED_QUEUED') return 'cancelled'
  return code === 'MHV_RUN_TIMEOUT' || code === 'MHV_RUN_QUEUE_TIMEOUT' ? 'timeout' : 'failed'
}
