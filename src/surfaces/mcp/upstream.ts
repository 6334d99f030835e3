import type { z } from 'zod'
import { type Clock, isoTime, systemClock } from '../../core/clock.ts'
import type { Principal } from '../../core/context.ts'
import { mhvError, toMhvError } from '../../core/errors.ts'
import type { Effect } from '../../core/operation.ts'
import type { Instance } from '../../runtime/instance.ts'
import { createWorkerManager, type WorkerManager } from '../../runtime/manager.ts'
import type { ManagerOptions, TaskResult } from '../../runtime/manager-types.ts'
import { parseWith } from '../../runtime/steps/parse.ts'
import { publicSchema } from '../json-schema.ts'
import type { ExtraCall, ExtraTool } from './extra-tools.ts'
import * as shapes from './upstream-schemas.ts'

/** Seconds after which a call answers with what there is: clients give up after 60. */
const ANSWER_SECONDS = 45

export interface UpstreamOptions {
  readonly clock?: Clock
  readonly limits?: ManagerOptions['limits']
  readonly prompts?: ManagerOptions['prompts']
  /** Seconds after which a call answers with what there is. */
  readonly answerSeconds?: number
}

interface UpstreamCall {
  readonly manager: WorkerManager
  readonly signal: AbortSignal
  readonly clock: Clock
  /** The value, or undefined when it takes longer than a call may. */
  within<T>(work: Promise<T>): Promise<T | undefined>
}

interface UpstreamTool<I extends z.ZodObject> {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly effect: Effect
  readonly idempotent: boolean
  readonly openWorld: boolean
  readonly input: I
  readonly output: z.ZodType
  run(call: UpstreamCall, input: z.output<I>): Promise<Record<string, unknown>>
}

type Wire = (call: (instance: Instance, made: ExtraCall) => UpstreamCall) => ExtraTool

function tool<I extends z.ZodObject>(declared: UpstreamTool<I>): Wire {
  const { input, output, run, ...facts } = declared
  return (callOf) => ({
    ...facts,
    inputSchema: publicSchema(input, 'input'),
    outputSchema: publicSchema(output, 'output'),
    call: async (instance, given, made) => run(callOf(instance, made), parseWith(input, given)),
  })
}

/**
 * The original project's nine worker tools, for the profile `upstream`. Each client has a manager of its own: what one
 * principal spawned, another neither sees nor uses. Whatever is executed ends in `invoke`, under that principal.
 */
export function createUpstreamTools(options: UpstreamOptions = {}): readonly ExtraTool[] {
  const { clock = systemClock, answerSeconds = ANSWER_SECONDS, limits, prompts } = options
  const managers = new WeakMap<Instance, Map<string, WorkerManager>>()

  function managerOf(instance: Instance, principal: Principal, surface: string): WorkerManager {
    const ofInstance = managers.get(instance) ?? new Map<string, WorkerManager>()
    managers.set(instance, ofInstance)
    const found = ofInstance.get(principal.id)
    if (found !== undefined) return found
    const made = createWorkerManager({
      instance,
      clock,
      principal,
      surface,
      ...(limits === undefined ? {} : { limits }),
      ...(prompts === undefined ? {} : { prompts }),
    })
    ofInstance.set(principal.id, made)
    return made
  }

  function within<T>(work: Promise<T>): Promise<T | undefined> {
    const late = Promise.withResolvers<undefined>()
    const cancel = clock.after(answerSeconds * 1000, () => late.resolve(undefined))
    return Promise.race([work, late.promise]).finally(cancel)
  }

  return TOOLS.map((wire) =>
    wire((instance, { principal, surface, signal }) => ({
      manager: managerOf(instance, principal, surface),
      signal,
      clock,
      within,
    })),
  )
}

const spawn = tool({
  name: 'worker_spawn',
  title: 'Spawn workers',
  description:
    'Spawns workers that run tasks one at a time, each in order: "ssh:TARGET" runs shell commands on that target. ' +
    'worker_close ends them.',
  effect: 'write',
  idempotent: false,
  openWorld: false,
  input: shapes.spawnInput,
  output: shapes.spawnOutput,
  run: async ({ manager }, { worker_type, count }) => ({ worker_ids: await manager.spawn_workers(worker_type, count) }),
})

const LATE =
  'What takes longer than 45 seconds goes on: its status is pending or running, and worker_collect_results has its ' +
  'result from metadata.since_offset on.'

const execute = tool({
  name: 'worker_execute',
  title: 'Run a task on a worker',
  description: `Runs a task on a spawned worker and answers with its whole result. ${LATE}`,
  effect: 'destroy',
  idempotent: false,
  openWorld: true,
  input: shapes.executeInput,
  output: shapes.taskResult,
  async run({ manager, signal, clock, within }, { worker_id, prompt, timeout }) {
    const since = manager.collect_results([]).next_offset
    const attention = listenWhileAsked(signal)
    const result = manager.execute_task(worker_id, { prompt, timeout }, attention.signal)
    const answer = await within(result).finally(attention.forget)
    return answer ?? goesOn(manager, worker_id, since, clock)
  },
})

