import type { WorkerResult } from '../../core/result.ts'
import { controlCall } from '../../runtime/call-control.ts'
import type { CallParts } from './call-tool.ts'

/** What can be chosen where a target or a run is asked for. All of it is asked for as the caller, who may see it or not. */

/** Runs that are looked through, newest first; the protocol shows at most 100 choices. */
const LATEST_RUNS = 100

type Parts = Pick<CallParts, 'instance' | 'caller'>

/** The newest runs; none where nobody can tell: a list of choices is no place for errors. */
export async function latestRuns(parts: Parts, limit: number = LATEST_RUNS) {
  const { principal } = parts.caller
  const answer = await parts.instance
    .control(controlCall('run_list'), { input: { limit }, principal })
    .catch(() => ({ runs: [] }))
  return answer.runs as readonly Omit<WorkerResult, 'data' | 'output'>[]
}

/** Ids of the newest runs that begin so. */
export async function runIds(parts: Parts, beginning: string): Promise<string[]> {
  const wanted = beginning.toUpperCase()
  return (await latestRuns(parts)).map(({ run_id }) => run_id).filter((run_id) => run_id.startsWith(wanted))
}

/** Names of targets that begin so, in any case of letters. */
export async function targetNames(parts: Parts, beginning: string): Promise<string[]> {
  const { principal } = parts.caller
  const answer = await parts.instance
    .control(controlCall('worker_list'), { input: {}, principal })
    .catch(() => ({ workers: [] }))
  const workers = answer.workers as readonly { readonly targets: readonly string[] }[]
  const names = new Set(workers.flatMap(({ targets }) => targets))
  const wanted = beginning.toLowerCase()
  return [...names].filter((name) => name.toLowerCase().startsWith(wanted)).sort()
}
