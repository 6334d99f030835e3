import type { Duplex } from 'node:stream'
import type { Client, ClientChannel, SFTPWrapper } from 'ssh2'
import { type ChannelKind, channelError } from './channel-errors.ts'
import { guardFlow } from './flow-guard.ts'
import { plainText } from './remote-text.ts'

/** One authenticated connection. Counting its channels is the pool's business. */
export interface SshConnection {
  /** For what is no exec: SFTP, terminals, tunnels. */
  readonly client: Client
  /** `host:port`, for messages. */
  readonly endpoint: string
  /** Connections that it holds: itself and those to its jump hosts. */
  readonly sockets: number
  alive(): boolean
  /** Calls back once, as soon as the connection is lost or closed; at once if it already is. Returns what forgets it. */
  onLost(listener: () => void): () => void
  /**
   * Runs a line by the login shell. Throws MHV_SSH_CHANNEL_REFUSED, MHV_SSH_CONNECT_FAILED (lost before the line was
   * sent), MHV_SSH_CONNECTION_LOST (lost when it may have been), MHV_SSH_SHELL_UNSUPPORTED (the host runs no commands).
   */
  exec(line: string): Promise<ClientChannel>
  /**
   * Starts the host's SFTP server. Nothing has an effect before it resolves. Throws MHV_SSH_CHANNEL_REFUSED,
   * MHV_SSH_CONNECT_FAILED (lost meanwhile), MHV_SSH_SFTP_UNSUPPORTED.
   */
  sftp(): Promise<SFTPWrapper>
  /** Opens a terminal, for the login shell or a line; throws what `exec` throws, and MHV_SSH_PTY_REFUSED. */
  pty(request: PtyRequest): Promise<ClientChannel>
  /**
   * Opens a channel to another host as this one sees it. Throws MHV_SSH_CONNECT_REFUSED, _CONNECT_TIMEOUT or
   * _CONNECT_FAILED (it cannot be reached from here, or the connection was lost), MHV_SSH_JUMP_REFUSED (not allowed).
   */
  forward(host: string, port: number): Promise<ClientChannel>
  /** The exit status of a channel, once it has come. */
  exitOf(channel: ClientChannel): CommandExit | undefined
  /** Whether the connection broke while the channel could still have brought output. */
  wasCut(channel: ClientChannel | SFTPWrapper): boolean
  /** Resolves when its sockets have closed, whatever closed them; never rejects. */
  readonly gone: Promise<void>
  /** Whether the host answers within so many milliseconds; costs it nothing. */
  ping(timeoutMs: number): Promise<boolean>
  /** Says goodbye and closes; does not wait for longer than a second. */
  close(): Promise<void>
}

export interface PtyRequest {
  /** As in TERM: `xterm-256color`. */
  readonly term: string
  readonly rows: number
  readonly cols: number
  /** A line for the login shell; without it, the shell itself. */
  readonly command?: string
}