const executeBatch = tool({
  name: 'worker_execute_batch',
  title: 'Run many tasks on workers',
  description:
    'Runs tasks on spawned workers, those of different workers side by side, and answers with one result for each ' +
    `prompt, in their order; a task that fails has a result too. ${LATE}`,
  effect: 'destroy',
  idempotent: false,
  openWorld: true,
  input: shapes.batchInput,
  output: shapes.batchOutput,
  async run({ manager, signal, clock, within }, { worker_ids, prompts, timeout }) {
    const since = manager.collect_results([]).next_offset
    const attention = listenWhileAsked(signal)
    const come = new Map<number, TaskResult>()
    const tasks = prompts.map((prompt) => ({ prompt, timeout }))
    const batch = manager.execute_batch(worker_ids, tasks, {
      signal: attention.signal,
      onResult: (each, index) => come.set(index, each),
    })
    const whole = await within(batch).finally(attention.forget)
    if (whole !== undefined) return { result: whole }
    const places = Math.max(prompts.length, prompts.length === 1 ? worker_ids.length : 0)
    const doing = (index: number) => worker_ids[index % worker_ids.length] as string
    return {
      result: Array.from({ length: places }, (_, at) => come.get(at) ?? goesOn(manager, doing(at), since, clock)),
    }
  },
})

const list = tool({
  name: 'worker_list',
  title: 'List spawned workers',
  description: 'Lists the spawned workers, their targets and statuses.',
  effect: 'read',
  idempotent: true,
  openWorld: false,
  input: shapes.listInput,
  output: shapes.listOutput,
  run: async ({ manager }, { state, worker_id }) => ({
    result: manager
      .list_workers()
      .filter((each) => (state ?? each.status) === each.status && (worker_id ?? each.worker_id) === each.worker_id),
  }),
})

const monitor = tool({
  name: 'worker_monitor',
  title: 'Statuses of spawned workers',
  description: 'Waits until the status of a spawned worker changes, `interval` seconds at most, and answers with all.',
  effect: 'read',
  idempotent: true,
  openWorld: false,
  input: shapes.monitorInput,
  output: shapes.monitorOutput,
  async run({ manager, signal }, { worker_ids, interval }) {
    if (interval === 0) return { ...manager.monitor_workers(worker_ids) }
    let looks = 0
    for await (const _ of manager.watch_workers(worker_ids, interval, signal)) {
      looks += 1
      if (looks === 2) break
    }
    return { ...manager.monitor_workers(worker_ids) }
  },
})

const collect = tool({
  name: 'worker_collect_results',
  title: 'Results of spawned workers',
  description:
    'Gives the results of ended tasks in the order of their ends, from an offset on. With next_offset as the next ' +
    'since_offset, no result comes twice and none is left out.',
  effect: 'read',
  idempotent: true,
  openWorld: false,
  input: shapes.collectInput,
  output: shapes.collectOutput,
  run: async ({ manager }, { worker_ids, since_offset }) => ({ ...manager.collect_results(worker_ids, since_offset) }),
})

const close = tool({
  name: 'worker_close',
  title: 'Close a worker',
  description: 'Closes a spawned worker when its tasks are done, or at once with force, which cancels them.',
  effect: 'destroy',
  idempotent: true,
  openWorld: true,
  input: shapes.closeInput,
  output: shapes.closeOutput,
  async run({ manager, within }, { worker_id, force }) {
    const closed = manager.close_worker(worker_id, force).then(
      () => ({ success: true, worker_id }),
      (error: unknown) => ({ success: false, worker_id, error: toMhvError(error).message }),
    )
    const error = 'its tasks are not done yet; it takes no new ones and is closed after them'
    return (await within(closed)) ?? { success: false, worker_id, error }
  },
})

const closeAll = tool({
  name: 'worker_close_all',
  title: 'Close all workers',
  description: 'Closes all workers that this client has spawned, when their tasks are done, or at once with force.',
  effect: 'destroy',
  idempotent: true,
  openWorld: true,
  input: shapes.closeAllInput,
  output: shapes.closeAllOutput,
  async run({ manager, within }, { force }) {
    const all = manager.list_workers().map(({ worker_id }) => worker_id)
    await within(manager.close_all(force))
    const still_closing = manager.list_workers().flatMap(({ worker_id }) => (all.includes(worker_id) ? worker_id : []))
    const closed = all.filter((id) => !still_closing.includes(id))
    return { closed_count: closed.length, closed, still_closing }
  },
})

const health = tool({
  name: 'worker_health',
  title: 'Health of spawned workers',
  description: 'Shows how the spawned workers are, the limits, and open breakers of their targets.',
  effect: 'read',
  idempotent: true,
  openWorld: false,
  input: shapes.healthInput,
  output: shapes.healthOutput,
  // There is no debug mode here; the original's consumers look for its fields.
  run: async ({ manager }) => ({ ...(await manager.health_check()), debug_mode: false, debug_monitor_active: false }),
})

const TOOLS: readonly Wire[] = [spawn, execute, executeBatch, list, monitor, collect, close, closeAll, health]

/** The caller's going away cancels a task only while the caller is still waiting for the answer. */
function listenWhileAsked(asked: AbortSignal): { readonly signal: AbortSignal; readonly forget: () => void } {
  const own = new AbortController()
  const cancel = () => own.abort(mhvError('MHV_RUN_CANCELLED', 'the caller went away'))
  if (asked.aborted) cancel()
  asked.addEventListener('abort', cancel, { once: true })
  return { signal: own.signal, forget: () => asked.removeEventListener('abort', cancel) }
}

/** What stands for the result of a task that has not ended. */
function goesOn(
  manager: WorkerManager,
  worker_id: string,
  since_offset: number,
  clock: Clock,
): z.output<typeof shapes.taskResult> {
  const status = manager.monitor_workers([worker_id])[worker_id] === 'running' ? 'running' : 'pending'
  return {
    worker_id,
    status,
    output: null,
    error: null,
    exit_code: null,
    duration_seconds: null,
    timestamp: isoTime(clock.now()),
    metadata: { since_offset },
    run_id: null,
  }
}

/** The tools of the profile, as the program has them. */
export const upstreamTools: readonly ExtraTool[] = createUpstreamTools()
