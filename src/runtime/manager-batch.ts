import { mhvError } from '../core/errors.ts'
import type { ManagerTask, TaskResult } from './manager-types.ts'

/** One task of a batch, and who does it. */
export interface Assignment {
  readonly worker_id: string
  readonly task: ManagerTask
}

/**
 * Who does what in a batch, in the order of its results:
 * - one task for several workers: each of them does it, in the order of the workers;
 * - as many tasks as workers: pairs;
 * - more tasks than workers: round robin, task `i` by worker `i mod workers`.
 *
 * A worker may be named more than once. Several tasks for even more workers are refused: nobody could say which of the
 * workers are meant.
 */
export function assign(worker_ids: readonly string[], tasks: readonly ManagerTask[]): readonly Assignment[] {
  if (tasks.length === 0) return []
  if (worker_ids.length === 0) throw mhvError('MHV_INPUT_INVALID', 'worker_ids: a batch needs at least one worker')
  const [only] = tasks
  if (tasks.length === 1 && only !== undefined) return worker_ids.map((worker_id) => ({ worker_id, task: only }))
  if (worker_ids.length > tasks.length) {
    throw mhvError(
      'MHV_INPUT_INVALID',
      `prompts: ${tasks.length} for ${worker_ids.length} workers; give one for all, one for each, or more than workers`,
    )
  }
  return tasks.map((task, index) => ({ worker_id: worker_ids[index % worker_ids.length] as string, task }))
}

/**
 * Does all assignments: those of different workers side by side, those of one worker one after the other. The results
 * stand in the order of the assignments, one for each, whatever became of it.
 */
export async function performAll(
  assignments: readonly Assignment[],
  perform: (assignment: Assignment, index: number) => Promise<TaskResult>,
): Promise<TaskResult[]> {
  const results = new Array<TaskResult>(assignments.length)
  const lanes = Map.groupBy(assignments.keys(), (index) => assignments[index]?.worker_id)
  const drive = async (lane: readonly number[]) => {
    // One by one: a batch of any length never lies in a worker's queue, and others get their turns between.
    for (const index of lane) results[index] = await perform(assignments[index] as Assignment, index)
  }
  await Promise.all([...lanes.values()].map(drive))
  return results
}
