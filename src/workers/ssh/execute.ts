import { z } from 'zod'
import { defineOperation } from '../../core/operation.ts'
import { RUN_ID_VARIABLE } from './command-line.ts'
import type { SshContext } from './run-command.ts'
import type { SshSettings } from './settings.ts'
import { sudoInput } from './sudo.ts'

/** Longest standard input in characters: it lies in memory and in the journal. Larger data is for file transfer. */
const MAX_STDIN = 8 * 1024 * 1024

/** Variables that shells keep for themselves: setting one fails, or means something else than it says. */
const SHELL_OWNED = ['_', 'BASHOPTS', 'BASH_VERSINFO', 'EUID', 'PPID', 'SHELLOPTS', 'UID', RUN_ID_VARIABLE]

const text = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => value.isWellFormed(), { error: 'must be well-formed Unicode, without lone surrogates' })
const argument = (max: number) => text(max).regex(/^[^\0]*$/, { error: 'must not contain a NUL character' })

const input = z.object({
  command: argument(131_072).min(1).describe('shell command, run by a POSIX shell on the host without a terminal'),
  stdin: text(MAX_STDIN).optional().describe('standard input of the command; without it, standard input is empty'),
  env: z
    .record(
      z
        .string()
        .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, { error: 'must be letters, digits and underscores' })
        .refine((name) => !SHELL_OWNED.includes(name), { error: 'belongs to the shell and cannot be set' }),
      argument(32_768),
    )
    .optional()
    .describe('environment variables of the command, by name'),
  cwd: argument(4_096)
    .min(1)
    .refine((path) => !path.startsWith('~'), { error: 'relative paths start in the home folder: leave the ~ out' })
    .optional()
    .describe('folder in which the command runs; a relative one starts in the home folder of the user'),
  sudo: sudoInput.optional().describe('runs the command as another user, by sudo'),
})

const output = z.object({
  stdout: z.string().describe('standard output as text; long output is cut in the middle'),
  stderr: z.string().describe('standard error as text; long output is cut in the middle'),
  exit_code: z.number().int().nullable().describe('null where a signal ended the command'),
  signal: z.string().nullable().describe('name of that signal without SIG: KILL, TERM, SEGV'),
  stdout_bytes: z.number().int().describe('bytes of standard output, all told'),
  stderr_bytes: z.number().int().describe('bytes of standard error, all told'),
  truncated: z.boolean().describe('some output was neither kept here nor in the journal'),
  utf8: z.boolean().describe('false where bytes were not UTF-8 and were replaced in the text'),
  pid: z
    .number()
    .int()
    .describe('process of the shell that ran the command on the host, or of its sudo; id of the session'),
})

export type ExecuteInput = z.output<typeof input>
export type ExecuteData = z.output<typeof output>

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
    'connection breaks after the command was sent, the run fails with effect certainty "unknown" and is not repeated.',
  effect: 'destroy',
  // Until commands are classed, every one of them may write.
  effectOf: () => 'write',
  idempotent: false,
  input,
  output,
  errors: [
    'MHV_SSH_KNOWN_HOSTS_UNREADABLE',
    'MHV_SSH_HOST_KEY_UNKNOWN',
    'MHV_SSH_HOST_KEY_CHANGED',
    'MHV_SSH_HOST_KEY_REVOKED',
    'MHV_SSH_AUTH_FAILED',
    'MHV_SSH_KEY_INVALID',
    'MHV_SSH_CONNECT_REFUSED',
    'MHV_SSH_CONNECT_TIMEOUT',
    'MHV_SSH_CONNECT_FAILED',
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
    'MHV_SECRET_UNRESOLVED',
    'MHV_NO_DESCRIPTORS',
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
  ],
  async run(ctx: SshContext, command: ExecuteInput): Promise<ExecuteData> {
    const { runCommand } = await loadRunCommand()
    return runCommand(ctx, command)
  },
  summarize: ({ stdout, exit_code }) => ({ output: stdout, exit_code }),
})
