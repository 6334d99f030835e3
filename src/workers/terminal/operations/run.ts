import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { runCommand } from '../wait/run-command.ts'
import { EXAMPLE_SESSION, exitShape, SESSION_ERRORS, sessionId, sessionOf, type TerminalContext } from './context.ts'

/** Bytes kept of the beginning of an output, and of its end. */
const KEPT_BYTES = 32_768

const input = z.object({
  session: sessionId(),
  command: z
    .string()
    .min(1)
    .max(65_536)
    .regex(/^[^\0]*$/, { error: 'must not contain a NUL character' })
    .describe('command for the shell in the session'),
  seconds: z
    .number()
    .positive()
    .max(3_600)
    .default(60)
    .describe('longest wait; then the outcome is timeout and the command goes on'),
})

const output = z.object({
  outcome: z.enum(['done', 'timeout', 'exit']).describe('exit: the session ended meanwhile'),
  exit_code: z.number().int().nullable().describe('null where the command has not ended'),
  output: z.string().describe('what the command wrote; a long output is cut in the middle'),
  output_bytes: z.number().int(),
  dropped_bytes: z.number().int().describe('bytes that are not in `output`; terminal.read may still have them'),
  exact: z.boolean().describe('whether the shell said where the output begins and ends'),
  exit: exitShape.nullable(),
  cursor: z.number().int().describe('cursor after it'),
  elapsed_ms: z.number().int(),
})

const MARKED = /(?:^|\/)(?:bash|zsh)$/

export const run = defineOperation({
  id: 'terminal.run',
  title: 'Run a command in a terminal session',
  summary:
    'Types a command at the prompt of the shell in a session and returns exactly what it wrote, and its exit code.',
  description: 'For programs with a screen of their own use terminal.send_keystrokes and terminal.wait.',
  effect: 'write',
  idempotent: false,
  targeted: false,
  input,
  output,
  errors: [...SESSION_ERRORS, 'MHV_TERMINAL_BUSY', 'MHV_TERMINAL_INPUT_FULL'],
  timeout: 3_700,
  cli: { argument: 'session', rest: 'command' },
  examples: [
    {
      title: 'In the folder in which the shell is',
      input: { session: EXAMPLE_SESSION, command: 'git status --short' },
    },
  ],
  async run(ctx: TerminalContext, { session: id, command, seconds }: z.output<typeof input>) {
    const session = sessionOf(ctx, id)
    const shell = {
      nonce: session.nonce,
      marksOutput: session.nonce !== null && MARKED.test(session.pty.info.command?.[0] ?? ''),
    }
    const { offset, exit, ...result } = await runCommand(session.screen, shell, command, {
      clock: ctx.clock,
      timeoutMs: seconds * 1_000,
      signal: ctx.signal,
      limits: { head: KEPT_BYTES, tail: KEPT_BYTES },
      // What is around the command is ours; what was meant is what is recorded.
      write: (bytes) => session.type(bytes, `${command}\r`),
    })
    return {
      ...result,
      cursor: offset,
      exit: exit && { exit_code: exit.exit_code, signal: exit.signal, reason: exit.reason },
    }
  },
  summarize: ({ output: text, exit_code }) => ({ output: text, exit_code }),
})
