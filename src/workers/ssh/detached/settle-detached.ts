import { endSession } from '../remote-kill.ts'
import type { SshContext } from '../run-command.ts'
import { newMarker } from '../start-report.ts'
import { type DetachedJob, type DetachedNote, NOTES, newJob, overdueNotes, readNote } from './job.ts'
import { parseStatus } from './poll-answer.ts'
import { runScript } from './run-script.ts'
import { pollScript, removeScript } from './supervisor-script.ts'

/** Milliseconds after its deadline from which on nobody takes a run up any more. */
const OVERDUE_MS = 60_000
/** Commands of earlier runs that are looked after at once. */
const MOST_OVERDUE = 5

/** Commands of this process that are over: how the files of each are to be removed. By the id of the run. */
const over = new Map<string, { readonly ended: boolean; readonly keepClaim: boolean }>()

/** Runs that this process began or took up, until they are settled. */
const own = new Set<string>()

/** From here on, whether what is left of the run is ended is known to `noteOver`. */
export function noteOwn(runId: string): void {
  own.add(runId)
}

/**
 * The command is over, and its output is here, or can never be: its files may go once the run's end is in the journal.
 *
 * @param ended nothing of it runs any longer
 * @param mayCome a start that was sent may still be on its way: the claim has to stay, or it would run the command
 */
export function noteOver({ ctx, starts }: DetachedJob, ended: boolean, mayCome = starts > 1): void {
  over.set(ctx.run_id, { ended, keepClaim: mayCome })
}

/**
 * Removes what a run has left on its host; of a run that was cut off, and that nobody takes up, the command is ended
 * first. Then the same for earlier runs on that target whose process died and whose time was over before another could
 * take them up, where the host could not be reached until now.
 */
export async function settleDetached(ctx: SshContext): Promise<void> {
  const how = over.get(ctx.run_id)
  over.delete(ctx.run_id)
  const cutOff = !own.delete(ctx.run_id)
  if (how === undefined && !cutOff) return
  const note = await readNote(ctx.state, ctx.run_id)
  if (note !== undefined && how !== undefined) await remove(ctx, ctx.run_id, note, how)
  else if (note !== undefined) await endOverdue(ctx, ctx.run_id, note)
  const overdue = await overdueNotes(ctx.state, ctx.target.name, ctx.clock.now() - OVERDUE_MS, MOST_OVERDUE)
  for (const { runId, note: old } of overdue) await endOverdue(ctx, runId, old)
}

async function remove(
  ctx: SshContext,
  runId: string,
  note: DetachedNote,
  how: { readonly ended: boolean; readonly keepClaim: boolean },
): Promise<void> {
  const answer = newMarker()
  const { call } = newJob(ctx, { command: ':' })
  const directory = note.directory ?? undefined
  const { words } = await runScript(ctx.connection, call, answer, () =>
    removeScript({ answer, runId, directory, ...how }),
  )
  if (words[0] === 'removed') await ctx.state.delete(NOTES + runId)
}

async function endOverdue(ctx: SshContext, runId: string, note: DetachedNote): Promise<void> {
  const answer = newMarker()
  const { call } = newJob(ctx, { command: ':' })
  const none = { from: 0, count: 0 }
  const directory = note.directory ?? undefined
  const { words, connection } = await runScript(ctx.connection, call, answer, () =>
    pollScript({ answer, runId, directory, marker: note.marker, stdout: none, stderr: none }),
  )
  const status = parseStatus(words)
  const runs = status !== undefined && (status.state === 'open' || status.state === 'code') && !status.rebooted
  if (runs && status.session !== undefined) {
    const { clock, log, connection: pool } = ctx
    const end = await endSession({
      pool,
      call,
      connection,
      pid: status.session,
      marker: note.marker,
      runId,
      clock,
      log,
    })
    if (end.remote !== 'ended')
      log.warn('a detached command whose time is long over may still run', { run_id: runId, ...end })
  }
  await remove(ctx, runId, note, { ended: true, keepClaim: false })
}
