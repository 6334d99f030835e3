import { systemClock } from '../../core/clock.ts'
import type {
  Bandwidth,
  Logger,
  OperationContext,
  OutputSink,
  OutputStream,
  StateChanges,
  WorkerContext,
  WorkerRecords,
} from '../../core/context.ts'
import { mhvError } from '../../core/errors.ts'
import type { OperationSpec } from '../../core/operation.ts'
import { plainJson } from '../../core/plain-json.ts'
import type { PortName, Ports } from '../../core/ports.ts'
import { createSecret } from '../../core/secret.ts'
import type { AnyWorker, WorkerConnection } from '../../core/worker.ts'
import { createRedactor } from '../../governance/redaction.ts'
import { UNLIMITED } from '../../resilience/bandwidth.ts'
import type { Peer } from './peer.ts'
import type { ActRequest, ChildMethods, LogMethod, ParentMethods, WorkerStart } from './protocol.ts'
import { callPort, remotePort } from './remote-port.ts'

/** Bytes of output of one attempt that may be on their way to the main process; beyond them `write` waits. */
const WINDOW_BYTES = 262_144

type Parent = Pick<Peer<ParentMethods>, 'call' | 'tell'>

/** What runs in the process of a worker: the worker itself, with a context whose every part asks the main process. */
export function createChildWorker(parent: Parent): ChildMethods {
  let worker: AnyWorker | undefined
  let connection: WorkerConnection | undefined
  const common = commonContext(parent)

  function connected(): { readonly worker: AnyWorker; readonly connection: WorkerConnection } {
    if (worker === undefined || connection === undefined) throw mhvError('MHV_INTERNAL', 'the worker is not connected')
    return { worker, connection }
  }

  return {
    async connect(start) {
      worker = await findWorker(start)
      const { worker_id, settings, folder } = start
      const onConnect: WorkerContext['onConnect'] = (attempt) => parent.tell('connected', attempt)
      const targets = () => parent.call('targets')
      const target: WorkerContext['target'] = (name) => parent.call('target', name)
      const context: WorkerContext = { ...common, worker_id, settings, folder, targets, target, onConnect }
      connection = (await worker.connect(context)) as WorkerConnection
    },
    async act(request, signal) {
      const { worker, connection } = connected()
      const spec: OperationSpec | undefined = worker.operations.find(({ id }) => id === request.operation)
      const { bandwidth_limit, ...facts } = request.facts
      const context: OperationContext = {
        ...common,
        ...facts,
        connection,
        signal,
        output: outputOf(parent, request.handle),
        bandwidth: bandwidthOf(parent, request.handle, bandwidth_limit),
        progress: async (progress) => parent.tell('progress', request.handle, progress),
      }
      return callAct(spec, request, context)
    },
    async ping(target, signal) {
      const { worker, connection } = connected()
      return (await worker.ping?.(connection, target, signal)) ?? { healthy: false, message: 'no answer' }
    },
    look: async () => ({ ...connection?.stats() }),
    metrics: async () => (await connection?.metrics?.()) ?? [],
    async port(port, method, args) {
      const { worker, connection } = connected()
      const provided = worker.provides?.[port]?.(connection as never)
      if (provided === undefined) throw mhvError('MHV_PORT_MISSING', `no worker provides ${port}`)
      return callPort(provided, method, args)
    },
    close: async () => connection?.close(),
  }
}

async function findWorker({ module, worker }: WorkerStart): Promise<AnyWorker> {
  const { workers } = (await import(module)) as { readonly workers?: readonly AnyWorker[] }
  const found = workers?.find(({ name }) => name === worker)
  if (found === undefined) throw mhvError('MHV_INTERNAL', `${module} has no worker ${worker} to start in a process`)
  return found
}

function callAct(spec: OperationSpec | undefined, request: ActRequest, context: OperationContext): Promise<unknown> {
  const act = spec?.[request.act]
  if (spec === undefined || act === undefined) {
    throw mhvError('MHV_INTERNAL', `${request.operation} has no ${request.act} in the process of its worker`)
  }
  return (act as (...args: unknown[]) => Promise<unknown>).call(spec, context, request.input, request.failure)
}

/** What the contexts of the worker and of every attempt have in common. */
function commonContext(parent: Parent) {
  const masker = createRedactor()
  return {
    clock: systemClock,
    log: logOf(parent),
    masker,
    secrets: {
      async resolve(given: Parameters<ParentMethods['resolve']>[0]) {
        const { reference, value } = await parent.call('resolve', given)
        masker.add(value)
        return createSecret(reference, value)
      },
    },
    state: {
      get: (key: string) => parent.call('stateGet', key),
      set: (key: string, value: unknown) => parent.call('stateSet', key, value),
      delete: (key: string) => parent.call('stateDelete', key),
      apply: (changes: StateChanges) => parent.call('stateApply', changes),
      list: (prefix: string) => parent.call('stateList', prefix),
    },
    records: recordsOf(parent),
    async need<P extends PortName>(port: P): Promise<Ports[P]> {
      await parent.call('needed', port)
      return remotePort<P>((method, args) => parent.call('need', port, method, args))
    },
  }
}

/** Bytes are copied: a view would take the whole buffer that it looks at over the channel. */
function recordsOf(parent: Parent): WorkerRecords {
  return {
    append: (stream, records) =>
      parent.call(
        'recordsAppend',
        stream,
        records.map((record) => ({ ...record, payload: new Uint8Array(record.payload) })),
      ),
    query: (query) => parent.call('recordsQuery', query),
    retain: (stream, limits) => parent.call('recordsRetain', stream, limits),
    stats: (stream) => parent.call('recordsStats', stream),
  }
}

function logOf(parent: Parent): Logger {
  const write = (level: LogMethod) => (message: string, fields?: Readonly<Record<string, unknown>>) =>
    parent.tell('log', level, message, fields === undefined ? undefined : plainJson(fields))
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

/** Counted in the main process: two processes of a worker, while one replaces the other, share what there is. */
function bandwidthOf(parent: Parent, handle: number, limit: number): Bandwidth {
  if (limit === 0) return UNLIMITED
  return {
    limit,
    async take(bytes, signal) {
      signal.throwIfAborted()
      await parent.call('takeBandwidth', handle, bytes, signal)
    },
  }
}

/** A window of bytes instead of an answer for each piece: the order is kept by the channel. */
function outputOf(parent: Parent, handle: number): OutputSink {
  let pending = 0
  let failure: { readonly error: unknown } | undefined
  let wake: (() => void)[] = []

  function answered(bytes: number): void {
    pending -= bytes
    if (pending > WINDOW_BYTES && failure === undefined) return
    const waiting = wake
    wake = []
    for (const go of waiting) go()
  }

  async function send(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    if (failure !== undefined) throw failure.error
    pending += bytes.length
    parent
      .call('write', handle, stream, bytes)
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => answered(bytes.length))
    while (pending > WINDOW_BYTES && failure === undefined) await new Promise<void>((go) => wake.push(go))
    if (failure !== undefined) throw (failure as { readonly error: unknown }).error
  }

  return {
    async write(stream, bytes) {
      // A single long piece goes within the window too.
      for (let at = 0; at < bytes.length || at === 0; at += WINDOW_BYTES) {
        await send(stream, bytes.subarray(at, at + WINDOW_BYTES))
      }
    },
    async collect(stream) {
      if (failure !== undefined) throw failure.error
      return parent.call('collect', handle, stream)
    },
  }
}
