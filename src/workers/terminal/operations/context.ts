import { z } from 'zod'
import type { OperationContext } from '../../../core/context.ts'
import type { TerminalConnection } from '../sessions/hub.ts'
import type { LiveSession } from '../sessions/live-session.ts'
import type { TerminalSettings } from '../settings.ts'

export type TerminalContext = OperationContext<TerminalConnection, TerminalSettings, Record<string, never>>

export const sessionId = () =>
  z
    .string()
    .min(1)
    .max(64)
    .describe('id of the session, as terminal.start_interactive_session and terminal.list give it')

export const rowsField = () => z.number().int().min(1).max(500).describe('rows of the terminal')
export const colsField = () => z.number().int().min(1).max(1_000).describe('columns of the terminal')

/** Byte cursor into the output of a session. */
export const cursorField = () => z.number().int().min(0)

export const exitShape = z.object({
  exit_code: z.number().int().nullable().describe('null where a signal ended the program and where nobody knows'),
  signal: z.string().nullable().describe('the signal that ended it, as SIGKILL'),
  reason: z.enum(['exited', 'closed', 'idle', 'lifetime', 'lost']).describe('why the session is over'),
})

/** A session as it is told of. */
export const sessionShape = z.object({
  session: z.string(),
  kind: z.enum(['local', 'remote']),
  target: z.string().nullable(),
  command: z.string().nullable().describe('null for the login shell'),
  run_id: z.string().describe('run that started it'),
  term: z.string(),
  rows: z.number().int(),
  cols: z.number().int(),
  started_at: z.string().describe('ISO 8601 UTC'),
  last_used_at: z.string().describe('ISO 8601 UTC: the last input or output'),
  watchers: z.number().int().describe('attached terminals'),
  recorded: z.boolean().describe('false also where the recording could not be written any longer'),
  cursor: z.number().int().describe('bytes that the program has written so far'),
  exit: exitShape.nullable().describe('null while the program runs'),
})

export function describeSession(session: LiveSession): z.input<typeof sessionShape> {
  const { info } = session.pty
  const exit = session.pty.exit()
  return {
    session: info.id,
    kind: info.kind,
    target: info.target,
    command: shownCommand(info.command),
    run_id: info.run_id,
    term: info.term,
    ...session.pty.size(),
    started_at: new Date(info.started_at).toISOString(),
    last_used_at: new Date(session.pty.lastUsed()).toISOString(),
    watchers: session.watchers(),
    recorded: session.recorded(),
    cursor: session.pty.cursor(),
    exit: exit === null ? null : { exit_code: exit.exit_code, signal: exit.signal, reason: exit.reason },
  }
}

/** As it was asked for: the file with the marks of a shell is ours. */
function shownCommand(command: readonly string[] | null): string | null {
  if (command === null) return null
  const marked = command[1] === '--rcfile' && command[2]?.includes('/terminal/shells/') === true
  return marked ? (command[0] as string) : command.join(' ')
}

/** File of a session's recording, relative to the instance folder; null where it is not recorded. */
export function recordingPath({ pty, recorded }: LiveSession): string | null {
  return recorded() ? `terminal/recordings/${pty.info.id}.cast.gz` : null
}

/** The session that a call names, if it is the caller's. @throws MHV_TERMINAL_UNKNOWN */
export function sessionOf({ connection, principal }: TerminalContext, id: string): LiveSession {
  return connection.session(id, principal)
}

/** Example of a session's id, in the form that there are. */
export const EXAMPLE_SESSION = '01K5E2W9QZ3V7M4T8N6R1XJYHB'

/** What every operation on a session may end with. */
export const SESSION_ERRORS = [
  'MHV_TERMINAL_UNKNOWN',
  'MHV_TERMINAL_ENDED',
  'MHV_TERMINAL_LOST',
  'MHV_TERMINAL_HOST_BUSY',
  'MHV_TERMINAL_HOST_VERSION',
  'MHV_TERMINAL_HOST_DOWN',
] as const
