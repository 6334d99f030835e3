import { toMhvError } from '../../core/errors.ts'
import { canResume } from '../../core/operation.ts'
import { RunDeadline } from '../../resilience/deadline.ts'
import type { RuntimeParts } from '../runtime.ts'
import { callOperation, type RunToAttempt } from './call-operation.ts'

/** How long an operation may take to tidy up behind a run that has ended, in milliseconds. */
const SETTLE_MS = 10_000

/**
 * Lets an operation remove what it had kept on the far side so that its run could be taken up again: the end of the run
 * is in the journal now. Never rejects; the run is what it is.
 */
export async function settleRun(parts: RuntimeParts, run: RunToAttempt): Promise<void> {
  const { operation, input } = run.call
  const { spec, worker } = operation
  if (spec.settle === undefined || !canResume(spec, input)) return
  // The run's own time may be over.
  const deadline = new RunDeadline(parts.clock, parts.clock.now() + SETTLE_MS)
  deadline.arm()
  try {
    const { connection } = await parts.instances.get(worker)
    await callOperation(parts, { ...run, deadline }, { attempt: run.attemptsBefore + 1, connection }, async (context) =>
      spec.settle?.(context, input),
    )
  } catch (error) {
    parts.log.warn('what a run had kept on the far side could not be removed', {
      run_id: run.run_id,
      error: toMhvError(error).message,
    })
  } finally {
    deadline.clear()
  }
}
