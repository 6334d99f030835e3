import type { ClientChannel } from 'ssh2'
import { type MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'
import type { LoginShell } from './login-shell.ts'
import type { Lease, PoolCall, SshPool } from './pool.ts'

/** A channel on its way. */
export interface OpeningChannel {
  readonly channel: Promise<ClientChannel>
  /** The connection over which the line was sent, or may have been; undefined while it certainly was not. */
  sentOn(): SshConnection | undefined
}

/**
 * Waits for a place and sends the line that fits the host's login shell. A host that refuses another channel gets the
 * line again when one of the others has closed: a refused channel has run nothing.
 */
export function openChannel(pool: SshPool, call: PoolCall, lineFor: (shell: LoginShell) => string): OpeningChannel {
  let sentOn: SshConnection | undefined

  async function send(lease: Lease): Promise<ClientChannel> {
    let line: string
    try {
      if (call.signal.aborted) throw abortedBeforeSending(call.signal.reason)
      line = lineFor(lease.shell)
    } catch (error) {
      lease.release()
      throw error
    }
    sentOn = lease.connection
    return lease.exec(line)
  }

  async function open(): Promise<ClientChannel> {
    let lease = await pool.acquire(call)
    for (;;) {
      try {
        return await send(lease)
      } catch (error) {
        const delay = lease.retryDelay()
        if (delay === undefined) throw error
        sentOn = undefined
        // Not by the signal: the pool is asked next, and it says what an abort means here.
        if (delay > 0) await pool.clock.sleep(delay)
        lease = await pool.acquire(call, true)
      }
    }
  }

  return { channel: open(), sentOn: () => sentOn }
}

function abortedBeforeSending(reason: unknown): MhvError {
  const code = toMhvError(reason).code === 'MHV_RUN_TIMEOUT' ? 'MHV_RUN_QUEUE_TIMEOUT' : 'MHV_RUN_CANCELLED_QUEUED'
  return mhvError(code, 'the run was ended before the command was sent', { cause: reason })
}
