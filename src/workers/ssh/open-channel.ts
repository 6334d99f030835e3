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
      if (lease.shell.refusal !== undefined) throw lease.shell.refusal
      line = lineFor(lease.shell)
    } catch (error) {
      lease.release()
      throw error
    }
    sentOn = lease.connection
    return lease.exec(line)
  }

  const channel = openPlace(pool, call, send, () => {
    sentOn = undefined
  })
  return { channel, sentOn: () => sentOn }
}

/** Connections that may be lost in the moment in which they are lent, before it is an error. */
const MOST_LOST = 3

/**
 * Waits for a place and opens something on it. Where the host refuses another channel it is tried again when one of the
 * others has closed; `again` is called before that.
 */
export async function openPlace<T>(
  pool: SshPool,
  call: PoolCall,
  open: (lease: Lease) => Promise<T>,
  again: () => void = () => undefined,
): Promise<T> {
  let lease = await pool.acquire(call)
  for (let lost = 0; ; ) {
    try {
      return await open(lease)
    } catch (error) {
      const delay = lease.retryDelay()
      if (delay === undefined || (!lease.connection.alive() && ++lost > MOST_LOST)) throw error
      again()
      // Not by the signal: the pool is asked next, and it says what an abort means here.
      if (delay > 0) await pool.clock.sleep(delay)
      lease = await pool.acquire(call, true)
    }
  }
}

function abortedBeforeSending(reason: unknown): MhvError {
  const code = toMhvError(reason).code === 'MHV_RUN_TIMEOUT' ? 'MHV_RUN_QUEUE_TIMEOUT' : 'MHV_RUN_CANCELLED_QUEUED'
  return mhvError(code, 'the run was ended before the command was sent', { cause: reason })
}
