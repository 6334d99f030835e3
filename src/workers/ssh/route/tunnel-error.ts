import { type MhvError, mhvError } from '../../../core/errors.ts'
import { plainText } from '../remote-text.ts'

/** Reasons of SSH_MSG_CHANNEL_OPEN_FAILURE, RFC 4254 section 5.1. */
const PROHIBITED = 1
const CONNECT_FAILED = 2

/** What it means that a jump host opened no channel to the next host; `lost` says why the connection to it broke. */
export function tunnelError(error: Error & { reason?: unknown }, jumpHost: string, lost: string | undefined): MhvError {
  if (lost !== undefined) {
    return mhvError('MHV_SSH_CONNECT_FAILED', `the connection to the jump host ${jumpHost} was lost: ${lost}`)
  }
  const message = plainText(error.message).replace(/^\(SSH\) Channel open failure: /, '')
  if (error.reason === PROHIBITED) {
    return mhvError('MHV_SSH_JUMP_REFUSED', `the jump host ${jumpHost} does not lead on: ${message}`)
  }
  const cannot = `the jump host ${jumpHost} could not connect to it: ${message}`
  if (error.reason !== CONNECT_FAILED) return mhvError('MHV_SSH_CONNECT_FAILED', cannot)
  if (/refused/i.test(message)) return mhvError('MHV_SSH_CONNECT_REFUSED', cannot)
  return mhvError(/timed out/i.test(message) ? 'MHV_SSH_CONNECT_TIMEOUT' : 'MHV_SSH_CONNECT_FAILED', cannot)
}
