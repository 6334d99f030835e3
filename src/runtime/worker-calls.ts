import { z } from 'zod'
import type { Principal } from '../core/context.ts'
import { mhvError, toMhvError } from '../core/errors.ts'
import { EFFECTS } from '../core/operation.ts'
import type { AnyWorker, WorkerConnection } from '../core/worker.ts'
import { createDeadline } from '../resilience/deadline.ts'
import type { ControlParts } from './control.ts'
import type { RuntimeParts } from './runtime.ts'
import { authorise } from './steps/authorise.ts'

export const workerListSchema = z.object({
  workers: z.array(
    z.object({
      name: z.string(),
      title: z.string(),
      description: z.string(),
      operations: z.array(z.object({ id: z.string(), summary: z.string(), effect: z.enum(EFFECTS) })),
      targets: z.array(z.string()),
    }),
  ),
})

/** The workers, their operations, and the targets of the inventory that have a block for them. */
export function listWorkers(parts: ControlParts): z.output<typeof workerListSchema> {
  const { environment } = parts
  return {
    workers: parts.registry.workers.map((worker) => ({
      name: worker.name,
      title: worker.title,
      description: worker.description,
      operations: parts.registry.operations
        .filter((operation) => operation.worker === worker)
        .map(({ id, spec }) => ({ id, summary: spec.summary, effect: spec.effect })),
      targets: [...environment.targetNames(worker.name)],
    })),
  }
}

const count = (what: string) => z.number().int().describe(what)
const admissionKind = z.object({
  levels: count('limits of this level at which anything runs or waits'),
  saturated: count('those without a free slot'),
  running: count('runs with a slot, at the fullest'),
  queued: count('runs that wait for a slot, at the fullest'),
  rejected: count('calls refused since start because its queue was full'),
  shed: count('waiting runs of low priority ended since start because its queue was full'),
  expired: count('runs since start that waited for longer than it allows'),
})

export const workerHealthSchema = z.object({
  workers: z.array(
    z.object({
      name: z.string(),
      worker_id: z.string(),
      started: z.boolean().describe('false until its first use'),
      failed_start: z
        .object({ attempts: count('starts that were tried'), error_code: z.string(), message: z.string() })
        .nullable()
        .describe('why a worker that is started with the instance is not up; it is tried again'),
      running: z.number().int(),
      queued: z.number().int(),
      runs: z.number().int().describe('finished since start'),
      refused: z.number().int().describe('calls refused since start'),
      by_status: z.record(z.string(), z.number().int()),
      breakers: z
        .array(z.object({ target: z.string(), state: z.string(), forced: z.enum(['open', 'closed']).nullable() }))
        .describe('only those that are not closed, or that an operator holds'),
      connection: z.record(z.string(), z.union([z.number(), z.string(), z.boolean()])),
    }),
  ),
  admission: z
    .object({
      process: admissionKind,
      worker: admissionKind,
      target: admissionKind,
      principal: admissionKind,
    })
    .describe('by the level of the limits'),
  ping: z.object({ target: z.string(), worker: z.string(), healthy: z.boolean(), message: z.string() }).nullable(),
})

/** How the workers are. With `ping`, connects to that target and looks whether it answers; nothing is changed there. */
export async function workerHealth(
  parts: ControlParts,
  input: { readonly worker?: string | undefined; readonly ping?: string | undefined },
  principal: Principal,
  signal: AbortSignal,
): Promise<z.output<typeof workerHealthSchema>> {
  const runtime = runtimeOf(parts)
  const chosen = input.worker === undefined ? parts.registry.workers : [parts.registry.worker(input.worker)]
  const ping = input.ping === undefined ? null : await pingTarget(runtime, chosen, input.ping, principal, signal)
  const workers = await Promise.all(
    chosen.map(async (worker) => ({
      ...(await healthOf(runtime, worker)),
      failed_start: parts.startup?.failed(worker.name) ?? null,
    })),
  )
  return { workers, admission: admissionHealth(runtime), ping }
}

function admissionHealth({ admission }: RuntimeParts): z.output<typeof workerHealthSchema>['admission'] {
  const kinds = admission.kinds()
  const { rejected, shed, expired } = admission.outcomes()
  const of = (kind: keyof typeof kinds) => ({
    ...kinds[kind],
    rejected: rejected[kind],
    shed: shed[kind],
    expired: expired[kind],
  })
  return { process: of('process'), worker: of('worker'), target: of('target'), principal: of('principal') }
}

async function healthOf(runtime: RuntimeParts, { name }: AnyWorker) {
  const connection = runtime.instances.started(name)
  return {
    name,
    worker_id: runtime.instances.idOf(name),
    started: connection !== undefined,
    ...runtime.admission.counts(name),
    ...(await runtime.metrics.totals(name)),
    breakers: runtime.breakers
      .list()
      .filter((breaker) => breaker.worker === name && (breaker.state !== 'closed' || breaker.forced !== null))
      .map(({ target, state, forced }) => ({ target, state, forced })),
    connection: statsOf(runtime, name, connection),
  }
}

/** A worker that cannot tell about itself is the last that should keep its health from being shown. */
function statsOf({ log }: RuntimeParts, worker: string, connection: WorkerConnection | undefined) {
  try {
    return { ...connection?.stats() }
  } catch (error) {
    log.error('a worker could not tell about itself', { worker, error })
    return { error: toMhvError(error).message }
  }
}

/** How long a look at a target may take, in milliseconds. */
const PING_MS = 15_000

async function pingTarget(
  runtime: RuntimeParts,
  workers: readonly AnyWorker[],
  target: string,
  principal: Principal,
  signal: AbortSignal,
) {
  const worker = workers.find((each) => runtime.environment.targetNames(each.name).includes(target)) ?? workers[0]
  if (worker?.ping === undefined) throw mhvError('MHV_WORKER_UNKNOWN', 'no worker here can look at a target')
  const { target: resolved, settings } = runtime.environment.resolveTarget(target, worker.name)
  const looked = { name: target, address: resolved.address, settings }
  const question = {
    principal,
    worker: worker.name,
    operation: 'worker_health',
    effect: 'read',
    target: resolved,
  } as const
  await authorise(runtime, question)
  const deadline = createDeadline(runtime.clock, runtime.clock.now() + PING_MS)
  const ended = AbortSignal.any([signal, deadline.signal])
  try {
    const { healthy, message } = await untilAborted(ended, async () => {
      const { connection } = await runtime.instances.get(worker)
      return worker.ping?.(connection, looked, ended) ?? { healthy: false, message: 'no answer' }
    })
    return { target, worker: worker.name, healthy, message }
  } catch (error) {
    signal.throwIfAborted()
    // That it does not answer is the answer.
    return { target, worker: worker.name, healthy: false, message: toMhvError(error).message }
  } finally {
    deadline.clear()
  }
}

function untilAborted<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    act()
      .finally(() => signal.removeEventListener('abort', onAbort))
      .then(resolve, reject)
  })
}

function runtimeOf(parts: ControlParts): RuntimeParts {
  if (parts.runtime !== null) return parts.runtime
  throw mhvError('MHV_INTERNAL', 'this call needs a running instance')
}
