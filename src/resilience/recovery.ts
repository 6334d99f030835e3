import type { MhvError } from '../core/errors.ts'
import type { RecoveryAction, RecoveryTable } from '../core/worker.ts'

/** The action for an error: by its code, then by its category; without one, the error is the end of the run. */
export function recoveryFor(table: RecoveryTable, error: Pick<MhvError, 'code' | 'spec'>): RecoveryAction | undefined {
  return table.codes[error.code] ?? table.categories[error.spec.category]
}

/** Whether somebody is to be told that a run ended with this error. */
export function wantsNotice(action: RecoveryAction | undefined): boolean {
  return action?.strategy === 'notify' || action?.notify === true
}
