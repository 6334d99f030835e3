import { type MhvError, mhvError } from '../../../core/errors.ts'

/** Errors of the plan: nothing was written yet. */

export function badSource(path: string, why: string): MhvError {
  return mhvError('MHV_SSH_TRANSFER_SOURCE', `${JSON.stringify(path)} ${why}`, { details: { path } })
}

/** As in /proc: the size of such a file tells nothing, and what is in it would be taken for nothing. */
export function notEmpty(path: string): MhvError {
  return badSource(path, 'has content, though its size is 0: copy it to a plain file first')
}

export function badTarget(path: string, why: string): MhvError {
  return mhvError('MHV_SSH_TRANSFER_TARGET', `${JSON.stringify(path)} ${why}`, { details: { path } })
}

export function badName(path: string, why: string): MhvError {
  return mhvError('MHV_SSH_TRANSFER_NAME', `${JSON.stringify(path)} ${why}`, { details: { path } })
}

export function changed(path: string, how: string): MhvError {
  return mhvError('MHV_SSH_TRANSFER_CHANGED', `${JSON.stringify(path)} changed while it was being read: ${how}`, {
    details: { path },
  })
}

export function mismatch(path: string, how: string): MhvError {
  return mhvError('MHV_SSH_TRANSFER_MISMATCH', `${JSON.stringify(path)}: ${how}`, { details: { path } })
}
