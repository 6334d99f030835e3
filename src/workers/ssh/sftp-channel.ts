import type { SFTPWrapper } from 'ssh2'
import { mhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'

/** One SFTP session: a channel on a connection, open until it is closed. */
export interface SftpChannel {
  readonly wrapper: SFTPWrapper
  /**
   * Sends one request and returns its answer. A request whose channel has ended is never called back by ssh2: this
   * rejects with MHV_SSH_CONNECTION_LOST instead. Errors of the server come as they are: `SFTPError` with a `code`.
   */
  ask<T = void>(request: (done: SftpDone<T>) => void): Promise<T>
  /**
   * Ends the session: requests on their way reject at once, also where the host does not answer any more. `closed`
   * resolves when the host has confirmed it or the connection has gone.
   */
  close(): void
  /** Resolves when the channel has ended, however that came; never rejects. */
  readonly closed: Promise<void>
  /** Whether the connection broke while the session was open. */
  wasCut(): boolean
}

export type SftpDone<T> = (error: Error | undefined | null, value: T) => void

/**
 * What ssh2 says to requests that were on their way when the session ended, before the session says so itself. No
 * answer of the server: those have a code. Whether they were carried out is unknown.
 */
const UNANSWERED = 'No response from server'

export function createSftpChannel(wrapper: SFTPWrapper, connection: SshConnection): SftpChannel {
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  const open = new Set<(error: Error) => void>()
  let ended = false
  let closing = false
  let forget: () => void = () => undefined
  let why = 'the session was closed'

  const lost = () => mhvError('MHV_SSH_CONNECTION_LOST', `${connection.endpoint}: the SFTP session has ended: ${why}`)

  function failAll(): void {
    for (const fail of [...open]) fail(lost())
  }

  function end(): void {
    if (ended) return
    ended = true
    forget()
    if (connection.wasCut(wrapper)) why = 'the connection was lost'
    failAll()
    resolve()
  }

  // An answer that is none: ssh2 ends the session by itself.
  wrapper.on('error', (error: Error) => {
    why = error.message
  })
  wrapper.once('close', end)
  forget = connection.onLost(end)

  return {
    wrapper,
    ask<T>(request: (done: SftpDone<T>) => void) {
      return new Promise<T>((succeed, reject) => {
        if (ended || closing) return reject(lost())
        const settle = () => open.delete(fail)
        const fail = (error: Error) => {
          settle()
          reject(error)
        }
        open.add(fail)
        try {
          request((error, value) => {
            if (error) return fail(error.message === UNANSWERED && !('code' in error) ? lost() : error)
            settle()
            succeed(value)
          })
        } catch (error) {
          fail(error as Error)
        }
      })
    },
    close() {
      closing = true
      wrapper.end()
      failAll()
    },
    closed,
    wasCut: () => connection.wasCut(wrapper),
  }
}
