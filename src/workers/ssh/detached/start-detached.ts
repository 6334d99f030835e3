import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import { plainText } from '../remote-text.ts'
import { newMarker } from '../start-report.ts'
import { type DetachedJob, jobScript, NOTES } from './job.ts'
import { directoryOf } from './poll-answer.ts'
import { runScript } from './run-script.ts'
import { startScript } from './supervisor-script.ts'

/** Milliseconds before another try, from the first to the longest. */
const FIRST_PAUSE_MS = 200
const LONGEST_PAUSE_MS = 5_000
/** Answers that are none: more of them, and something else than a shell answers there. */
const MOST_UNCONFIRMED = 3

/**
 * Starts the command, exactly once: its directory is claimed by the run's id, so a start whose answer was lost is sent
 * again and finds what the first has done. Where even the first certainly was not sent, or the host has no place for the
 * files, it throws an error from before any effect. Writes the directory into the note.
 */
export async function startDetached(job: DetachedJob): Promise<void> {
  const { ctx } = job
  let unconfirmed = 0
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      const directory = await sendStart(job)
      job.note = { ...job.note, directory }
      await ctx.state.set(NOTES + ctx.run_id, job.note)
      return
    } catch (thrown) {
      const error = toMhvError(thrown)
      if (ctx.signal.aborted || error.code === 'MHV_SSH_DETACH_FAILED') throw error
      if (error.spec.phase === 'before-effect' && job.starts === 0) throw error
      if (error.code === 'MHV_SSH_COMMAND_UNCONFIRMED') {
        ctx.connection.forgetShell(job.call)
        unconfirmed += 1
        if (unconfirmed >= MOST_UNCONFIRMED) throw error
      } else if (!mayPass(error)) throw unreachable(job, error)
      ctx.log.info('the start of a detached command is sent again', { run_id: ctx.run_id, error: error.code })
    }
    await ctx.clock.sleep(pause, ctx.signal)
  }
}

async function sendStart(job: DetachedJob): Promise<string> {
  const { ctx, call, note, input } = job
  const script = jobScript(job)
  const payload = Buffer.concat([script, Buffer.from(input.stdin ?? '')])
  const answer = newMarker()
  const startsBefore = job.starts
  const { words } = await runScript(
    ctx.connection,
    call,
    answer,
    (shell) => {
      job.starts += 1
      return startScript({
        answer,
        runId: ctx.run_id,
        marker: note.marker,
        shell: shell.posix ? shell.path : '/bin/sh',
        commandBytes: script.length,
        payloadBytes: payload.length,
        maxBytes: ctx.settings.detach_max_bytes,
      })
    },
    payload,
  ).catch((error: unknown) => {
    // A channel that was refused, or never asked for, has run nothing.
    if (toMhvError(error).spec.phase === 'before-effect' && !ctx.signal.aborted) job.starts = startsBefore
    throw error
  })
  const [what, ...rest] = words
  const said = rest.join(' ')
  if (what === 'started' || what === 'found') {
    const directory = directoryOf(said, ctx.run_id)
    if (directory !== undefined) return directory
    throw mhvError('MHV_SSH_COMMAND_UNCONFIRMED', `${call.target.host}: "${plainText(said)}" is no directory of ours`)
  }
  throw mhvError('MHV_SSH_DETACH_FAILED', `${call.target.host}: nothing was started: ${plainText(said)}`)
}

/** Whether what went wrong on the way to the host may be over in a while. */
export function mayPass(error: MhvError): boolean {
  return (
    error.spec.retryable || error.code === 'MHV_SSH_CONNECTION_LOST' || error.code === 'MHV_SSH_COMMAND_UNCONFIRMED'
  )
}

/** The command may run, and nobody can look: an error that says nothing else about its effect. */
export function unreachable({ call, note }: DetachedJob, error: MhvError): MhvError {
  const where = note.directory === null ? '' : `; it goes on there in ${note.directory}`
  return mhvError(
    'MHV_SSH_CONNECTION_LOST',
    `${call.target.host}: the detached command can be followed no longer${where}: ${error.message}`,
    { details: { error_code: error.code, directory: note.directory }, cause: error },
  )
}
