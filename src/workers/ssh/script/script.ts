import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { argument, commandFields, resultFields, text } from '../command-fields.ts'
import { execute, INTERACTIVE_ERRORS } from '../execute.ts'
import type { SshContext } from '../run-command.ts'
import type { SshSettings } from '../settings.ts'
import { MAX_SCRIPT } from './script-command.ts'

const input = z.object({
  script: text(MAX_SCRIPT).min(1).optional().describe('the script itself; either this or path'),
  path: argument(4_096).min(1).optional().describe('file with the script on this machine, within ssh.local_roots'),
  interpreter: z
    .array(argument(1_024).min(1))
    .min(1)
    .max(20)
    .default(['/bin/sh'])
    .refine(([program = '']) => !program.startsWith('-'), { error: 'the program must not begin with a dash' })
    .describe('program that runs it, with options of its own: ["python3", "-u"]'),
  args: z.array(argument(32_768)).max(1_000).default([]).describe('arguments of the script; each arrives as it is'),
  via: z
    .enum(['file', 'stdin'])
    .default('file')
    .describe(
      'file: in a private folder on the host that is removed afterwards; stdin: nothing is written there, but the script has no standard input of its own',
    ),
  ...commandFields,
})

const output = z.object({ ...resultFields })

export type ScriptInput = z.output<typeof input>
export type ScriptData = z.output<typeof output>

export const script = defineOperation({
  id: 'ssh.script',
  title: 'Run a local script over SSH',
  summary: 'Runs a script on a host, given as text or as a file of this machine, and returns its output and exit code.',
  description:
    'The script goes over the connection into a private temporary file, or to the standard input of its interpreter, and ' +
    'is removed when it has ended, however it ended. A non-zero exit code is a result, not a failure. Deadlines, ' +
    'cancellation and lost connections are as with `ssh.execute`.',
  effect: 'destroy',
  // Until scripts are classed, every one of them may write.
  effectOf: () => 'write',
  idempotent: false,
  input,
  output,
  errors: [
    ...execute.errors.filter((code) => !code.startsWith('MHV_SSH_DETACH_') && !INTERACTIVE_ERRORS.includes(code)),
    'MHV_SSH_SCRIPT_NOT_PLACED',
    'MHV_LOCAL_OUTSIDE_ROOTS',
    'MHV_LOCAL_NOT_FOUND',
    'MHV_LOCAL_FAILED',
  ],
  timeout: (settings: SshSettings) => settings.command_timeout,
  cli: { stdin: 'stdin' },
  examples: [
    {
      title: 'A shell script with an argument',
      target: 'web-1',
      input: { script: 'set -eu\ndf -P "$1" | tail -n 1\n', args: ['/srv'] },
    },
    {
      title: 'Python, by standard input, so that nothing is written to the host',
      target: 'web-1',
      input: { script: 'import sys\nprint(sys.argv[1])\n', interpreter: ['python3'], args: ['a b'], via: 'stdin' },
    },
  ],
  async run(ctx: SshContext, given: ScriptInput): Promise<ScriptData> {
    const { runScriptFile } = await import('./run-script-file.ts')
    return runScriptFile(ctx, given)
  },
  summarize: ({ stdout, exit_code }) => ({ output: stdout, exit_code }),
})
