import type { ClientChannel } from 'ssh2'
import { mhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'
import type { ControlAnswer } from './control-exec.ts'
import { killScript } from './kill-script.ts'
import { type LoginShell, wrapForAnyShell } from './login-shell.ts'
import { type EndRequest, endSession, parseAnswer, type SessionEnd } from './remote-kill.ts'
import { newMarker } from './start-report.ts'
import { sudoLine } from './sudo.ts'
import { type Password, passwordLine } from './sudo-dialogue.ts'
import { createSudoScanner } from './sudo-scanner.ts'

export interface SudoEnd {
  readonly user: string
  readonly password: Password | undefined
}

/** Milliseconds for getting there, and for the script beyond the grace time; as in `remote-kill.ts`. */
const REACH_MS = 10_000
const SCRIPT_MS = 9_000
/** Bytes of the script's answer that are read. */
const MAX_BYTES = 256 * 1024

/**
 * Ends the session of a command that runs under sudo: its processes are another user's, so sudo is needed for that too.
 * Where it does not let us, or the session is not known, it is tried without, and told what could not be ended.
 * Never rejects.
 */
export async function endSudoSession(request: EndRequest, sudo: SudoEnd): Promise<SessionEnd> {
  if (request.pid !== undefined) {
    const end = await endBySudo(request, sudo).catch((error: unknown) => {
      request.log.warn('sudo could not be used to end a command', { run_id: request.runId, error: String(error) })
      return undefined
    })
    if (end !== undefined && end.remote !== 'unknown') return end
  }
  return endSession(request)
}

async function endBySudo(request: EndRequest, sudo: SudoEnd): Promise<SessionEnd> {
  const { pool, call, connection } = request
  const shell = pool.shellOf(connection)
  const giveBack = connection.alive() && shell !== undefined ? pool.spare(connection) : undefined
  if (shell !== undefined && giveBack !== undefined) {
    try {
      return parseAnswer(await runBySudo(request, sudo, connection, shell), true)
    } finally {
      giveBack()
    }
  }
  const calm = { ...call, signal: new AbortController().signal }
  const answer = await pool.extra(calm, REACH_MS, (other, itsShell) => runBySudo(request, sudo, other, itsShell))
  return parseAnswer(answer, false)
}

async function runBySudo(
  { pid, marker, runId, call, clock }: EndRequest,
  { user, password }: SudoEnd,
  connection: SshConnection,
  shell: LoginShell,
): Promise<ControlAnswer> {
  const grace = call.settings.kill_grace
  const prompt = password === undefined ? undefined : newMarker()
  const line = sudoLine(killScript({ session: pid, marker, runId, grace }), { user, prompt })
  const channel = await connection.exec(shell.posix ? line : wrapForAnyShell(line))
  const late = Promise.withResolvers<never>()
  const error = mhvError('MHV_SSH_CONNECT_TIMEOUT', `${connection.endpoint} did not end a command in time`)
  const cancel = clock.after(SCRIPT_MS + grace * 1000, () => late.reject(error))
  try {
    return await Promise.race([answerOf(channel, connection, prompt, password), late.promise])
  } finally {
    cancel()
    channel.close()
  }
}

function answerOf(
  channel: ClientChannel,
  connection: SshConnection,
  prompt: string | undefined,
  password: Password | undefined,
): Promise<ControlAnswer> {
  const pieces: Buffer[] = []
  let bytes = 0
  let prompts = 0
  const scanner = createSudoScanner(newMarker(), prompt, () => {
    prompts += 1
    if (password === undefined || prompts > 1) channel.end()
    else
      password()
        .then((secret) => channel.end(passwordLine(secret)))
        .catch(() => channel.end())
  })
  return new Promise((resolve) => {
    channel.on('data', (piece: Buffer) => {
      if (bytes < MAX_BYTES) pieces.push(piece)
      bytes += piece.length
    })
    channel.stderr.on('data', (piece: Buffer) => scanner.push(piece))
    channel.once('close', () => {
      const exit_code = connection.exitOf(channel)?.code ?? null
      resolve({ stdout: Buffer.concat(pieces).toString('utf8'), stderr: scanner.said(), exit_code })
    })
  })
}
