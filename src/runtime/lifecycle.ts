import type { Clock } from '../core/clock.ts'
import type {
  ConnectAttempt,
  Logger,
  SecretResolver,
  WorkerRecords,
  WorkerState,
  WorkerTarget,
} from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import type { PortName, Ports } from '../core/ports.ts'
import type { Registry } from '../core/registry.ts'
import { startOrder } from '../core/start-order.ts'
import type { AnyWorker, WorkerConnection } from '../core/worker.ts'
import type { Redactor } from '../governance/redaction.ts'
import type { Store } from '../store/store.ts'
import type { Environment } from './runtime.ts'
import { recordsOf, stateOf } from './worker-journal.ts'

/** A worker at work in this process: its id, and what its `connect` returned. */
export interface WorkerInstance {
  readonly worker_id: string
  readonly connection: WorkerConnection
}

export interface WorkerInstances {
  /** Id of the worker's instance, also before it is started. */
  idOf(worker: string): string
  /**
   * Starts the worker on first use, after those that it requires. A start that failed is tried again at the next call.
   *
   * @throws MHV_WORKER_DEPENDENCY where a required worker does not start
   */
  get(worker: AnyWorker): Promise<WorkerInstance>
  /** What is running now. */
  started(worker: string): WorkerConnection | undefined
  /** Asks every running worker whether it is able to work; the names of those that are not, or do not say in time. */
  unwell(): Promise<readonly string[]>
  state(worker: string): WorkerState
  records(worker: string): WorkerRecords
  need<P extends PortName>(port: P): Promise<Ports[P]>
  /** Closes what is running: whoever requires another before that one. */
  close(): Promise<void>
}

/** How long a worker may take to say that it is able to work, in milliseconds. */
const HEARTBEAT_MS = 2_000

/** How long a worker may take to start or to close before the instance closes without it, in milliseconds. */
const CLOSE_MS = 5_000

export function createWorkerInstances(parts: {
  readonly registry: Registry
  readonly environment: Environment
  readonly store: Store
  readonly secrets: SecretResolver
  readonly redactor: Redactor
  readonly clock: Clock
  readonly log: Logger
  /** Told of every connection that a worker tried to make. */
  readonly onConnect?: (worker: string, attempt: ConnectAttempt) => void
}): WorkerInstances {
  const ids = new Map(parts.registry.workers.map(({ name }) => [name, `${name}-${newId(parts.clock)}`]))
  const starting = new Map<string, Promise<WorkerInstance>>()
  const running = new Map<string, WorkerConnection>()
  let closing: Promise<void> | undefined

  const idOf = (worker: string) => ids.get(worker) ?? worker
  const state = (worker: string) => stateOf(parts, worker)
  const records = (worker: string) => recordsOf(parts, worker)

  async function start(worker: AnyWorker): Promise<WorkerInstance> {
    await startRequired(worker)
    const worker_id = idOf(worker.name)
    const connection: WorkerConnection = await worker.connect({
      worker_id,
      settings: parts.environment.workerSettings(worker.name),
      folder: parts.environment.folder,
      clock: parts.clock,
      log: parts.log,
      secrets: parts.secrets,
      state: state(worker.name),
      records: records(worker.name),
      targets: async () => targetsOf(parts.environment, worker.name),
      masker: parts.redactor,
      target: async (name) => parts.environment.resolveTarget(name, worker.name),
      onConnect: (attempt) => parts.onConnect?.(worker.name, attempt),
      need,
    })
    if (closing !== undefined) {
      await closeOne(worker.name, connection)
      throw stopping()
    }
    running.set(worker.name, connection)
    return { worker_id, connection }
  }

  async function startRequired(worker: AnyWorker): Promise<void> {
    for (const name of worker.requires ?? []) {
      try {
        await get(parts.registry.worker(name))
      } catch (error) {
        const { code, message, retryAfter } = toMhvError(error)
        if (code === 'MHV_SHUTTING_DOWN') throw error
        throw mhvError('MHV_WORKER_DEPENDENCY', `${worker.name} requires ${name}, which does not start: ${message}`, {
          details: { worker: worker.name, requires: name, error_code: code },
          ...(retryAfter === undefined ? {} : { retryAfter }),
          cause: error,
        })
      }
    }
  }

  async function get(worker: AnyWorker): Promise<WorkerInstance> {
    const known = starting.get(worker.name)
    if (known !== undefined) return known
    if (closing !== undefined) throw stopping()
    const instance = start(worker)
    starting.set(worker.name, instance)
    instance.catch(() => starting.delete(worker.name))
    return instance
  }

  async function need<P extends PortName>(port: P): Promise<Ports[P]> {
    const provider = parts.registry.workers.find((worker) => worker.provides?.[port] !== undefined)
    if (provider === undefined) throw mhvError('MHV_PORT_MISSING', `no worker provides ${port}`)
    const { connection } = await get(provider)
    return provider.provides?.[port]?.(connection) as Ports[P]
  }

  async function closeOne(worker: string, connection: WorkerConnection): Promise<void> {
    const timer = new AbortController()
    const late = parts.clock.sleep(CLOSE_MS, timer.signal).then(
      () => parts.log.error('a worker did not close in time', { worker }),
      () => undefined,
    )
    const closed = (async () => connection.close())().catch((error: unknown) => {
      parts.log.error('a worker could not be closed', { worker, error })
    })
    await Promise.race([closed, late])
    timer.abort()
  }

  async function closeAll(): Promise<void> {
    const connections = new Map(running)
    running.clear()
    // One that is starting closes itself when it has started: see `start`.
    const timer = new AbortController()
    const late = parts.clock.sleep(CLOSE_MS, timer.signal).catch(() => undefined)
    await Promise.race([late, Promise.allSettled(starting.values())])
    timer.abort()
    const closed = new Map<string, Promise<void>>()
    // Each as soon as all that require it are closed, so that one that hangs holds up only what it requires.
    for (const { name } of startOrder(parts.registry.workers).toReversed()) {
      const connection = connections.get(name)
      const first = parts.registry.workers.filter(({ requires = [] }) => requires.includes(name))
      const before = Promise.all(first.map((each) => closed.get(each.name)))
      closed.set(
        name,
        connection === undefined ? before.then(() => undefined) : before.then(() => closeOne(name, connection)),
      )
    }
    await Promise.all(closed.values())
    starting.clear()
  }

  async function isWell(connection: WorkerConnection): Promise<boolean> {
    const timer = new AbortController()
    const late = parts.clock.sleep(HEARTBEAT_MS, timer.signal).then(
      () => false,
      () => false,
    )
    const beat = (async () => connection.heartbeat?.())().then(
      () => true,
      () => false,
    )
    return Promise.race([beat, late]).finally(() => timer.abort())
  }

  return {
    idOf,
    get,
    started: (worker) => running.get(worker),
    async unwell() {
      const asked = [...running].map(async ([name, connection]) => ((await isWell(connection)) ? [] : [name]))
      return (await Promise.all(asked)).flat()
    },
    state,
    records,
    need,
    close() {
      closing ??= closeAll()
      return closing
    },
  }
}

function stopping(): MhvError {
  return mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping')
}

/** The targets of the inventory with a block for a worker, each with its settings. */
export function targetsOf(
  environment: Pick<Environment, 'targetNames' | 'resolveTarget'>,
  worker: string,
): readonly WorkerTarget[] {
  return environment.targetNames(worker).map((name) => environment.resolveTarget(name, worker))
}
