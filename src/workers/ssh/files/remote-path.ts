import { z } from 'zod'
import { CONNECT_ERRORS } from '../connect-codes.ts'

/** Longest path that Linux takes, in characters here: an upper bound for what is sent. */
const MAX_PATH = 4_096

/** A path on the host as a caller gives it. */
export const remotePath = () =>
  z
    .string()
    .min(1)
    .max(MAX_PATH)
    .regex(/^[^\0]*$/, { error: 'must not contain a NUL character' })
    .refine((path) => path.isWellFormed(), { error: 'must be well-formed Unicode, without lone surrogates' })
    .refine((path) => path !== '~' && !path.startsWith('~/'), {
      error: 'relative paths start in the home folder: leave the ~ out',
    })

/** What every operation on files may end with. */
export const SFTP_ERRORS = [
  ...CONNECT_ERRORS,
  'MHV_SSH_CONNECTION_LOST',
  'MHV_SSH_CHANNEL_REFUSED',
  'MHV_SSH_POOL_EXHAUSTED',
  'MHV_SSH_SHELL_UNSUPPORTED',
  'MHV_SSH_SFTP_UNSUPPORTED',
  'MHV_SSH_SFTP_NOT_FOUND',
  'MHV_SSH_SFTP_PERMISSION',
  'MHV_SSH_SFTP_FAILED',
] as const

/** Seconds that one of them may take when the call names no timeout. */
export const SFTP_TIMEOUT = 60

/** Path of an entry of a folder. */
export function joinRemote(folder: string, name: string): string {
  if (folder === '.') return name
  return folder.endsWith('/') ? `${folder}${name}` : `${folder}/${name}`
}
