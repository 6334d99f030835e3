import { PassThrough } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { EnvelopeInput } from '../../core/envelope.ts'
import { mhvError } from '../../core/errors.ts'
import { isFinal, type WorkerResult } from '../../core/result.ts'
import type { Instance } from '../../runtime/instance.ts'
import { callerOf } from './caller.ts'
import { EVENT_STREAM_TYPE, eventText } from './event-stream.ts'
import { bodyObject } from './json-body.ts'
import { problemOf } from './problem.ts'

export interface OperationParts {
  readonly instance: Instance
  /** Whether nothing new is taken any longer. */
  readonly draining: () => boolean
  /** Calls that can be cancelled by an id that their caller gave them; only over the socket. */
  readonly calls?: Calls
}

/** The ends that a call may have before its answer: its run is cancelled, or goes on without its caller. */
interface CallEnds {
  readonly stop: AbortController
  readonly left: AbortController
}

/** Calls in progress, by the id that their caller gave them. */
export type Calls = Map<string, CallEnds>

/** Header with the id under which a process of the same user may cancel its call. */
export const CALL_HEADER = 'mahavishnu-call'

/** Seconds after which a call may be made again while the server stops. */
const RETRY_AFTER_SECONDS = 5

/** `POST /v1/workers/{worker}/operations/{operation}`: one route for all, so that an unknown name gets a good answer. */
export function addOperationRoute(app: FastifyInstance, parts: OperationParts): void {
  app.post('/v1/workers/:worker/operations/:operation', async (request, reply) => {
    if (parts.draining()) throw stopping()
    const { worker, operation } = request.params as { readonly worker: string; readonly operation: string }
    const { input, envelope } = callOf(request.body)
    const ends: CallEnds = { stop: new AbortController(), left: new AbortController() }
    const forget = listenForEnd(parts, request, reply, ends, goesOnAlone(envelope))
    const progress = acceptsEvents(request) ? progressAnswer(reply) : undefined
    try {
      const run = await parts.instance.invoke({
        operation: `${worker}.${operation}`,
        input,
        envelope: envelope as EnvelopeInput,
        ...callerOf(request),
        signal: ends.stop.signal,
        left: ends.left.signal,
        ...(progress === undefined ? {} : { onProgress: progress.tell }),
      })
      return progress?.begun() ? progress.end('result', run) : answerWith(reply, run)
    } catch (thrown) {
      if (!progress?.begun()) throw thrown
      return progress.end('problem', parts.instance.redact(problemOf(thrown)))
    } finally {
      forget()
    }
  })
}

export function stopping() {
  return mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping', { retryAfter: RETRY_AFTER_SECONDS })
}

function callOf(body: unknown): { readonly input: unknown; readonly envelope: Record<string, unknown> } {
  const { input = {}, ...envelope } = bodyObject(body)
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw mhvError('MHV_INPUT_INVALID', 'input: must be an object')
  }
  return { input, envelope }
}

/** A caller who can come back for the run is not missed: by its key, or because only the handle was wanted. */
function goesOnAlone({ idempotency_key, wait }: Readonly<Record<string, unknown>>): boolean {
  return idempotency_key !== undefined || wait === 0
}

/** Ends the call when its client goes away, or when that is told of its id. */
function listenForEnd(
  { calls }: OperationParts,
  request: FastifyRequest,
  { raw }: FastifyReply,
  ends: CallEnds,
  goesOn: boolean,
): () => void {
  const gone = () => {
    if (raw.writableFinished) return
    if (goesOn) ends.left.abort()
    else ends.stop.abort(mhvError('MHV_RUN_CANCELLED', 'the client has gone away'))
  }
  raw.once('close', gone)
  const id = request.headers[CALL_HEADER]
  const named = typeof id === 'string' && calls !== undefined
  if (named) calls.set(id, ends)
  return () => {
    raw.off('close', gone)
    if (named) calls.delete(id)
  }
}

/** 200 when it has ended, however that was; 202 with its place when it goes on. */
function answerWith(reply: FastifyReply, run: WorkerResult): WorkerResult {
  if (!isFinal(run.status)) reply.code(202).header('location', `/v1/runs/${run.run_id}`)
  return run
}

function acceptsEvents({ headers }: FastifyRequest): boolean {
  return headers.accept?.includes(EVENT_STREAM_TYPE) ?? false
}

/**
 * Answers with events instead, from the first progress on: `progress` as it comes, then `result` or `problem`. A call
 * that tells of no progress, or is refused, has its ordinary answer.
 */
function progressAnswer(reply: FastifyReply) {
  let stream: PassThrough | undefined

  function begin(): PassThrough {
    const begun = new PassThrough()
    stream = begun
    reply.type(EVENT_STREAM_TYPE).send(begun)
    return begun
  }

  return {
    begun: () => stream !== undefined,
    tell(progress: unknown) {
      const to = stream ?? begin()
      // Only the latest counts: a client that reads slowly misses some.
      if (!to.writableNeedDrain && !to.destroyed) to.write(eventText({ event: 'progress', data: progress }))
    },
    end(event: 'result' | 'problem', data: unknown): FastifyReply {
      stream?.end(eventText({ event, data }))
      return reply
    },
  }
}
