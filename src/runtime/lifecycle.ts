import type { Clock } from '../core/clock.ts'
import type { Logger, SecretResolver, WorkerState } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import type { PortName, Ports } from '../core/ports.ts'
import type { Registry } from '../core/registry.ts'
import type { AnyWorker, WorkerConnection } from '../core/worker.ts'
import type { Store } from '../store/store.ts'
import type { Environment } from './runtime.ts'

/** A worker at work in this process: its id, and what its `connect` returned. */
export interface WorkerInstance {
  readonly worker_id: string
  readonly connection: WorkerConnection
}

export interface WorkerInstances {
  /** Id of the worker's instance, also before it is started. */
  idOf(worker: string): string
  /** Starts the worker on first use. A start that failed is tried again at the next call. */
  get(worker: AnyWorker): Promise<WorkerInstance>
  /** What is running now. */
  started(worker: string): WorkerConnection | undefined
  state(worker: string): WorkerState
  need<P extends PortName>(port: P): Promise<Ports[P]>
  close(): Promise<void>
}

export function createWorkerInstances(parts: {
  readonly registry: Registry
  readonly environment: Environment
  readonly store: Store
  readonly secrets: SecretResolver
  readonly clock: Clock
  readonly log: Logger
}): WorkerInstances {
  const ids = new Map(parts.registry.workers.map(({ name }) => [name, `${name}-${newId(parts.clock)}`]))
  const starting = new Map<string, Promise<WorkerInstance>>()
  const running = new Map<string, WorkerConnection>()

  const idOf = (worker: string) => ids.get(worker) ?? worker

  const state = (worker: string): WorkerState => ({
    get: (key) => parts.store.stateGet(worker, key),
    set: (key, value) => parts.store.stateSet(worker, key, value),
    delete: (key) => parts.store.stateDelete(worker, key),
    list: (prefix) => parts.store.stateList(worker, prefix),
  })

  async function start(worker: AnyWorker): Promise<WorkerInstance> {
    const worker_id = idOf(worker.name)
    const connection = await worker.connect({
      worker_id,
      settings: parts.environment.workerSettings(worker.name),
      folder: parts.environment.folder,
      clock: parts.clock,
      log: parts.log,
      secrets: parts.secrets,
      state: state(worker.name),
      need,
    })
    running.set(worker.name, connection)
    return { worker_id, connection }
  }

  function get(worker: AnyWorker): Promise<WorkerInstance> {
    let instance = starting.get(worker.name)
    if (instance === undefined) {
      instance = start(worker)
      starting.set(worker.name, instance)
      instance.catch(() => starting.delete(worker.name))
    }
    return instance
  }

  async function need<P extends PortName>(port: P): Promise<Ports[P]> {
    const provider = parts.registry.workers.find((worker) => worker.provides?.[port] !== undefined)
    if (provider === undefined) throw mhvError('MHV_PORT_MISSING', `no worker provides ${port}`)
    const { connection } = await get(provider)
    return provider.provides?.[port]?.(connection) as Ports[P]
  }

  return {
    idOf,
    get,
    started: (worker) => running.get(worker),
    state,
    need,
    async close() {
      await Promise.allSettled(starting.values())
      for (const [name, connection] of running) {
        try {
          await connection.close()
        } catch (error) {
          parts.log.error('a worker could not be closed', { worker: name, error: String(error) })
        }
      }
      running.clear()
      starting.clear()
    },
  }
}
