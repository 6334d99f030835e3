import { MhvError, mhvError } from '../../core/errors.ts'
import type { ExecuteInput, InteractiveData } from './execute.ts'
import type { SshContext } from './run-command.ts'

/** What means nothing to a program in a terminal. */
const NOT_THERE = ['stdin', 'env', 'cwd', 'sudo', 'detach'] as const

/** Starts the command in a terminal of the worker that has such sessions, and says how to go on with it. */
export async function openInteractive(ctx: SshContext, input: ExecuteInput): Promise<InteractiveData> {
  const given = NOT_THERE.filter((name) => input[name] !== undefined && input[name] !== false)
  if (given.length > 0) {
    throw mhvError('MHV_INPUT_INVALID', `${given.join(', ')}: not with mode "interactive"`, {
      remedy: 'Type what is needed into the session, or leave the mode out.',
    })
  }
  const { principal, run_id, target, signal } = ctx
  const terminals = await ctx.need('TerminalSessions').catch((error: unknown) => {
    if (!(error instanceof MhvError) || error.code !== 'MHV_PORT_MISSING') throw error
    throw mhvError('MHV_PORT_MISSING', 'mode "interactive" needs a worker with terminal sessions, and there is none', {
      cause: error,
    })
  })
  const started = await terminals.start(
    { owner: principal.id, run_id, target: target.name, command: input.command },
    signal,
  )
  const { session } = started
  return {
    stdout: `${session}\n`,
    stderr: '',
    exit_code: null,
    signal: null,
    stdout_bytes: 0,
    stderr_bytes: 0,
    truncated: false,
    utf8: true,
    pid: null,
    interactive: {
      ...started,
      next:
        'The program runs. Go on with terminal.wait, terminal.snapshot, terminal.send_keystrokes and terminal.close, ' +
        `or \`mahavishnu terminal attach ${session}\`.`,
    },
  }
}
