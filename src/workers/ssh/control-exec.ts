import type { ClientChannel } from 'ssh2'
import type { Clock } from '../../core/clock.ts'
import { type MhvError, mhvError } from '../../core/errors.ts'
import { abandon, type SshConnection } from './connection.ts'

/** What a short line of our own said. */
export interface ControlAnswer {
  readonly stdout: string
  readonly stderr: string
  /** Null where the channel ended without one. */
  readonly exit_code: number | null
}

export interface ControlOptions {
  readonly clock: Clock
  /** For everything: the channel, the line, its end. */
  readonly timeoutMs: number
  /** For the channel alone: a connection that is silent for longer is taken for dead. */
  readonly openTimeoutMs?: number
}

const MAX_BYTES = 256 * 1024

/**
 * Runs a short line of our own (a question, the end of a session) and returns what it said, at most 256 KiB of each
 * stream. Throws what `SshConnection.exec` throws, MHV_SSH_CONNECT_TIMEOUT when it takes too long, and
 * MHV_SSH_CONNECTION_LOST when the connection breaks meanwhile.
 */
export async function controlExec(
  connection: SshConnection,
  line: string,
  { clock, timeoutMs, openTimeoutMs = timeoutMs }: ControlOptions,
): Promise<ControlAnswer> {
  const until = clock.monotonic() + timeoutMs
  const opening = connection.exec(line)
  const late = () => mhvError('MHV_SSH_CONNECT_TIMEOUT', `${connection.endpoint} did not answer a question in time`)
  const channel = await within(opening, clock, Math.min(openTimeoutMs, timeoutMs), late).catch((error) => {
    // It may still open: nobody waits for it any more.
    opening.then(abandon, () => undefined)
    throw error
  })
  try {
    return await within(answerOf(channel, connection), clock, until - clock.monotonic(), late)
  } catch (error) {
    abandon(channel)
    throw error
  }
}

function answerOf(channel: ClientChannel, connection: SshConnection): Promise<ControlAnswer> {
  return new Promise((resolve, reject) => {
    const stdout = keep(channel)
    const stderr = keep(channel.stderr)
    let open = 2
    const closed = () => {
      if (--open > 0) return
      if (connection.wasCut(channel)) reject(mhvError('MHV_SSH_CONNECTION_LOST', `${connection.endpoint} was lost`))
      else resolve({ stdout: stdout(), stderr: stderr(), exit_code: connection.exitOf(channel)?.code ?? null })
    }
    channel.once('close', closed)
    channel.stderr.once('close', closed)
    channel.eof()
  })
}

function keep(stream: NodeJS.ReadableStream): () => string {
  const pieces: Buffer[] = []
  let bytes = 0
  stream.on('data', (piece: Buffer) => {
    if (bytes < MAX_BYTES) pieces.push(piece)
    bytes += piece.length
  })
  return () => Buffer.concat(pieces).toString('utf8')
}

function within<T>(work: Promise<T>, clock: Clock, ms: number, late: () => MhvError): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => reject(late()))
    work.then(resolve, reject).finally(cancel)
  })
}