/** The parts of ssh2's client that send what its own keepalive sends: https://github.com/mscdex/ssh2, lib/client.js. */
interface GlobalRequests {
  readonly _protocol: { ping(): void }
  readonly _callbacks: (() => void)[]
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

type Done<C> = (error: Error | undefined, channel: C) => void
type Begin<C> = (done: Done<C>) => void

/** `through` is the connection to the jump host that carries this one; it belongs to this one and ends with it. */
export function createConnection(
  client: Client,
  socket: Duplex,
  endpoint: string,
  through?: SshConnection,
): SshConnection {
  const channels = new Set<ClientChannel | SFTPWrapper>()
  const cut = new WeakSet<ClientChannel | SFTPWrapper>()
  const exits = new WeakMap<ClientChannel, CommandExit>()
  const listeners = new Set<() => void>()
  let lost = false
  let why = 'the host closed it'

  /**
   * Runs before ssh2's own listeners on the socket. They make its protocol object throw on every write, and a channel
   * that still wants to acknowledge bytes or say goodbye would bring the process down: so its way out is shut first.
   */
  function lose(): void {
    if (lost) return
    lost = true
    if (through?.alive() === false) why = `the connection to the jump host ${through.endpoint} was lost`
    for (const channel of channels) {
      const ends = channel as unknown as ChannelEnds
      if (ends.incoming.state === 'open') cut.add(channel)
      ends.outgoing.state = 'closed'
    }
    channels.clear()
    const told = [...listeners]
    listeners.clear()
    for (const listener of told) listener()
    void through?.close()
  }

  const closed = new Promise<void>((resolve) => {
    if (socket.closed) resolve()
    else socket.once('close', () => resolve())
  })
  const gone = through === undefined ? closed : closed.then(() => through.gone)

  socket.prependListener('end', lose)
  socket.prependListener('close', lose)
  socket.prependListener('error', (error) => {
    why = plainText(error.message)
    lose()
  })
  function breakOff(reason: string): void {
    if (!lost) why = reason
    lose()
    socket.destroy()
  }
  client.on('error', (error) => breakOff(plainText(error.message)))
  guardFlow(client, socket, breakOff)

  /** Starts a channel. ssh2 throws, or calls back with an error, or with what was opened. */
  function start<C extends ClientChannel | SFTPWrapper>(kind: ChannelKind, begin: Begin<C>): Promise<C> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => reject(channelError(error, kind, endpoint, lost ? why : undefined))
      try {
        begin((error, channel) => {
          if (error) return fail(error)
          channels.add(channel)
          channel.on('error', ignore)
          channel.once('close', () => channels.delete(channel))
          resolve(channel)
        })
      } catch (error) {
        fail(error as Error)
      }
    })
  }

  function startCommand(kind: ChannelKind, begin: Begin<ClientChannel>): Promise<ClientChannel> {
    return start(kind, (done: Done<ClientChannel>) =>
      begin((error, channel) => {
        if (error) return done(error, channel)
        // Here and now: a quick command's exit status is in the same packet, read before any promise goes on.
        channel.on('exit', (code: number | null, signal?: string) => {
          exits.set(channel, { code, signal: code === null ? (signal ?? 'unknown').replace(/^SIG/, '') : null })
        })
        channel.stderr.on('error', ignore)
        done(undefined, channel)
      }),
    )
  }

  return {
    client,
    endpoint,
    sockets: 1 + (through?.sockets ?? 0),
    alive: () => !lost,
    onLost(listener) {
      if (lost) listener()
      else listeners.add(listener)
      return () => listeners.delete(listener)
    },
    exec: (line) => startCommand('exec', (done) => client.exec(line, done)),
    sftp: () => start('sftp', (done) => client.sftp(done)),
    pty: ({ command, term, rows, cols }) =>
      startCommand('pty', (done) => {
        if (command === undefined) client.shell({ term, rows, cols }, done)
        else client.exec(command, { pty: { term, rows, cols } }, done)
      }),
    // The source address is only for the host's log; ours is nobody's business there.
    forward: (host, port) => start('tunnel', (done) => client.forwardOut('127.0.0.1', 0, host, port, done)),
    exitOf: (channel) => exits.get(channel),
    wasCut: (channel) => cut.has(channel),
    gone,
    ping(timeoutMs) {
      if (lost) return Promise.resolve(false)
      const requests = client as unknown as GlobalRequests
      return new Promise((resolve) => {
        const answer = (alive: boolean) => {
          clearTimeout(timer)
          listeners.delete(onLoss)
          resolve(alive)
        }
        const onLoss = () => answer(false)
        const timer = setTimeout(onLoss, timeoutMs)
        listeners.add(onLoss)
        // Whatever it answers, it is there; requests are answered in their order.
        requests._callbacks.push(() => answer(true))
        requests._protocol.ping()
      })
    },
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
