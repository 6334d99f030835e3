import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import type { PtySignal } from '../sessions/pty-session.ts'
import {
  colsField,
  describeSession,
  EXAMPLE_SESSION,
  exitShape,
  rowsField,
  SESSION_ERRORS,
  sessionId,
  sessionOf,
  sessionShape,
  type TerminalContext,
} from './context.ts'

/** What changes a session without typing into it, and the list of them. */

const resizeInput = z.object({ session: sessionId(), rows: rowsField(), cols: colsField() })
const sizeOutput = z.object({ rows: z.number().int(), cols: z.number().int() })

export const resize = defineOperation({
  id: 'terminal.resize_terminal',
  title: 'Resize a terminal session',
  summary: 'Gives the terminal of a session another size; its program is told (SIGWINCH).',
  effect: 'write',
  idempotent: true,
  targeted: false,
  input: resizeInput,
  output: sizeOutput,
  errors: SESSION_ERRORS,
  timeout: 30,
  cli: { verb: 'resize', argument: 'session' },
  examples: [{ title: 'A large one', input: { session: EXAMPLE_SESSION, rows: 50, cols: 160 } }],
  async run(ctx: TerminalContext, { session, rows, cols }: z.output<typeof resizeInput>) {
    await sessionOf(ctx, session).resize(rows, cols)
    return { rows, cols }
  },
  summarize: ({ rows, cols }) => ({ output: `${cols}x${rows}` }),
})

const SIGNALS = {
  2: 'SIGINT',
  3: 'SIGQUIT',
  9: 'SIGKILL',
  15: 'SIGTERM',
  18: 'SIGCONT',
  20: 'SIGTSTP',
} as const satisfies Record<number, PtySignal>
type SignalNumber = keyof typeof SIGNALS

const signalInput = z.object({
  session: sessionId(),
  signal: z
    .literal([2, 3, 9, 15, 18, 20])
    .describe('2 INT, 3 QUIT, 9 KILL, 15 TERM, 18 CONT, 20 TSTP: the numbers that Linux has for them'),
})

export const signal = defineOperation({
  id: 'terminal.send_signal',
  title: 'Signal the program in a terminal session',
  summary: 'Sends a signal to the foreground job of a session, and to nothing else.',
  effect: 'write',
  idempotent: false,
  targeted: false,
  input: signalInput,
  output: z.object({ signal: z.string() }),
  errors: [...SESSION_ERRORS, 'MHV_TERMINAL_NO_FOREGROUND'],
  timeout: 30,
  cli: { verb: 'signal', argument: 'session' },
  examples: [{ title: 'Interrupt', input: { session: EXAMPLE_SESSION, signal: 2 } }],
  async run(ctx: TerminalContext, { session, signal: number }: z.output<typeof signalInput>) {
    const name = SIGNALS[number as SignalNumber]
    await sessionOf(ctx, session).pty.signal(name)
    return { signal: name }
  },
  summarize: ({ signal: name }) => ({ output: name }),
})

const closeInput = z.object({ session: sessionId() })

export const close = defineOperation({
  id: 'terminal.close',
  title: 'Close a terminal session',
  summary: 'Ends what runs in a session (HUP, then KILL) and forgets it; its recording stays.',
  effect: 'write',
  idempotent: true,
  targeted: false,
  input: closeInput,
  output: z.object({ session: z.string(), exit: exitShape }),
  errors: SESSION_ERRORS,
  timeout: 60,
  cli: { argument: 'session' },
  examples: [{ title: 'One', input: { session: EXAMPLE_SESSION } }],
  async run(ctx: TerminalContext, { session: id }: z.output<typeof closeInput>) {
    const { pty, ended } = sessionOf(ctx, id)
    await pty.close()
    await ended
    const { exit_code, signal: name, reason } = await pty.exited
    return { session: id, exit: { exit_code, signal: name, reason } }
  },
  summarize: ({ session }) => ({ output: session }),
})

export const list = defineOperation({
  id: 'terminal.list',
  title: 'List terminal sessions',
  summary: 'Lists the sessions of the caller, those that have ended and were not closed yet included.',
  effect: 'read',
  idempotent: true,
  targeted: false,
  input: z.object({}),
  output: z.object({ sessions: z.array(sessionShape) }),
  errors: ['MHV_TERMINAL_HOST_BUSY', 'MHV_TERMINAL_HOST_VERSION', 'MHV_TERMINAL_HOST_DOWN'],
  timeout: 30,
  examples: [{ title: 'All', input: {} }],
  async run({ connection, principal }: TerminalContext) {
    return { sessions: connection.list(principal).map(describeSession) }
  },
  summarize: ({ sessions }) => ({
    output: sessions
      .map((each) => {
        const state =
          each.exit === null ? 'running' : `${each.exit.reason} ${each.exit.signal ?? each.exit.exit_code ?? ''}`.trim()
        return [
          each.session,
          state,
          each.target ?? 'local',
          `${each.cols}x${each.rows}`,
          each.command ?? 'login shell',
        ].join('  ')
      })
      .join('\n'),
  }),
})
