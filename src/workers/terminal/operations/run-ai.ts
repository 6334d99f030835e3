import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import { didYouMean, quoted } from '../../../core/suggest.ts'
import { runAiTask } from '../ai/run-task.ts'
import { startFolder } from '../sessions/start-place.ts'
import type { TerminalContext } from './context.ts'

const input = z.object({
  cli: z.string().min(1).max(64).describe('name of a program in terminal.ai_clis'),
  prompt: z
    .string()
    .min(1)
    .max(1_000_000)
    .regex(/^[^\0]*$/, { error: 'must not contain a NUL character' })
    .describe('the task'),
  directory: z
    .string()
    .min(1)
    .max(4_096)
    .optional()
    .describe('folder to work in: one of terminal.directories or a folder below'),
})

const output = z.object({
  result: z.string().describe('text of the result message'),
  is_error: z.boolean().describe('the result message says that the task failed'),
  message: z.record(z.string(), z.unknown()).describe('the result message, whole'),
  messages: z.number().int().describe('messages all told'),
  other_lines: z.number().int().describe('lines of standard output that are no messages'),
  exit_code: z.number().int().nullable().describe('null where the program did not end after its result and was ended'),
  signal: z.string().nullable(),
})

/** Seconds that a task may take when the call names no timeout. */
const TASK_SECONDS = 900

export const runAi = defineOperation({
  id: 'terminal.run_ai',
  title: 'Give a task to an AI command line',
  summary: 'Starts a program that speaks stream-json with a task and returns its result message and its exit code.',
  description:
    'The task is over when the program has sent its message of the type "result", not before. All messages are in the output ' +
    'of the run as they come. What the program does on this machine is bounded by its own permissions only.',
  effect: 'destroy',
  effectOf: () => 'write',
  idempotent: false,
  targeted: false,
  input,
  output,
  errors: [
    'MHV_TERMINAL_AI_UNKNOWN',
    'MHV_TERMINAL_AI_NO_RESULT',
    'MHV_TERMINAL_DIRECTORY',
    'MHV_EXEC_NOT_FOUND',
    'MHV_EXEC_NOT_STARTED',
    'MHV_EXEC_ARGUMENT',
    'MHV_TERMINAL_HOST_BUSY',
    'MHV_TERMINAL_HOST_VERSION',
    'MHV_TERMINAL_HOST_DOWN',
  ],
  timeout: TASK_SECONDS,
  cli: { verb: 'ai', argument: 'cli', rest: 'prompt' },
  examples: [
    { title: 'A question', input: { cli: 'claude', prompt: 'What does this repository do?', directory: '~/project' } },
  ],
  async run(ctx: TerminalContext, { cli: name, prompt, directory }: z.output<typeof input>) {
    const { ai_clis, directories } = ctx.settings
    const cli = Object.hasOwn(ai_clis, name) ? ai_clis[name] : undefined
    if (cli === undefined) {
      throw mhvError(
        'MHV_TERMINAL_AI_UNKNOWN',
        `terminal.ai_clis has no ${quoted(name)}${didYouMean(name, Object.keys(ai_clis))}`,
      )
    }
    const cwd = await startFolder(directory, directories, ctx.connection.folder)
    const { result, ...outcome } = await runAiTask(ctx, { name, cli, prompt, cwd })
    return {
      result: typeof result.value.result === 'string' ? result.value.result : '',
      is_error: result.value.is_error === true,
      message: { ...result.value },
      ...outcome,
    }
  },
  summarize: ({ result, exit_code }) => ({ output: result, exit_code }),
})
