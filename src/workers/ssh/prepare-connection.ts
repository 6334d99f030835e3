import { MhvError } from '../../core/errors.ts'
import type { ConnectRequest, connectSsh } from './connect.ts'
import { connectTimeout } from './connect-errors.ts'
import type { SshConnection } from './connection.ts'
import { type LoginShell, noShell, probeLoginShell } from './login-shell.ts'

/** A connection that is ready for commands. */
export interface PreparedConnection {
  readonly connection: SshConnection
  readonly shell: LoginShell
}

/**
 * Connects, and where the target's login shell is not known yet, asks for it; both within `connect_timeout`. Throws
 * what `connectSsh` throws, and what `probeLoginShell` throws but for MHV_SSH_SHELL_UNSUPPORTED, which the shell says.
 */
export async function prepareConnection(
  request: ConnectRequest,
  known: LoginShell | undefined,
  signal: AbortSignal,
  connect: typeof connectSsh,
): Promise<PreparedConnection> {
  const { clock, log, settings, target } = request
  const until = clock.monotonic() + settings.connect_timeout * 1000
  const connection = await connect(request, signal)
  if (known) return { connection, shell: known }
  try {
    const shell = await probeLoginShell(connection, clock, until - clock.monotonic())
    log.debug('the login shell of a target', { host: connection.endpoint, shell: shell.path, posix: shell.posix })
    return { connection, shell }
  } catch (error) {
    if (error instanceof MhvError && error.code === 'MHV_SSH_SHELL_UNSUPPORTED' && connection.alive()) {
      return { connection, shell: noShell(error) }
    }
    // It counts until it is gone.
    await connection.close()
    const late = error instanceof MhvError && error.code === 'MHV_SSH_CONNECT_TIMEOUT'
    throw late ? connectTimeout(target, settings.connect_timeout, 'shell') : error
  }
}
