import type { Isolation, ProcessSettings } from '../config/isolation-schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger, OperationContext, WorkerContext } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import type { OperationFailure, OperationSpec } from '../core/operation.ts'
import type { PortName } from '../core/ports.ts'
import { createRegistry, type Registry } from '../core/registry.ts'
import type { AnyWorker, PingTarget, WorkerConnection } from '../core/worker.ts'
import type { ProcessFacts } from '../telemetry/worker-metrics.ts'
import type { Act, ParentMethods } from './worker-process/protocol.ts'
import { callPort, remotePort } from './worker-process/remote-port.ts'
import { type Child, startChild } from './worker-process/start-child.ts'
import { createSupervisor, type Serving, type Supervisor } from './worker-process/supervisor.ts'

/** The workers as they are run: those with `isolation: process` in a process of their own. */
export interface IsolatedWorkers {
  readonly registry: Registry
  /** Names of workers whose process ended again and again and was given up. */
  down(): readonly string[]
  /** Of every worker with a process of its own, for the metrics. */
  processes(): readonly ProcessFacts[]
  /** Ends the processes of workers that are not up yet; those that are up are closed as workers are. */
  endStarting(): Promise<void>
}

export interface IsolationParts {
  readonly clock: Clock
  readonly log: Logger
  /** Module that exports `workers`: the process finds its own there, by its name. */
  readonly workersModule: URL
  settingsOf(worker: AnyWorker): { readonly isolation: Isolation; readonly process: ProcessSettings }
}

/**
 * A worker in a process of its own is a worker like any other: the same declarations, whose functions are calls of that
 * process. Admission, breakers, retries, the journal, secrets and redaction stay here.
 */
export function isolateWorkers(registry: Registry, parts: IsolationParts): IsolatedWorkers {
  const isolated = registry.workers.filter((worker) => parts.settingsOf(worker).isolation === 'process')
  if (isolated.length === 0) {
    return { registry, down: () => [], processes: () => [], endStarting: async () => undefined }
  }
  const proxies = new Map(isolated.map((worker) => [worker.name, isolate(worker, parts)]))
  const workers = registry.workers.map((worker) => proxies.get(worker.name)?.worker ?? worker)
  return {
    registry: createRegistry(workers),
    down: () => [...proxies].flatMap(([name, { supervisor }]) => (supervisor()?.down() ? [name] : [])),
    processes: () => [...proxies].map(([name, { supervisor }]) => factsOf(name, supervisor())),
    async endStarting() {
      await Promise.all([...proxies.values()].map((each) => each.endStarting()))
    },
  }
}

/** What the main process has of a worker that runs in another one. */
class ProcessConnection implements WorkerConnection {
  readonly #worker: AnyWorker
  readonly #supervisor: Supervisor
  readonly #contexts: Map<number, OperationContext>
  #lastHandle = 0

  constructor(worker: AnyWorker, supervisor: Supervisor, contexts: Map<number, OperationContext>) {
    this.#worker = worker
    this.#supervisor = supervisor
    this.#contexts = contexts
  }

