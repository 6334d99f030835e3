import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import { remoteCommand } from '../sessions/remote-command.ts'
import { loginShell } from '../sessions/start-place.ts'
import { assertAllowed, commandWords } from './command-words.ts'
import {
  colsField,
  describeSession,
  recordingPath,
  rowsField,
  SESSION_ERRORS,
  sessionShape,
  type TerminalContext,
} from './context.ts'

const input = z.object({
  command: z
    .string()
    .min(1)
    .max(65_536)
    .regex(/^[^\0]*$/, { error: 'must not contain a NUL character' })
    .optional()
    .describe('program and arguments, with quotes as in a shell but without a shell; default: the login shell'),
  term_type: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$/, { error: 'must be a terminal type, as in terminfo' })
    .default('xterm-256color')
    .describe('value of TERM'),
  rows: rowsField().default(24),
  cols: colsField().default(80),
  directory: z
    .string()
    .min(1)
    .max(4_096)
    .optional()
    .describe('folder in which a local session starts: one of terminal.directories or a folder below'),
  env: z.record(z.string(), z.string()).optional().describe('environment variables of a local session, by name'),
  marks: z
    .boolean()
    .default(true)
    .describe(
      'whether a local bash or zsh that is started without arguments tells where prompts and outputs begin (OSC 133)',
    ),
})

type StartInput = z.output<typeof input>

const output = sessionShape.extend({
  recording: z.string().nullable().describe('file of the recording, relative to the instance folder; null without one'),
})

export const start = defineOperation({
  id: 'terminal.start_interactive_session',
  title: 'Start a terminal session',
  summary:
    'Starts a program in a terminal, on this machine or, with a target, on a host over SSH, and returns the id of the session.',
  description:
    'The session goes on until its program ends, terminal.close ends it, nothing happened in it for terminal.idle_timeout, ' +
    'or terminal.max_lifetime has passed. Only its owner, the principal that started it, can reach it. The program has to be ' +
    'in terminal.commands; a shell can start anything, so that this list is no sandbox. What is typed and shown is recorded.',
  effect: 'destroy',
  effectOf: () => 'write',
  idempotent: false,
  targeted: 'optional',
  input,
  output,
  errors: [
    ...SESSION_ERRORS.filter((code) => code !== 'MHV_TERMINAL_UNKNOWN' && code !== 'MHV_TERMINAL_ENDED'),
    'MHV_TERMINAL_COMMAND_DENIED',
    'MHV_TERMINAL_LIMIT',
    'MHV_TERMINAL_DIRECTORY',
    'MHV_TERMINAL_ENVIRONMENT',
    'MHV_TERMINAL_NOT_STARTED',
    'MHV_PORT_MISSING',
  ],
  timeout: 60,
  cli: { verb: 'start', rest: 'command' },
  examples: [
    { title: 'The login shell of this machine', input: {} },
    {
      title: 'An editor on a host, with room',
      target: 'web-1',
      input: { command: "vim '/srv/app/my settings.yaml'", rows: 40, cols: 120 },
    },
  ],
  async run(ctx: TerminalContext, request: StartInput) {
    const words = request.command === undefined ? null : commandWords(request.command)
    if (words !== null) assertAllowed(words[0], ctx.settings.commands)
    const session = await (ctx.target === null ? startHere(ctx, request, words) : startThere(ctx, request, words))
    return { ...describeSession(session), recording: recordingPath(session) }
  },
  summarize: ({ session }) => ({ output: session }),
})

function common({ principal, run_id }: TerminalContext, { term_type, rows, cols }: StartInput) {
  return { owner: principal.id, run_id, term: term_type, rows, cols }
}

async function startHere(ctx: TerminalContext, request: StartInput, words: readonly string[] | null) {
  const { directory, env } = request
  const { connection } = ctx
  const shell = request.marks && (words === null || words.length === 1) ? markedShell(words?.[0]) : undefined
  const marked = shell === undefined ? undefined : await connection.shells.write(shell)
  const own = { ...env, ...marked?.environment }
  return connection.startLocal(
    {
      ...common(ctx, request),
      command: marked?.command ?? words,
      ...(directory === undefined ? {} : { cwd: directory }),
      ...(Object.keys(own).length === 0 ? {} : { env: own }),
    },
    marked ?? null,
  )
}

/** Shells that take the file with their marks as an argument or by a variable of their own. */
const MARKED = /(?:^|\/)(?:bash|zsh)$/

function markedShell(program: string | undefined): string | undefined {
  const shell = program ?? loginShell(process.env as Record<string, string>)
  return MARKED.test(shell) ? shell : undefined
}

async function startThere(ctx: TerminalContext, request: StartInput, words: readonly string[] | null) {
  if (request.directory !== undefined || request.env !== undefined) {
    throw mhvError('MHV_INPUT_INVALID', 'directory and env are for local sessions only')
  }
  const target = ctx.target?.name as string
  const command = words === null ? null : remoteCommand(words)
  return ctx.connection.startRemote({ ...common(ctx, request), target, command }, ctx.signal)
}
