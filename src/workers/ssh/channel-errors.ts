import { type MhvError, mhvError } from '../../core/errors.ts'
import { plainText } from './remote-text.ts'
import { tunnelError } from './route/tunnel-error.ts'

/** What a channel is opened for. */
export type ChannelKind = 'exec' | 'pty' | 'sftp' | 'tunnel'

/**
 * What a channel that did not open means. ssh2 gives a refused channel a `reason`, and has one message for "the request
 * failed" and "the connection broke before its answer": `lost` says why the connection broke, where it did.
 */
export function channelError(
  error: Error & { reason?: unknown },
  kind: ChannelKind,
  endpoint: string,
  lost: string | undefined,
): MhvError {
  const message = plainText(error.message)
  if (kind === 'tunnel') return tunnelError(error, endpoint, lost)
  if ('reason' in error) {
    return mhvError('MHV_SSH_CHANNEL_REFUSED', `${endpoint} refused another channel: ${message}`)
  }
  if (lost === undefined) return requestError(message, kind, endpoint)
  // A terminal's or an SFTP server's beginning has no effect; a line that was sent may have one.
  if (/^Unable to (exec|open shell)$/.test(message) && kind !== 'sftp') {
    return mhvError(
      'MHV_SSH_CONNECTION_LOST',
      `the connection to ${endpoint} was lost as the command was sent: ${lost}`,
    )
  }
  return mhvError(
    'MHV_SSH_CONNECT_FAILED',
    `the connection to ${endpoint} was lost before the command was sent: ${lost}`,
  )
}

/** The connection is sound: the host has refused what was asked of it on the channel. */
function requestError(message: string, kind: ChannelKind, endpoint: string): MhvError {
  if (kind === 'sftp' && message !== 'Not connected') {
    return mhvError('MHV_SSH_SFTP_UNSUPPORTED', `${endpoint} has no SFTP for this user: ${message}`)
  }
  if (message === 'Unable to request agent forwarding') {
    return mhvError('MHV_SSH_FORWARD_REFUSED', `${endpoint} does not let this user forward an agent`)
  }
  if (message === 'Unable to request a pseudo-terminal') {
    return mhvError('MHV_SSH_PTY_REFUSED', `${endpoint} gives this user no terminal`)
  }
  if (/^Unable to (exec|open shell)$/.test(message)) {
    return mhvError('MHV_SSH_SHELL_UNSUPPORTED', `${endpoint} does not run commands for this user`)
  }
  return mhvError(
    'MHV_SSH_CONNECT_FAILED',
    `the connection to ${endpoint} was lost before the command was sent: ${message}`,
  )
}
