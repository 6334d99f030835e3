import type { ErrorCode } from '../../core/error-table.ts'

/** What every operation that needs a host may end with before it has an effect: the errors of `connectSsh`. */
export const CONNECT_ERRORS = [
  'MHV_SSH_KNOWN_HOSTS_UNREADABLE',
  'MHV_SSH_HOST_KEY_UNKNOWN',
  'MHV_SSH_HOST_KEY_CHANGED',
  'MHV_SSH_HOST_KEY_REVOKED',
  'MHV_SSH_CONFIG_INVALID',
  'MHV_SSH_JUMP_INVALID',
  'MHV_SSH_JUMP_REFUSED',
  'MHV_SSH_FORWARD_REFUSED',
  'MHV_SSH_AUTH_FAILED',
  'MHV_SSH_KEY_INVALID',
  'MHV_SSH_CONNECT_REFUSED',
  'MHV_SSH_CONNECT_TIMEOUT',
  'MHV_SSH_CONNECT_FAILED',
  'MHV_SECRET_UNRESOLVED',
  'MHV_NO_DESCRIPTORS',
] as const satisfies readonly ErrorCode[]
