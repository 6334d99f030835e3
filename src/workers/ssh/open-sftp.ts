import { toMhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'
import type { LoginShell } from './login-shell.ts'
import { openPlace } from './open-channel.ts'
import type { Lease, PoolCall, SshPool } from './pool.ts'
import type { SftpChannel } from './sftp-channel.ts'

/** An SFTP session on its place. */
export interface OpenSftp {
  readonly sftp: SftpChannel
  readonly lease: Lease
}

/**
 * Waits for a place as a command does, asks again where the host refuses another channel, and opens an SFTP session. A
 * host that never says that it has one is not waited for beyond the signal; should it say so later, the session is
 * ended. Throws what `pool.acquire` and `Lease.sftp` throw (all of it before any effect), and the signal's reason.
 */
export async function openSftp(pool: SshPool, call: PoolCall): Promise<OpenSftp> {
  const { signal } = call
  const opening = openPlace(pool, call, async (lease) => ({ sftp: await lease.sftp(), lease }))
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  aborted.catch(() => undefined)
  const onAbort = () => {
    opening.then(
      ({ sftp }) => sftp.close(),
      () => undefined,
    )
    reject(signal.reason)
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([opening, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/**
 * Lends an SFTP session, and ends it when `use` has ended or the signal is aborted. A request that is on its way then
 * rejects with MHV_SSH_CONNECTION_LOST, so `use` does not outlive its session. Throws what `openSftp` throws, and what
 * `use` throws.
 */
export async function withSftp<T>(
  pool: SshPool,
  call: PoolCall,
  use: (sftp: SftpChannel, connection: SshConnection, shell: LoginShell) => Promise<T>,
): Promise<T> {
  const { sftp, lease } = await openSftp(pool, call)
  const onAbort = () => sftp.close()
  if (call.signal.aborted) onAbort()
  else call.signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await use(sftp, lease.connection, lease.shell)
  } catch (error) {
    throw endedByUs(call.signal, error) ? call.signal.reason : error
  } finally {
    call.signal.removeEventListener('abort', onAbort)
    sftp.close()
  }
}

/** The session was ended because the run was, and not lost. A reason that says that nothing was done is not known to be true. */
function endedByUs({ aborted, reason }: AbortSignal, error: unknown): boolean {
  return (
    aborted && toMhvError(error).code === 'MHV_SSH_CONNECTION_LOST' && toMhvError(reason).spec.phase !== 'before-effect'
  )
}
