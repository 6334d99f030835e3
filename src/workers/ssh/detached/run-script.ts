import type { ClientChannel } from 'ssh2'
import { mhvError } from '../../../core/errors.ts'
import { abandon, type SshConnection } from '../connection.ts'
import { type LoginShell, wrapForAnyShell } from '../login-shell.ts'
import { openChannel } from '../open-channel.ts'
import type { PoolCall, SshPool } from '../pool.ts'

/** Most bytes of one stream of an answer: 4 MiB of a command's output, and what a profile says before. */
const MAX_ANSWER_BYTES = 5 * 1024 * 1024

/** What a script of our own said, in bytes. */
export interface ScriptAnswer {
  /** Behind the line of the answer. */
  readonly stdout: Buffer
  readonly stderr: Buffer
  /** The words of the answer. */
  readonly words: readonly string[]
  readonly connection: SshConnection
}

/**
 * Runs a script of our own over a place of the pool, waiting for one as a command does, and returns its whole answer: the
 * line that begins with `marker`, and the bytes behind it. What a profile says before that is left out.
 *
 * Throws what `openChannel` throws, MHV_SSH_CONNECTION_LOST where the answer is not complete,
 * MHV_SSH_COMMAND_UNCONFIRMED where it is none or longer than ours is, and the signal's reason.
 *
 * @param input goes to its standard input, which is ended then
 */
export async function runScript(
  pool: SshPool,
  call: PoolCall,
  marker: string,
  scriptFor: (shell: LoginShell) => string,
  input: Buffer = Buffer.alloc(0),
): Promise<ScriptAnswer> {
  const opening = openChannel(pool, call, (shell) => {
    const script = scriptFor(shell)
    return shell.posix ? script : wrapForAnyShell(script)
  })
  const aborted = Promise.withResolvers<never>()
  aborted.promise.catch(() => undefined)
  const onAbort = () => aborted.reject(call.signal.reason)
  if (call.signal.aborted) onAbort()
  else call.signal.addEventListener('abort', onAbort, { once: true })
  try {
    const channel = await Promise.race([opening.channel, aborted.promise])
    return await Promise.race([answerOf(channel, opening.sentOn() as SshConnection, marker, input), aborted.promise])
  } finally {
    call.signal.removeEventListener('abort', onAbort)
    opening.channel.then(abandon, () => undefined)
  }
}

async function answerOf(
  channel: ClientChannel,
  connection: SshConnection,
  marker: string,
  input: Buffer,
): Promise<ScriptAnswer> {
  const { endpoint } = connection
  const stdout = bytesOf(channel, endpoint)
  const stderr = bytesOf(channel.stderr, endpoint)
  channel.end(input)
  const [out, err] = await Promise.all([stdout, stderr])
  if (connection.wasCut(channel) || connection.exitOf(channel) === undefined) {
    throw mhvError('MHV_SSH_CONNECTION_LOST', `${endpoint}: the connection was lost while a script of our own ran`)
  }
  const needle = `${marker} `
  const start = out.indexOf(needle)
  const end = out.indexOf('\n', start)
  if (start < 0 || end < 0) {
    throw mhvError(
      'MHV_SSH_COMMAND_UNCONFIRMED',
      `${endpoint}: the shell ended without the answer of a script of our own`,
    )
  }
  const errStart = err.indexOf(`${marker}\n`)
  return {
    words: out.toString('utf8', start + needle.length, end).split(' '),
    stdout: out.subarray(end + 1),
    stderr: errStart < 0 ? Buffer.alloc(0) : err.subarray(errStart + marker.length + 1),
    connection,
  }
}

/** Rejects where there is more than an answer has; whoever asked abandons the channel then, and nothing more is kept. */
function bytesOf(stream: NodeJS.ReadableStream, endpoint: string): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  return new Promise((resolve, reject) => {
    stream.on('data', (piece: Buffer) => {
      length += piece.length
      if (length <= MAX_ANSWER_BYTES) {
        pieces.push(piece)
        return
      }
      pieces.length = 0
      reject(
        mhvError('MHV_SSH_COMMAND_UNCONFIRMED', `${endpoint}: it answers a script of our own with more than that says`),
      )
    })
    stream.once('close', () => resolve(Buffer.concat(pieces)))
  })
}
