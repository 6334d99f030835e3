import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Clock } from '../../core/clock.ts'
import { mhvError } from '../../core/errors.ts'
import type { FollowItem } from '../../runtime/follow.ts'
import type { Instance } from '../../runtime/instance.ts'
import { callerOf } from './caller.ts'
import { closedSignal } from './closed-signal.ts'
import { EVENT_STREAM_TYPE, eventStream, type ServerEvent } from './event-stream.ts'
import { problemOf } from './problem.ts'

/** Path of the events of a run, as the documentation writes it. */
export const RUN_EVENTS_PATH = '/v1/runs/{run_id}/events'

/** How often a follower who hears nothing gets a comment, in milliseconds. */
const HEARTBEAT_MS = 15_000

/** Where in a run its follower is: the last event and the last piece of output that it has. */
interface Position {
  afterEvent: number
  afterOutput: number
}

interface RunEventsParts {
  readonly instance: Instance
  readonly clock: Clock
  readonly followers: Followers
}

/** Counts the open streams of a process: each of them looks into the journal several times a second. */
export interface Followers {
  /** Takes a place until the answer is closed. Throws MHV_HTTP_FOLLOWERS_FULL. */
  enter(answer: ServerResponse): void
}

/** Seconds after which a follower that found no place may come back. */
const RETRY_AFTER_SECONDS = 5

export function createFollowers(most: number): Followers {
  let open = 0
  return {
    enter(answer) {
      if (open >= most) {
        throw mhvError('MHV_HTTP_FOLLOWERS_FULL', `${most} event streams are open, which is the limit`, {
          retryAfter: RETRY_AFTER_SECONDS,
        })
      }
      open += 1
      answer.once('close', () => {
        open -= 1
      })
    },
  }
}

/** `GET /v1/runs/{run_id}/events`: the run from `Last-Event-ID` on, to its end. */
export function addRunEventsRoute(app: FastifyInstance, { instance, clock, followers }: RunEventsParts): void {
  app.get(RUN_EVENTS_PATH.replace('{run_id}', ':run_id'), { exposeHeadRoute: false }, async (request, reply) => {
    const { run_id } = request.params as { readonly run_id: string }
    const position = positionOf(request)
    const { principal } = callerOf(request)
    followers.enter(reply.raw)
    const items = instance.follow({ run_id, ...position, principal, signal: closedSignal(reply) })
    // The first step finds out whether there is such a run, and whether it may be seen: a refusal is no stream.
    const first = await items.next()
    reply.type(EVENT_STREAM_TYPE).header('x-accel-buffering', 'no')
    return reply.send(eventStream(events(instance, first, items, position), clock, HEARTBEAT_MS))
  })
}

async function* events(
  instance: Instance,
  first: IteratorResult<FollowItem, void>,
  items: AsyncGenerator<FollowItem, void, void>,
  position: Position,
): AsyncGenerator<ServerEvent> {
  try {
    for (let step = first; !step.done; step = await items.next()) {
      yield instance.redact(toServerEvent(step.value, position))
    }
  } catch (thrown) {
    // The head is sent: what went wrong is told in the stream. The follower goes on from its last id.
    yield { event: 'problem', data: instance.redact(problemOf(thrown)) }
  } finally {
    await items.return()
  }
}

/** Moves the position on and says it as the id: `<seq of the last event>.<cursor of the last output>`. */
function toServerEvent(item: FollowItem, position: Position): ServerEvent {
  const id = () => `${position.afterEvent}.${position.afterOutput}`
  switch (item.kind) {
    case 'event': {
      position.afterEvent = item.seq
      const { seq, at, type, data } = item.event
      return { event: 'event', id: id(), data: { seq, at: new Date(at).toISOString(), type, data } }
    }
    case 'output': {
      position.afterOutput = item.cursor
      const { cursor, stream, text, gap_bytes } = item
      return { event: 'output', id: id(), data: { cursor, stream, text, gap_bytes } }
    }
    case 'progress':
      return { event: 'progress', data: item.progress }
    case 'end':
      return { event: 'end', id: id(), data: item.run }
  }
}

const EVENT_ID = /^(\d{1,15})\.(\d{1,15})$/

function positionOf({ headers }: FastifyRequest): Position {
  const sent = headers['last-event-id']
  if (sent === undefined || sent === '') return { afterEvent: 0, afterOutput: 0 }
  const parts = EVENT_ID.exec(String(sent))
  if (parts === null) throw mhvError('MHV_INPUT_INVALID', 'Last-Event-ID: must be an id of an event of this run')
  return { afterEvent: Number(parts[1]), afterOutput: Number(parts[2]) }
}
