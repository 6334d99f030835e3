import type { Socket } from 'node:net'
import type { Client, ClientChannel } from 'ssh2'
import { type MhvError, mhvError } from '../../core/errors.ts'
import { plainText } from './remote-text.ts'

/** One authenticated connection. Counting its channels is the pool's business. */
export interface SshConnection {
  /** For what is no exec: SFTP, terminals, tunnels. */
  readonly client: Client
  /** `host:port`, for messages. */
  readonly endpoint: string
  alive(): boolean
  /** Calls back once, as soon as the connection is lost or closed; at once if it already is. */
  onLost(listener: () => void): void
  /**
   * Runs a line by the login shell. Throws MHV_SSH_CHANNEL_REFUSED, MHV_SSH_CONNECT_FAILED (lost before the line was
   * sent), MHV_SSH_CONNECTION_LOST (lost when it may have been), MHV_SSH_SHELL_UNSUPPORTED (the host runs no commands).
   */
  exec(line: string): Promise<ClientChannel>
  /** The exit status of a channel, once it has come. */
  exitOf(channel: ClientChannel): CommandExit | undefined
  /** Whether the connection broke while the channel could still have brought output. */
  wasCut(channel: ClientChannel): boolean
  /** Says goodbye and closes; does not wait for longer than a second. */
  close(): Promise<void>
}

/** As the host sent it: a code, or the signal that ended the process, without `SIG`. */
export interface CommandExit {
  readonly code: number | null
  readonly signal: string | null
}

/** The parts of ssh2's channel that are in no type: https://github.com/mscdex/ssh2, lib/Channel.js. */
interface ChannelEnds {
  readonly incoming: { state: 'open' | 'eof' | 'closing' | 'closed' }
  readonly outgoing: { state: 'open' | 'eof' | 'closing' | 'closed' }
}

const CLOSE_MS = 1_000

export function createConnection(client: Client, socket: Socket, endpoint: string): SshConnection {
  const channels = new Set<ClientChannel>()
  const cut = new WeakSet<ClientChannel>()
  const exits = new WeakMap<ClientChannel, CommandExit>()
  const listeners: (() => void)[] = []
  let lost = false
  let why = 'the host closed it'

  /**
   * Runs before ssh2's own listeners on the socket. They make its protocol object throw on every write, and a channel
   * that still wants to acknowledge bytes or say goodbye would bring the process down: so its way out is shut first.
   */
  function lose(): void {
    if (lost) return
    lost = true
    for (const channel of channels) {
      const ends = channel as unknown as ChannelEnds
      if (ends.incoming.state === 'open') cut.add(channel)
      ends.outgoing.state = 'closed'
    }
    channels.clear()
    for (const listener of listeners.splice(0)) listener()
  }

  socket.prependListener('end', lose)
  socket.prependListener('close', lose)
  socket.prependListener('error', (error) => {
    why = plainText(error.message)
    lose()
  })
  client.on('error', (error) => {
    why = plainText(error.message)
    lose()
    socket.destroy()
  })

  function execError(error: Error & { reason?: unknown }): MhvError {
    const message = plainText(error.message)
    if ('reason' in error) {
      return mhvError('MHV_SSH_CHANNEL_REFUSED', `${endpoint} refused another channel: ${message}`)
    }
    // ssh2 has one message for "the request failed" and "the connection broke before its answer".
    const requested = error.message === 'Unable to exec'
    if (requested && !lost) {
      return mhvError('MHV_SSH_SHELL_UNSUPPORTED', `${endpoint} does not run commands for this user`)
    }
    if (requested) {
      return mhvError(
        'MHV_SSH_CONNECTION_LOST',
        `the connection to ${endpoint} was lost as the command was sent: ${why}`,
      )
    }
    return mhvError(
      'MHV_SSH_CONNECT_FAILED',
      `the connection to ${endpoint} was lost before the command was sent: ${why}`,
    )
  }

  return {
    client,
    endpoint,
    alive: () => !lost,
    onLost(listener) {
      if (lost) listener()
      else listeners.push(listener)
    },
    exec(line) {
      return new Promise((resolve, reject) => {
        const onAnswer = (error: Error | undefined, channel: ClientChannel) => {
          if (error) return reject(execError(error))
          channels.add(channel)
          // Here and now: a quick command's exit status is in the same packet, read before any promise goes on.
          channel.on('exit', (code: number | null, signal?: string) => {
            exits.set(channel, { code, signal: code === null ? (signal ?? 'unknown').replace(/^SIG/, '') : null })
          })
          channel.once('close', () => channels.delete(channel))
          channel.on('error', ignore)
          channel.stderr.on('error', ignore)
          resolve(channel)
        }
        try {
          client.exec(line, onAnswer)
        } catch (error) {
          reject(execError(error as Error))
        }
      })
    },
    exitOf: (channel) => exits.get(channel),
    wasCut: (channel) => cut.has(channel),
    close() {
      return new Promise((resolve) => {
        if (socket.destroyed) return resolve()
        const timer = setTimeout(() => socket.destroy(), CLOSE_MS)
        socket.once('close', () => {
          clearTimeout(timer)
          resolve()
        })
        client.end()
      })
    },
  }
}

/**
 * Closes a channel that nobody reads (any more). What still comes is read and dropped: ssh2 tells that a channel has
 * closed only when its output was read to the end.
 */
export function abandon(channel: ClientChannel): void {
  for (const stream of [channel, channel.stderr]) {
    stream.removeAllListeners('data')
    stream.resume()
  }
  channel.close()
}

/** The channel's end says it: a broken connection closes it without an exit status. */
function ignore(): void {}