  stats(): Readonly<Record<string, number | string | boolean>> {
    const current = this.#supervisor.current()
    const own = { isolation: 'process', restarts: this.#supervisor.restarts(), down: this.#supervisor.down() }
    if (current === undefined) return own
    const { child, stats } = current
    return { ...stats, ...own, pid: child.pid, memory_bytes: child.memory(), limited_by: child.limitedBy }
  }

  async ready(): Promise<void> {
    await this.#supervisor.ready()
  }

  /** The process as it is now: after `ready`, nothing may be waited for before something acts. */
  #serving(): Serving {
    const serving = this.#supervisor.current()
    if (serving !== undefined && !serving.child.isGone()) return serving
    throw downError(this.#worker.name, 'it ended a moment ago')
  }

  /** One attempt of an operation, over there. Its signal, output, progress and secrets are those of this process. */
  async act(
    operation: string,
    act: Act,
    context: OperationContext,
    input: unknown,
    failure?: OperationFailure,
  ): Promise<unknown> {
    const serving = this.#serving()
    this.#lastHandle += 1
    const handle = this.#lastHandle
    this.#contexts.set(handle, context)
    const { run_id, attempt, principal, effect, target, settings, deadline, bandwidth } = context
    const bandwidth_limit = bandwidth.limit
    const facts = { run_id, attempt, principal, effect, target, settings, deadline, bandwidth_limit }
    const request = { handle, operation, act, input, facts, ...(failure === undefined ? {} : { failure }) }
    try {
      return await busyWith(serving, () => serving.child.peer.call('act', request, context.signal))
    } finally {
      this.#contexts.delete(handle)
    }
  }

  async ping(target: PingTarget, signal: AbortSignal) {
    const serving = await this.#supervisor.ready()
    try {
      return await busyWith(serving, () => serving.child.peer.call('ping', target, signal))
    } catch (error) {
      throw downWhere(this.#worker.name, error)
    }
  }

  async port(port: PortName, method: string, args: readonly unknown[]): Promise<unknown> {
    const serving = await this.#supervisor.ready()
    return busyWith(serving, () => serving.child.peer.call('port', port, method, args))
  }

  close(): Promise<void> {
    return this.#supervisor.close()
  }
}

async function busyWith<T>(serving: Serving, act: () => Promise<T>): Promise<T> {
  serving.busy += 1
  try {
    return await act()
  } finally {
    serving.busy -= 1
  }
}

/** Nothing was done by what was asked, whatever became of the process. */
function downWhere(worker: string, error: unknown): unknown {
  const known = toMhvError(error)
  return known.code === 'MHV_WORKER_DIED' ? downError(worker, String(known.details?.why)) : error
}

function downError(worker: string, why: string): MhvError {
  return mhvError('MHV_WORKER_DOWN', `the process of worker ${worker} is not up: ${why}`, {
    retryAfter: 1,
    details: { worker },
  })
}

function factsOf(worker: string, supervisor: Supervisor | undefined): ProcessFacts {
  const child = supervisor?.current()?.child
  const restarts = supervisor?.restarts() ?? 0
  return { worker, up: child !== undefined, restarts, memory_bytes: child?.memory() ?? 0 }
}

/** A worker as this process has it. */
interface Isolated {
  readonly worker: AnyWorker
  /** Undefined until its first use. */
  supervisor(): Supervisor | undefined
  endStarting(): Promise<void>
}

function isolate(worker: AnyWorker, parts: IsolationParts): Isolated {
  // One for the life of the instance: what it counts must outlive a start that fails.
  let supervisor: Supervisor | undefined
  let isUp = false
  const contexts = new Map<number, OperationContext>()

  async function connect(context: WorkerContext): Promise<ProcessConnection> {
    supervisor ??= createSupervisor({
      worker: worker.name,
      settings: parts.settingsOf(worker).process,
      clock: parts.clock,
      log: parts.log,
      start: (signal) => startConnected(worker, parts, { context, contexts, signal }),
    })
    await supervisor.ready()
    isUp = true
    return new ProcessConnection(worker, supervisor, contexts)
  }

  const ping = (connection: ProcessConnection, target: PingTarget, signal: AbortSignal) =>
    connection.ping(target, signal)
  const provides = Object.keys(worker.provides ?? {}).map((name) => {
    const port = name as PortName
    return [port, (connection: ProcessConnection) => remotePort((method, args) => connection.port(port, method, args))]
  })
  return {
    supervisor: () => supervisor,
    async endStarting() {
      if (!isUp) await supervisor?.close()
    },
    worker: {
      ...worker,
      connect,
      ...(worker.ping === undefined ? {} : { ping }),
      ...(worker.provides === undefined ? {} : { provides: Object.fromEntries(provides) }),
      operations: worker.operations.map(isolateOperation),
    },
  }
}

type IsolatedContext = OperationContext<ProcessConnection>

function isolateOperation(spec: OperationSpec): OperationSpec {
  const forward =
    (act: Act) =>
    // biome-ignore lint/suspicious/noExplicitAny: the schema of the operation checks what comes back
    (context: IsolatedContext, input: unknown, failure?: OperationFailure): Promise<any> =>
      context.connection.act(spec.id, act, context, input, failure)
  return {
    ...spec,
    run: forward('run'),
    ...(spec.resume === undefined ? {} : { resume: forward('resume') }),
    ...(spec.fallback === undefined ? {} : { fallback: forward('fallback') }),
    ...(spec.compensate === undefined ? {} : { compensate: forward('compensate') }),
    ...(spec.settle === undefined ? {} : { settle: forward('settle') }),
  }
}

/** How long a process may take until its worker is connected, in milliseconds. */
const CONNECT_MS = 60_000

interface Start {
  readonly context: WorkerContext
  readonly contexts: ReadonlyMap<number, OperationContext>
  /** Aborted when the instance stops. */
  readonly signal: AbortSignal
}

async function startConnected(
  worker: AnyWorker,
  parts: IsolationParts,
  { context, contexts, signal }: Start,
): Promise<Child> {
  const { process: settings } = parts.settingsOf(worker)
  const methods = parentMethods(context, contexts)
  const child = await startChild({ worker: worker.name, settings, environment: worker.environment ?? [], methods })
  const cancel = parts.clock.after(CONNECT_MS, () => child.kill(`it was not up after ${CONNECT_MS / 1000} s`))
  const stop = () => child.kill('the instance is stopping')
  signal.addEventListener('abort', stop, { once: true })
  try {
    signal.throwIfAborted()
    const { worker_id, settings: own, folder } = context
    const start = { module: parts.workersModule.href, worker: worker.name, worker_id, settings: own, folder }
    if (settings.cpu_percent !== null && child.limitedBy === 'watchdog') {
      parts.log.warn('no control group can be made: instead of its processor share a worker has a lower priority', {
        worker: worker.name,
      })
    }
    await child.peer.call('connect', start)
    return child
  } catch (error) {
    child.kill('it did not connect')
    await child.gone
    if (signal.aborted) throw signal.reason
    throw downWhere(worker.name, error)
  } finally {
    cancel()
    signal.removeEventListener('abort', stop)
  }
}

/** What the process of a worker may ask for: the parts of its contexts that stay here. */
function parentMethods(context: WorkerContext, contexts: ReadonlyMap<number, OperationContext>): ParentMethods {
  const of = (handle: number): OperationContext => {
    const found = contexts.get(handle)
    if (found === undefined) throw overError()
    return found
  }
  const { log, state, secrets } = context
  return {
    write: async (handle, stream, bytes) => contexts.get(handle)?.output.write(stream, bytes),
    collect: async (handle, stream) => of(handle).output.collect(stream),
    progress(handle, progress) {
      contexts
        .get(handle)
        ?.progress(progress)
        .catch((error: unknown) => log.warn('progress could not be passed on', { error }))
    },
    takeBandwidth: async (handle, bytes, signal) => of(handle).bandwidth.take(bytes, signal),
    log: (level, message, fields) => log[level](message, fields as Readonly<Record<string, unknown>>),
    async resolve(given) {
      const secret = await secrets.resolve(given)
      return { reference: secret.reference, value: secret.reveal() }
    },
    stateGet: (key) => state.get(key),
    stateSet: (key, value) => state.set(key, value),
    stateDelete: (key) => state.delete(key),
    stateList: (prefix) => state.list(prefix),
    target: (name) => context.target(name),
    connected: (attempt) => context.onConnect?.(attempt),
    async needed(port) {
      await context.need(port)
    },
    need: async (port, method, args) => callPort(await context.need(port), method, args),
  }
}

/** An attempt that was left behind asks for its output: nobody is there to see the answer. */
function overError(): MhvError {
  return mhvError('MHV_RUN_INTERRUPTED', 'the run is over')
}
