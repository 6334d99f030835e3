import { z } from 'zod'
import type { WorkerState } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import { commandScript } from '../command-line.ts'
import type { ExecuteInput } from '../execute.ts'
import type { PoolCall } from '../pool.ts'
import type { SshContext } from '../run-command.ts'
import { newMarker } from '../start-report.ts'
import { sudoScript } from '../sudo.ts'

const noteSchema = z.object({
  marker: z.string(),
  /** Target and deadline of the run: what is left of it on the host can be found long after. */
  target: z.string(),
  deadline: z.number(),
  /** The command's directory on the host; null while the host has not said that the command was started. */
  directory: z.string().nullable(),
})

/** What the journal keeps of a detached command, from before its start until it is removed from the host. */
export type DetachedNote = z.output<typeof noteSchema>

export const NOTES = 'detached/'

export async function readNote(state: WorkerState, runId: string): Promise<DetachedNote | undefined> {
  const note = noteSchema.safeParse(await state.get(NOTES + runId))
  return note.success ? note.data : undefined
}

/** Notes of runs on a target whose time was over at `before`, at most so many. */
export async function overdueNotes(
  state: WorkerState,
  target: string,
  before: number,
  most: number,
): Promise<readonly { readonly runId: string; readonly note: DetachedNote }[]> {
  const entries = await state.list(NOTES)
  return entries
    .flatMap(({ key, value }) => {
      const note = noteSchema.safeParse(value)
      return note.success ? [{ runId: key.slice(NOTES.length), note: note.data }] : []
    })
    .filter(({ note }) => note.target === target && note.deadline < before)
    .slice(0, most)
}

/** One detached command: what everything beside this needs of it. */
export interface DetachedJob {
  readonly ctx: SshContext
  readonly call: PoolCall
  readonly input: ExecuteInput
  note: DetachedNote
  /** Starts that were sent, or may have been; more than one, and one of them may still be on its way. */
  starts: number
}

export function newJob(ctx: SshContext, input: ExecuteInput, note?: DetachedNote): DetachedJob {
  const { target, settings, secrets, signal } = ctx
  return {
    ctx,
    call: { target: target.address, settings, secrets, signal },
    input,
    note: note ?? { marker: newMarker(), target: target.name, deadline: ctx.deadline, directory: null },
    // Whoever has the note of another process does not know how many that one has sent.
    starts: note === undefined ? 0 : 1,
  }
}

/** The longest script that is given to sudo as an argument: Linux allows 131,071 bytes for one, quotes included. */
const MAX_SUDO_BYTES = 100_000

/** What the shell on the host runs; what is said at its start is that of an attached command. Throws MHV_INPUT_INVALID. */
export function jobScript({ ctx, input, note }: DetachedJob): Buffer {
  const { command, env = {}, cwd, sudo } = input
  const { marker } = note
  const request = { command, env, runId: ctx.run_id, marker, stdin: '', ...(cwd === undefined ? {} : { cwd }) }
  const script = commandScript(request)
  if (sudo === undefined) return Buffer.from(script)
  if (sudo.password !== undefined) {
    throw mhvError(
      'MHV_INPUT_INVALID',
      'detach: sudo cannot be given a password, which would have to lie on the host; allow it without one in sudoers',
    )
  }
  if (Buffer.byteLength(script) > MAX_SUDO_BYTES) {
    throw mhvError('MHV_INPUT_INVALID', `detach: with sudo, command and env together may have ${MAX_SUDO_BYTES} bytes`)
  }
  return Buffer.from(sudoScript(script, { user: sudo.user, prompt: undefined }, marker))
}
