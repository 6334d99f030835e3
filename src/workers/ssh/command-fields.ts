import { z } from 'zod'
import { RUN_ID_VARIABLE } from './command-line.ts'
import { sudoInput } from './sudo.ts'

/** Longest standard input in characters: it lies in memory and in the journal. Larger data is for file transfer. */
const MAX_STDIN = 8 * 1024 * 1024

/** Variables that shells keep for themselves: setting one fails, or means something else than it says. */
const SHELL_OWNED = ['_', 'BASHOPTS', 'BASH_VERSINFO', 'EUID', 'PPID', 'SHELLOPTS', 'UID', RUN_ID_VARIABLE]

/** Text of at most so many characters that has a UTF-8. */
export const text = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => value.isWellFormed(), { error: 'must be well-formed Unicode, without lone surrogates' })
/** Text that can be passed to a shell. */
export const argument = (max: number) => text(max).regex(/^[^\0]*$/, { error: 'must not contain a NUL character' })

/** How a command is run: the same fields for everything that runs one. */
export const commandFields = {
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
}

/** What is known of a command that has ended. */
export const resultFields = {
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
}
