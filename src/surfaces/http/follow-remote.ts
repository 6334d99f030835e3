import type { Progress } from '../../core/context.ts'
import { mhvError } from '../../core/errors.ts'
import type { RunEvent } from '../../core/events.ts'
import type { WorkerResult } from '../../core/result.ts'
import type { FollowItem, FollowRequest } from '../../runtime/follow.ts'
import { readEvents } from './event-stream.ts'
import type { Problem } from './problem.ts'
import { RUN_EVENTS_PATH } from './run-events.ts'
import { type AskSocket, cutOff, errorOf, succeeded } from './socket-request.ts'

/** Follows a run of the running instance. Aborting the signal ends it quietly, as it does there. */
export async function* followRemote(
  ask: AskSocket,
  { run_id, afterEvent, afterOutput, signal }: FollowRequest,
): AsyncGenerator<FollowItem, void, void> {
  const path = RUN_EVENTS_PATH.replace('{run_id}', encodeURIComponent(run_id))
  const headers = { 'last-event-id': `${afterEvent}.${afterOutput}` }
  try {
    const answer = await succeeded(await ask({ method: 'GET', path, headers, signal }))
    for await (const { event, data } of readEvents(answer)) {
      const item = toItem(run_id, event, JSON.parse(data))
      yield item
      if (item.kind === 'end') return
    }
  } catch (error) {
    if (signal.aborted) return
    throw cutOff(error, 'MHV_SHUTTING_DOWN')
  }
  if (!signal.aborted) throw mhvError('MHV_SHUTTING_DOWN', 'the running instance ended before the run did')
}

function toItem(run_id: string, event: string, data: unknown): FollowItem {
  switch (event) {
    case 'event': {
      const { seq, at, type, data: facts } = data as Omit<RunEvent, 'at'> & { readonly at: string }
      return { kind: 'event', seq, event: { run_id, seq, at: Date.parse(at), type, data: facts } }
    }
    case 'output':
      return { kind: 'output', ...(data as Omit<Extract<FollowItem, { kind: 'output' }>, 'kind'>) }
    case 'progress':
      return { kind: 'progress', progress: data as Progress }
    case 'end':
      return { kind: 'end', run: data as WorkerResult }
    default:
      throw errorOf(data as Problem)
  }
}
