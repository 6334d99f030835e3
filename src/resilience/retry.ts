import type { MhvError } from '../core/errors.ts'
import type { RecoveryAction, RecoveryTable } from '../core/worker.ts'

/** The action for an error: by its code, then by its category; without one, nothing is tried again. */
export function recoveryFor(table: RecoveryTable, error: MhvError): RecoveryAction | undefined {
  return table.codes[error.code] ?? table.categories[error.spec.category]
}

/**
 * Whether another attempt is safe and wanted: the recovery table asks for it, attempts are left, and either the error
 * says that nothing was applied, or doing it twice is the same as doing it once.
 */
export function mayRetry(question: {
  readonly error: MhvError
  readonly attempt: number
  readonly idempotent: boolean
  readonly recovery: RecoveryTable
}): boolean {
  const { error, attempt, idempotent, recovery } = question
  const action = recoveryFor(recovery, error)
  if (action?.strategy !== 'retry' || attempt >= action.max_attempts) return false
  return error.spec.phase === 'before-effect' || (idempotent && error.spec.phase === 'unknown')
}
