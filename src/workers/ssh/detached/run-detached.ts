import { mhvError, toMhvError } from '../../../core/errors.ts'
import type { CommandExit } from '../connection.ts'
import type { ExecuteData, ExecuteInput } from '../execute.ts'
import type { PoolCall } from '../pool.ts'
import { endSession, type SessionEnd, UNKNOWN_END } from '../remote-kill.ts'
import { dataOf, judgeEnd, type SshContext, stoppedError, verdict } from '../run-command.ts'
import { newMarker } from '../start-report.ts'
import { endSudoSession } from '../sudo-end.ts'
import { createFollower, type Follower } from './follow-detached.ts'
import { type DetachedJob, jobScript, NOTES, newJob, readNote } from './job.ts'
import type { DetachedStatus } from './poll-answer.ts'
import { runScript } from './run-script.ts'
import { noteOver, noteOwn } from './settle-detached.ts'
import { startDetached } from './start-detached.ts'
import { forbidScript } from './supervisor-script.ts'

/** Milliseconds for finding out how a command stands whose time is over, and for its last output. */
const ASK_MS = 5_000
const LAST_OUTPUT_MS = 2_000

/**
 * Runs a command that outlives the connection and this process. Everything that a later process needs is in the worker's
 * state before the start is sent. Throws what `execute` declares.
 */
export async function runDetached(ctx: SshContext, input: ExecuteInput): Promise<ExecuteData> {
  const job = newJob(ctx, input)
  // Refuses what cannot be, before anything is written.
  jobScript(job)
  await ctx.state.set(NOTES + ctx.run_id, job.note)
  return carryOn(job)
}

/** Takes up a command of a process that is gone. Without a note nothing was sent, and it is started. */
export async function resumeDetached(ctx: SshContext, input: ExecuteInput): Promise<ExecuteData> {
  const note = await readNote(ctx.state, ctx.run_id)
  return note === undefined ? runDetached(ctx, input) : carryOn(newJob(ctx, input, note))
}

async function carryOn(job: DetachedJob): Promise<ExecuteData> {
  const { ctx } = job
  noteOwn(ctx.run_id)
  const follower = createFollower(job)
  try {
    if (job.note.directory === null) await startDetached(job)
    const status = await follower.toEnd()
    return await resultOf(job, follower, status)
  } catch (thrown) {
    const error = toMhvError(thrown)
    if (ctx.signal.aborted) return await stopDetached(job, follower, ctx.signal.reason)
    if (error.code === 'MHV_INTERNAL') return await stopDetached(job, follower, error)
    // Nothing was started: there is nothing to come back to.
    if (error.spec.phase === 'before-effect' && job.starts === 0) await ctx.state.delete(NOTES + ctx.run_id)
    else if (error.code === 'MHV_SSH_DETACH_FAILED') noteOver(job, true)
    else if (error.code === 'MHV_SSH_DETACH_LOST') noteOver(job, false)
    throw error
  }
}

async function resultOf(job: DetachedJob, follower: Follower, status: DetachedStatus): Promise<ExecuteData> {
  const { ctx, call } = job
  await follower.endStart()
  noteOver(job, true)
  const exit: CommandExit = { code: status.exit_code, signal: null }
  const endpoint = follower.last().connection?.endpoint ?? call.target.host
  const { start } = follower
  const refused = start.failure(endpoint, exit)
  const end = { endpoint, exit, cut: false, report: start.report(), session: status.session, refused }
  const { pid } = await verdict({ ctx, call, parts: { judge: judgeEnd } }, end)
  const data = await dataOf(ctx, exit, pid)
  const { stdout_cut, stderr_cut } = status
  return {
    ...data,
    stdout_bytes: data.stdout_bytes + (stdout_cut ?? 0),
    stderr_bytes: data.stderr_bytes + (stderr_cut ?? 0),
    truncated: data.truncated || stdout_cut !== null || stderr_cut !== null,
    detached: { max_bytes: ctx.settings.detach_max_bytes, cut: stdout_cut !== null || stderr_cut !== null },
  }
}

/** Ends the far side and throws, unless the command turns out to have ended by itself. */
async function stopDetached(job: DetachedJob, follower: Follower, reason: unknown): Promise<ExecuteData> {
  const { ctx } = job
  const { code } = toMhvError(reason)
  // Another process takes it up, or has done so.
  if (code === 'MHV_SHUTTING_DOWN' || code === 'MHV_RUN_INTERRUPTED') throw reason
  if (job.note.directory === null && (await forbidden(job))) {
    noteOver(job, true, job.starts > 0)
    const queued = code === 'MHV_RUN_TIMEOUT' ? 'MHV_RUN_QUEUE_TIMEOUT' : 'MHV_RUN_CANCELLED_QUEUED'
    throw mhvError(queued, 'the run was ended before its command was started', { cause: reason })
  }
  const status = await lookCalmly(job, follower, ASK_MS)
  if (status?.state === 'exit' && follower.isComplete(status)) return resultOf(job, follower, status)
  const end = await endOf(job, follower)
  // Not where it was the output that could not be kept.
  if (code !== 'MHV_INTERNAL') await lookCalmly(job, follower, LAST_OUTPUT_MS)
  const over = end.remote === 'ended' || (end.remote === 'left' && end.still_running.length === 0)
  if (over) noteOver(job, true)
  const exit = status?.exit_code ?? null
  ctx.log.info('a detached command was told to end', { run_id: ctx.run_id, remote: end.remote })
  throw stoppedError(
    reason,
    end,
    follower.last().status?.session,
    exit === null ? undefined : { code: exit, signal: null },
  )
}

/** Whether the start is known never to come. */
async function forbidden(job: DetachedJob): Promise<boolean> {
  if (job.starts === 0) return true
  const answer = newMarker()
  try {
    const { words } = await runScript(job.ctx.connection, calmCall(job, ASK_MS), answer, () =>
      forbidScript({ answer, runId: job.ctx.run_id }),
    )
    return words[0] === 'never'
  } catch {
    return false
  }
}

async function lookCalmly(job: DetachedJob, follower: Follower, ms: number): Promise<DetachedStatus | undefined> {
  try {
    return await follower.look(calmCall(job, ms))
  } catch (error) {
    const { ctx } = job
    ctx.log.info('a detached command could not be looked at', { run_id: ctx.run_id, error: toMhvError(error).code })
    return undefined
  }
}

/** The run's own signal is the reason for it; it must not end this too. */
function calmCall({ call }: DetachedJob, ms: number): PoolCall {
  return { ...call, signal: AbortSignal.timeout(ms) }
}

async function endOf(job: DetachedJob, follower: Follower): Promise<SessionEnd> {
  const { ctx, call, input, note } = job
  const { status, connection } = follower.last()
  if (connection === undefined || status?.session === undefined) return UNKNOWN_END
  const { clock, log, run_id: runId, connection: pool } = ctx
  const request = { pool, call, connection, pid: status.session, marker: note.marker, runId, clock, log }
  if (input.sudo === undefined) return endSession(request)
  return endSudoSession(request, { user: input.sudo.user, password: undefined })
}
