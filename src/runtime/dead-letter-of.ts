import { mhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { needsAcknowledgement, replayDelayMs } from '../resilience/dead-letters.ts'
import { recoveryFor } from '../resilience/recovery.ts'
import type { NewDeadLetter } from '../store/dead-letter.ts'
import type { RunEnd, RunFacts } from '../store/store.ts'
import type { RuntimeParts } from './runtime.ts'

export type DeadLetterParts = Pick<RuntimeParts, 'registry' | 'environment' | 'clock'>

/**
 * The dead letter of a run that ended, written together with its end; undefined where there is none to keep: it did not
 * fail, it only reads, it was cancelled, its worker's recovery table says `skip`, its worker is gone, or it is a replay,
 * which counts for the letter that it replays.
 */
export function deadLetterOf(parts: DeadLetterParts, facts: RunFacts, end: RunEnd): NewDeadLetter | undefined {
  if (end.status !== 'failed' && end.status !== 'timeout') return undefined
  if (facts.effect === 'read' || facts.replay_of !== null || end.error_code === null) return undefined
  const operation = parts.registry.operations.find(({ id }) => id === facts.operation)
  if (operation === undefined) return undefined
  if (recoveryFor(operation.worker.recovery, mhvError(end.error_code, ''))?.strategy === 'skip') return undefined
  const { policy, max_replays, max_count, max_bytes, overflow, ...delays } = parts.environment.deadLetters(facts.worker)
  const { effect_certainty } = end
  const byItself = !needsAcknowledgement({ idempotent: operation.spec.idempotent, effect_certainty })
  const delay = byItself ? replayDelayMs(policy, 0, delays) : null
  return {
    id: newId(parts.clock),
    policy,
    max_replays,
    next_at: delay === null ? null : parts.clock.now() + delay,
    limits: { max_count, max_bytes, overflow },
  }
}
