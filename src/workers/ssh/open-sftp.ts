import { toMhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'
import type { LoginShell } from './login-shell.ts'
import { openPlace } from './open-channel.ts'
import type { PoolCall, SshPool } from './pool.ts'
import type { SftpChannel } from './sftp-channel.ts'

/**
 * Lends an SFTP session: waits for a place as a command does, asks again where the host refuses another channel, and
 * ends the session when `use` has ended or the signal is aborted. A request that is on its way then rejects with
 * MHV_SSH_CONNECTION_LOST, so `use` does not outlive its session. Throws what `pool.acquire` and `Lease.sftp` throw (all of it
 * before any effect), the signal's reason, and what `use` throws.
 */
export async function withSftp<T>(
  pool: SshPool,
  call: PoolCall,
  use: (sftp: SftpChannel, connection: SshConnection, shell: LoginShell) => Promise<T>,
): Promise<T> {
  const opening = openPlace(pool, call, (lease) => lease.sftp().then((sftp) => ({ sftp, lease })))
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  aborted.catch(() => undefined)
  const onAbort = () => {
    // Also one that is still to come: nobody waits for it any more.
    opening.then(
      ({ sftp }) => sftp.close(),
      () => undefined,
    )
    reject(call.signal.reason)
  }
  call.signal.addEventListener('abort', onAbort, { once: true })
  if (call.signal.aborted) onAbort()
  try {
    const { sftp, lease } = await Promise.race([opening, aborted])
    try {
      return await use(sftp, lease.connection, lease.shell)
    } catch (error) {
      throw endedByUs(call.signal, error) ? call.signal.reason : error
    } finally {
      sftp.close()
    }
  } finally {
    call.signal.removeEventListener('abort', onAbort)
  }
}

/** The session was ended because the run was, and not lost. A reason that says that nothing was done is not known to be true. */
function endedByUs({ aborted, reason }: AbortSignal, error: unknown): boolean {
  return (
    aborted && toMhvError(error).code === 'MHV_SSH_CONNECTION_LOST' && toMhvError(reason).spec.phase !== 'before-effect'
  )
}
