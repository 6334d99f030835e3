import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/context.ts'
import { MhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'
import { type ControlAnswer, controlExec } from './control-exec.ts'
import { KILL_REPORT, killScript } from './kill-script.ts'
import { type LoginShell, wrapForAnyShell } from './login-shell.ts'
import type { PoolCall, SshPool } from './pool.ts'
import { plainText } from './remote-text.ts'

export interface RemoteProcess {
  readonly pid: number
  /** Its name, as the host has it: up to 15 characters on Linux. */
  readonly command: string
}

/** What is known of a command's processes after it was told to end. */
export interface SessionEnd {
  /** `ended`: none is left; `left`: those named still run; `unknown`: the host could not be asked, or could not tell. */
  readonly remote: 'ended' | 'left' | 'unknown'
  /** They made themselves sessions of their own (setsid, daemons) and were left alone. */
  readonly left_session: readonly RemoteProcess[]
  /** In the command's session, and there even after KILL: another user's, or in uninterruptible sleep. */
  readonly still_running: readonly RemoteProcess[]
}

export interface EndRequest {
  readonly pool: SshPool
  readonly call: PoolCall
  /** Over which the command was sent. */
  readonly connection: SshConnection
  /** As its shell reported it; undefined when it has not. */
  readonly pid: number | undefined
  readonly marker: string
  readonly runId: string
  readonly clock: Clock
  readonly log: Logger
}

/** Milliseconds for getting a channel to the host, over the command's connection or a new one. */
const REACH_MS = 10_000
/** Milliseconds of silence after which the command's own connection is given up for a new one. */
const SILENCE_MS = 3_000
/** Milliseconds for all of it beyond the grace time; with the defaults, within runs.abort_grace_seconds (20 s). */
const OVERHEAD_MS = 13_000

export const UNKNOWN_END: SessionEnd = { remote: 'unknown', left_session: [], still_running: [] }

/**
 * Ends the session of a command by a second exec: on one of the channels that its connection keeps for that, or over a
 * connection of its own when that one is gone, full or silent. Takes at most 13 seconds beyond the grace time.
 * Never rejects: what could not be found out is `unknown`.
 */
export async function endSession(request: EndRequest): Promise<SessionEnd> {
  const { call, clock, log } = request
  // The run's own signal is the reason for this; it must not end this too.
  const calm: PoolCall = { ...call, signal: new AbortController().signal }
  const until = clock.monotonic() + OVERHEAD_MS + call.settings.kill_grace * 1000
  const reachUntil = clock.monotonic() + REACH_MS
  try {
    const onSame = await overItsConnection(request, until)
    if (onSame) return parseAnswer(onSame, true)
    const left = Math.max(0, reachUntil - clock.monotonic())
    const answer = await request.pool.extra(calm, left, (connection, shell) =>
      runScript(request, connection, shell, until),
    )
    return parseAnswer(answer, false)
  } catch (error) {
    log.warn('the host could not be asked to end a command', {
      run_id: request.runId,
      error: error instanceof MhvError ? error.code : String(error),
    })
    return UNKNOWN_END
  }
}

/** Undefined when it cannot be done over that connection; whatever goes wrong there, the next way is still open. */
async function overItsConnection(request: EndRequest, until: number): Promise<ControlAnswer | undefined> {
  const { pool, connection } = request
  const shell = pool.shellOf(connection)
  const giveBack = shell === undefined ? undefined : pool.spare(connection)
  if (shell === undefined || giveBack === undefined) return undefined
  try {
    return await runScript(request, connection, shell, until)
  } catch {
    return undefined
  } finally {
    giveBack()
  }
}

function runScript(
  request: EndRequest,
  connection: SshConnection,
  shell: LoginShell,
  until: number,
): Promise<ControlAnswer> {
  const { pid, marker, runId, call, clock } = request
  const grace = call.settings.kill_grace
  const script = killScript({ session: pid, marker, runId, grace })
  return controlExec(connection, shell.sh ? wrapForAnyShell(script) : script, {
    clock,
    timeoutMs: Math.max(0, until - clock.monotonic()),
    openTimeoutMs: SILENCE_MS,
  })
}

/**
 * `sameConnection`: the host takes what comes over one connection in order, so a session that is not found there has
 * ended; over another one, the command's line may still be on its way.
 */
export function parseAnswer(answer: ControlAnswer, sameConnection: boolean): SessionEnd {
  const lines = answer.stdout
    .split('\n')
    .filter((line) => line.startsWith(`${KILL_REPORT} `))
    .map((line) => line.slice(KILL_REPORT.length + 1))
  const complete = lines.includes('done') && !lines.includes('foreign') && !lines.includes('blind')
  const found = lines.some((line) => line.startsWith('session '))
  const left_session = processes(lines, 'gone')
  const still_running = processes(lines, 'still')
  const certain = complete && (found || sameConnection)
  const left = left_session.length + still_running.length > 0
  if (!certain) return { remote: 'unknown', left_session, still_running: complete ? still_running : [] }
  return { remote: left ? 'left' : 'ended', left_session, still_running }
}

/** At most so many are named: a fork bomb has thousands. */
const MOST_NAMED = 50

function processes(lines: readonly string[], word: string): readonly RemoteProcess[] {
  return lines
    .map((line) => line.match(/^(\S+) ([0-9]+) ?(.*)$/))
    .filter((match) => match?.[1] === word)
    .slice(0, MOST_NAMED)
    .map((match) => ({ pid: Number(match?.[2]), command: plainText(match?.[3] ?? '', 64) }))
}

/** What is known, in plain words, to follow "the command …": one sentence, or two. */
export function describeEnd({ remote, left_session, still_running }: SessionEnd, pid: number | undefined): string {
  const left =
    left_session.length === 0
      ? ''
      : `; outside its session there still run ${names(left_session)}, which were left alone`
  if (remote === 'unknown') {
    const asProcess = pid === undefined ? '' : ` (its shell was process ${pid})`
    return `whether it still runs on the host is unknown${asProcess}${left}`
  }
  if (still_running.length > 0) return `it could not be ended: there still run ${names(still_running)}${left}`
  return `its session on the host was ended${left}`
}

function names(processes: readonly RemoteProcess[]): string {
  const shown = processes.slice(0, 5).map(({ pid, command }) => `${pid} (${command})`)
  return shown.join(', ') + (processes.length > 5 ? ` and ${processes.length - 5} more` : '')
}
