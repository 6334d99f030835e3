import type { IncomingMessage } from 'node:http'
import { text as readText } from 'node:stream/consumers'
import { type Clock, systemClock } from '../../core/clock.ts'
import type { Logger, Principal, Progress } from '../../core/context.ts'
import { mhvError } from '../../core/errors.ts'
import { newId } from '../../core/ids.ts'
import type { Registry } from '../../core/registry.ts'
import type { WorkerResult } from '../../core/result.ts'
import type { Instance } from '../../runtime/instance.ts'
import type { InvokeRequest } from '../../runtime/runtime.ts'
import { SURFACE_HEADER } from './access.ts'
import { EVENT_STREAM_TYPE, readEvents } from './event-stream.ts'
import { followRemote } from './follow-remote.ts'
import { type InstanceFacts, LOCAL_PATHS, LOCAL_PROTOCOL } from './local-routes.ts'
import { CALL_HEADER } from './operations.ts'
import type { Problem } from './problem.ts'
import { findSocket } from './socket.ts'
import { type AskSocket, asker, causeOf, cutOff, errorOf, http, readJson, succeeded } from './socket-request.ts'

export interface RemoteParts {
  readonly folder: string
  readonly registry: Registry
  readonly principal: Principal
  readonly log: Logger
  readonly clock?: Clock
}

/** Longest wait for the first word of whoever listens there, in milliseconds. */
const HELLO_MS = 5_000

/**
 * The instance that is running on a folder, over its socket; null when there is none that answers. It behaves as the
 * one that is opened here would, but for two things: who asks is the user of this process, and closing it only ends the
 * connection.
 */
export async function connectInstance(parts: RemoteParts): Promise<Instance | null> {
  const path = await findSocket(parts.folder)
  if (path === null) return null
  // A connection for each request: one that is kept may be closed over there at the moment in which it is used again,
  // and nobody could say then whether the call arrived.
  const agent = new http.Agent({ keepAlive: false })
  const ask = asker(path, agent)
  try {
    const hello = await ask({ method: 'GET', path: LOCAL_PATHS.instance, signal: AbortSignal.timeout(HELLO_MS) })
    const facts = (await readJson(hello)) as InstanceFacts
    assertProtocol(facts)
    return remoteInstance(parts, ask, facts, () => agent.destroy())
  } catch (error) {
    agent.destroy()
    // Nobody listens: what is there was left by a process that is gone.
    if (['ECONNREFUSED', 'ENOENT', 'ECONNRESET'].includes(causeOf(error) ?? '')) return null
    throw error
  }
}

function assertProtocol({ protocol, version }: InstanceFacts): void {
  if (protocol <= LOCAL_PROTOCOL) return
  throw mhvError('MHV_INSTANCE_INVALID', `the running instance is of a newer version (${version})`, {
    remedy: 'Use that version here too, or stop the running instance.',
  })
}

function remoteInstance(parts: RemoteParts, ask: AskSocket, facts: InstanceFacts, disconnect: () => void): Instance {
  const { registry, folder, log, principal, clock = systemClock } = parts
  const hello = async () => (await readJson(await ask({ method: 'GET', path: LOCAL_PATHS.instance }))) as InstanceFacts
  return {
    registry,
    folder,
    log,
    principal,
    invoke: (request) => invokeRemote(ask, clock, request),
    async control({ name, input, signal }) {
      const path = `${LOCAL_PATHS.control}/${encodeURIComponent(name)}`
      return (await readJson(await ask({ method: 'POST', path, body: { input }, signal }))) as Record<string, unknown>
    },
    follow: (request) => followRemote(ask, request),
    async metrics() {
      return readText(await succeeded(await ask({ method: 'GET', path: '/metrics' })))
    },
    async readiness() {
      const { ready, reasons } = await hello()
      return { ready, reasons }
    },
    targetNames: (worker) => (worker === undefined ? facts.targets : (facts.targets_by_worker[worker] ?? [])),
    managerLimits: facts.manager,
    // The secrets are the other process's, and it has masked them.
    redact: (value) => value,
    async close() {
      disconnect()
    },
  }
}

/** Pause before the end of a call that is not known over there is told again, in milliseconds. */
const TELL_AGAIN_MS = 20

/**
 * The call as the running instance makes it. Progress comes in the answer. An abort is told to it by the id of the
 * call, so that the answer still comes and says how the run ended.
 */
async function invokeRemote(ask: AskSocket, clock: Clock, request: InvokeRequest): Promise<WorkerResult> {
  const { operation, input, envelope, surface, signal, left, onProgress } = request
  const id = newId(clock)
  if (signal?.aborted) throw mhvError('MHV_RUN_CANCELLED_QUEUED', 'the caller went away before the run began')
  let over = false
  // It goes over a connection of its own, so it may be there before a large call is: then it is told again.
  const tell = async (path: string) => {
    while (!over) {
      const answer = await ask({ method: 'DELETE', path })
      answer.resume()
      if (answer.statusCode !== 404) return
      await clock.sleep(TELL_AGAIN_MS)
    }
  }
  // Where it cannot be told, the call itself fails too, and says so.
  const cancel = () => void tell(`${LOCAL_PATHS.calls}/${id}`).catch(() => undefined)
  const leave = () => void tell(`${LOCAL_PATHS.calls}/${id}/caller`).catch(() => undefined)
  signal?.addEventListener('abort', cancel, { once: true })
  left?.addEventListener('abort', leave, { once: true })
  try {
    const [worker = '', verb = ''] = operation.split('.')
    const answer = await ask({
      method: 'POST',
      path: `/v1/workers/${encodeURIComponent(worker)}/operations/${encodeURIComponent(verb)}`,
      headers: {
        [SURFACE_HEADER]: surface,
        [CALL_HEADER]: id,
        ...(onProgress === undefined ? {} : { accept: `application/json, ${EVENT_STREAM_TYPE}` }),
      },
      body: { ...envelope, input },
    })
    return isEvents(answer) ? await readResult(answer, onProgress) : ((await readJson(answer)) as WorkerResult)
  } catch (error) {
    throw cutOff(error, 'MHV_RUN_INTERRUPTED')
  } finally {
    over = true
    signal?.removeEventListener('abort', cancel)
    left?.removeEventListener('abort', leave)
  }
}

async function readResult(
  answer: IncomingMessage,
  onProgress: ((progress: Progress) => void) | undefined,
): Promise<WorkerResult> {
  for await (const { event, data } of readEvents(answer)) {
    if (event === 'progress') onProgress?.(JSON.parse(data) as Progress)
    if (event === 'result') return JSON.parse(data) as WorkerResult
    if (event === 'problem') throw errorOf(JSON.parse(data) as Problem)
  }
  throw mhvError('MHV_RUN_INTERRUPTED', 'the running instance ended without an answer')
}

function isEvents({ headers, statusCode }: IncomingMessage): boolean {
  return statusCode === 200 && (headers['content-type']?.startsWith(EVENT_STREAM_TYPE) ?? false)
}
