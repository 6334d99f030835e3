import { z } from 'zod'
import type { ErrorCode } from '../../core/error-table.ts'
import { defineOperation } from '../../core/operation.ts'
import { argument, commandFields, resultFields } from './command-fields.ts'
import { CONNECT_ERRORS } from './connect-codes.ts'
import type { SshContext } from './run-command.ts'
import type { SshSettings } from './settings.ts'

const input = z.object({
  command: argument(131_072).min(1).describe('shell command, run by a POSIX shell on the host without a terminal'),
  ...commandFields,
  mode: z
    .enum(['command', 'interactive'])
    .optional()
    .describe(
      'interactive: starts the command, one program and its arguments, in a terminal session of the caller, and returns the session at once',
    ),
  detach: z
    .boolean()
    .optional()
    .describe(
      'the command survives a lost connection and a restart of Mahavishnu; its output is kept on the host until then',
    ),
})

const output = z.object({
  ...resultFields,
  stdout: resultFields.stdout.describe(
    'standard output as text, cut in the middle where it is long; with mode interactive, the id of the session',
  ),
  pid: resultFields.pid.nullable().describe(`${resultFields.pid.description}; null with mode interactive`),
  interactive: z
    .object({
      session: z.string().describe('id of the terminal session, for the operations of the worker terminal'),
      recording: z
        .string()
        .nullable()
        .describe('file of the recording, relative to the instance folder; null without one'),
      next: z.string().describe('how to go on'),
    })
    .optional()
    .describe('with mode interactive; there is no exit code then, since the program has only begun'),
  detached: z
    .object({
      max_bytes: z.number().int().describe('bytes of each stream that the host kept at most'),
      cut: z.boolean().describe('there was more, or the host had no room for it: the rest was dropped there'),
    })
    .optional()
    .describe('of a detached command'),
})

export type ExecuteInput = z.output<typeof input>
/** What is known of a command that has ended. */
export type ExecuteData = Omit<z.output<typeof output>, 'interactive' | 'pid'> & { readonly pid: number }
/** What is known of a program that was started in a terminal session. */
export type InteractiveData = z.output<typeof output>

/** What only mode interactive may end with. */
export const INTERACTIVE_ERRORS: readonly ErrorCode[] = [
  'MHV_SSH_PTY_REFUSED',
  'MHV_PORT_MISSING',
  'MHV_TERMINAL_COMMAND_DENIED',
  'MHV_TERMINAL_LIMIT',
  'MHV_TERMINAL_NOT_STARTED',
]

const loadDetached = () => import('./detached/run-detached.ts')

let runCommandModule: Promise<typeof import('./run-command.ts')> | undefined

/** What connects is loaded by the first command. Asking the module loader again for each would cost more than the rest. */
function loadRunCommand(): Promise<typeof import('./run-command.ts')> {
  runCommandModule ??= import('./run-command.ts').catch((error: unknown) => {
    // The next command tries again.
    runCommandModule = undefined
    throw error
  })
  return runCommandModule
}

export const execute = defineOperation({
  id: 'ssh.execute',
  title: 'Run a command over SSH',
  summary: 'Runs a shell command on a host, without a terminal, and returns its output and exit code.',
  description:
    'A non-zero exit code is a result, not a failure. At the deadline or when the run is cancelled, the whole session ' +
    'of the command is ended on the host (TERM, then KILL), and the error says what is known of its processes. If the ' +
    'connection breaks after the command was sent, the run fails with effect certainty "unknown" and is not repeated; with ' +
    '`detach` the command goes on and is followed further, also by the next process of Mahavishnu. With mode `interactive` it ' +
    'starts in a terminal session instead, with the limits and the list of programs of terminal.*; the call returns at once, ' +
    'and the session is gone on with by the operations of the worker terminal.',
  effect: 'destroy',
  // Until commands are classed, every one of them may write.
  effectOf: () => 'write',
  idempotent: false,
  input,
  output,
  errors: [
    ...CONNECT_ERRORS,
    'MHV_SSH_CONNECTION_LOST',
    'MHV_SSH_COMMAND_TIMEOUT',
    'MHV_SSH_COMMAND_UNCONFIRMED',
    'MHV_SSH_CHANNEL_REFUSED',
    'MHV_SSH_POOL_EXHAUSTED',
    'MHV_SSH_SHELL_UNSUPPORTED',
    'MHV_SSH_CWD_FAILED',
    'MHV_SSH_ENV_FAILED',
    'MHV_SSH_SUDO_MISSING',
    'MHV_SSH_SUDO_FAILED',
    'MHV_SSH_DETACH_FAILED',
    'MHV_SSH_DETACH_LOST',
    ...INTERACTIVE_ERRORS,
  ],
  timeout: (settings: SshSettings) => settings.command_timeout,
  cli: { rest: 'command', stdin: 'stdin' },
  examples: [
    { title: 'Free disk space', target: 'web-1', input: { command: 'df -h /' } },
    {
      title: 'A script from standard input, in a folder of its own',
      target: 'web-1',
      input: { command: 'sh -s', stdin: 'set -e\nls | wc -l\n', cwd: '/srv/app', env: { LC_ALL: 'C' } },
    },
    {
      title: 'As root, with a password for sudo from the environment of Mahavishnu',
      target: 'web-1',
      input: { command: 'systemctl restart app', sudo: { password: 'env:WEB_SUDO_PASSWORD' } },
    },
    {
      title: 'A long command that survives the connection and a restart of Mahavishnu',
      target: 'web-1',
      input: { command: 'sleep 1; echo "it is done"', detach: true },
    },
    {
      title: 'A program with a screen of its own, in a terminal session',
      target: 'web-1',
      input: { command: 'top -d 5', mode: 'interactive' },
    },
  ],
  async run(ctx: SshContext, command: ExecuteInput): Promise<InteractiveData> {
    if (command.mode === 'interactive') return (await import('./open-interactive.ts')).openInteractive(ctx, command)
    if (command.detach) return (await loadDetached()).runDetached(ctx, command)
    const { runCommand } = await loadRunCommand()
    return runCommand(ctx, command)
  },
  includes: ({ mode }) => (mode === 'interactive' ? ['terminal.start_interactive_session'] : []),
  resumes: ({ detach, mode }) => detach === true && mode !== 'interactive',
  async resume(ctx: SshContext, command: ExecuteInput): Promise<ExecuteData> {
    return (await loadDetached()).resumeDetached(ctx, command)
  },
  async settle(ctx: SshContext): Promise<void> {
    await (await import('./detached/settle-detached.ts')).settleDetached(ctx)
  },
  summarize: ({ stdout, exit_code, interactive }) =>
    interactive === undefined ? { output: stdout, exit_code } : { output: interactive.session },
})
