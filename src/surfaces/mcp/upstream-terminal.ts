import { z } from 'zod'
import type { EnvelopeInput } from '../../core/envelope.ts'
import type { ErrorCode } from '../../core/error-table.ts'
import { mhvError, toMhvError } from '../../core/errors.ts'
import type { Effect } from '../../core/operation.ts'
import type { Instance } from '../../runtime/instance.ts'
import { parseWith } from '../../runtime/steps/parse.ts'
import { publicSchema } from '../json-schema.ts'
import type { ExtraCall, ExtraTool } from './extra-tools.ts'

/**
 * The original project's terminal tools, for the profile `upstream`: its names and shapes for operations of the worker
 * `terminal`. Each call ends in `invoke`, under the principal of whoever calls, so that nobody reaches another's session.
 */

type Invoke = (verb: string, input: object, target?: string) => Promise<Record<string, unknown>>

interface TerminalTool<I extends z.ZodObject> {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly effect: Effect
  readonly idempotent: boolean
  readonly input: I
  readonly output: z.ZodType
  /** @param undo the same as `invoke`, also when the caller has gone away */
  run(invoke: Invoke, input: z.output<I>, undo: Invoke): Promise<Record<string, unknown>>
}

/** Longer than these calls take; clients give up after 60 seconds. */
const ANSWER_SECONDS = 45

function tool<I extends z.ZodObject>({ input, output, run, ...facts }: TerminalTool<I>): ExtraTool {
  return {
    ...facts,
    openWorld: true,
    inputSchema: publicSchema(input, 'input'),
    outputSchema: publicSchema(output, 'output'),
    call: async (instance, given, call) =>
      run(invokeOf(instance, call, call.signal), parseWith(input, given), invokeOf(instance, call)),
  }
}

function invokeOf(instance: Instance, { principal, surface }: ExtraCall, signal?: AbortSignal): Invoke {
  return async (verb, input, target) => {
    const result = await instance.invoke({
      operation: `terminal.${verb}`,
      input,
      envelope: { wait: ANSWER_SECONDS, ...(target === undefined ? {} : { target }) } as EnvelopeInput,
      principal,
      surface,
      ...(signal === undefined ? {} : { signal }),
    })
    if (result.status === 'completed') return result.data as Record<string, unknown>
    const code = (result.error_code ?? 'MHV_RUN_TIMEOUT') as ErrorCode
    const message =
      result.error ?? `terminal.${verb} takes longer than ${ANSWER_SECONDS} seconds: run ${result.run_id} goes on`
    throw mhvError(code, message, { details: { run_id: result.run_id } })
  }
}

const sessionId = z.string().min(1).max(64).describe('id that terminal_launch gave')
const lines = z
  .number()
  .int()
  .min(1)
  .max(224)
  .nullable()
  .default(null)
  .describe('last lines of the screen and of what scrolled off it; null for all there are')

const launch = tool({
  name: 'terminal_launch',
  title: 'Launch terminal sessions',
  description:
    'Launches sessions that run a program of terminal.commands, on this machine or on a target. They end with their program, ' +
    'by terminal_close, or when nothing happens in them for long.',
  effect: 'destroy',
  idempotent: false,
  input: z.object({
    command: z.string().min(1).max(65_536).describe('program and arguments; no shell reads it'),
    count: z.number().int().min(1).max(50).default(1),
    columns: z.number().int().min(1).max(1_000).default(120),
    rows: z.number().int().min(1).max(500).default(40),
    target: z.string().min(1).max(128).optional().describe('name of a target in the inventory; default: this machine'),
  }),
  output: z.object({ result: z.array(z.string()).describe('ids of the sessions') }),
  async run(invoke, { command, count, columns, rows, target }, undo) {
    const result: string[] = []
    try {
      for (let each = 0; each < count; each++) {
        const { session } = await invoke('start_interactive_session', { command, rows, cols: columns }, target)
        result.push(session as string)
      }
    } catch (error) {
      // All or none: nobody would know the ids of those that are there.
      for (const session of result) await undo('close', { session }).catch(() => undefined)
      throw error
    }
    return { result }
  },
})

const send = tool({
  name: 'terminal_send',
  title: 'Send a command to a terminal session',
  description: 'Types a command and Enter into a session.',
  effect: 'write',
  idempotent: false,
  input: z.object({ session_id: sessionId, command: z.string().min(1).max(65_536) }),
  output: z.object({ status: z.literal('success'), session_id: z.string(), command: z.string() }),
  async run(invoke, { session_id, command }) {
    await invoke('send_keystrokes', { session: session_id, keys: [{ text: command }, { key: 'Enter' }] })
    return { status: 'success', session_id, command }
  },
})

async function captured(invoke: Invoke, session: string, wanted: number | null): Promise<string> {
  const shown = await invoke('snapshot', { session, history: 200 })
  const all = [...(shown.history as string[]), ...(shown.lines as string[])]
  while (all.at(-1) === '') all.pop()
  return all.slice(wanted === null ? 0 : -wanted).join('\n')
}

const capture = tool({
  name: 'terminal_capture',
  title: 'Capture the output of a terminal session',
  description: 'Gives the text of the screen of a session, and of the lines that scrolled off it.',
  effect: 'read',
  idempotent: true,
  input: z.object({ session_id: sessionId, lines }),
  output: z.object({ result: z.string() }),
  run: async (invoke, { session_id, lines: wanted }) => ({ result: await captured(invoke, session_id, wanted) }),
})

const captureAll = tool({
  name: 'terminal_capture_all',
  title: 'Capture the output of several terminal sessions',
  description:
    'Gives the text of the screens of sessions, by their ids; a session that cannot be read has its error instead.',
  effect: 'read',
  idempotent: true,
  input: z.object({
    session_ids: z.array(sessionId).max(50).optional().describe('all of the caller, if left out'),
    lines,
  }),
  output: z.record(z.string(), z.string()),
  async run(invoke, { session_ids, lines: wanted }) {
    const ids = session_ids ?? (await sessionsOf(invoke)).map(({ session_id }) => session_id)
    const texts = ids.map(async (id) => {
      const text = await captured(invoke, id, wanted).catch((error: unknown) => `error: ${toMhvError(error).message}`)
      return [id, text] as const
    })
    return Object.fromEntries(await Promise.all(texts))
  },
})

async function sessionsOf(invoke: Invoke) {
  const { sessions } = (await invoke('list', {})) as { readonly sessions: readonly Record<string, unknown>[] }
  return sessions.map(({ session, command, target, rows, cols, started_at, exit }) => ({
    session_id: session as string,
    command: command as string | null,
    target: target as string | null,
    columns: cols as number,
    rows: rows as number,
    created_at: started_at as string,
    status: exit === null ? 'running' : 'ended',
  }))
}

const list = tool({
  name: 'terminal_list',
  title: 'List terminal sessions',
  description: 'Lists the terminal sessions of the caller.',
  effect: 'read',
  idempotent: true,
  input: z.object({}),
  output: z.object({
    result: z.array(
      z.object({
        session_id: z.string(),
        command: z.string().nullable(),
        target: z.string().nullable(),
        columns: z.number().int(),
        rows: z.number().int(),
        created_at: z.string(),
        status: z.enum(['running', 'ended']),
      }),
    ),
  }),
  run: async (invoke) => ({ result: await sessionsOf(invoke) }),
})

const close = tool({
  name: 'terminal_close',
  title: 'Close a terminal session',
  description: 'Ends what runs in a session, and the session.',
  effect: 'write',
  idempotent: true,
  input: z.object({ session_id: sessionId }),
  output: z.object({ status: z.literal('success'), session_id: z.string() }),
  async run(invoke, { session_id }) {
    await invoke('close', { session: session_id })
    return { status: 'success', session_id }
  },
})

const closeAll = tool({
  name: 'terminal_close_all',
  title: 'Close all terminal sessions',
  description: 'Closes all terminal sessions of the caller.',
  effect: 'write',
  idempotent: true,
  input: z.object({}),
  output: z.object({ closed_count: z.number().int(), errors: z.array(z.string()) }),
  async run(invoke) {
    const sessions = await sessionsOf(invoke)
    const closed = await Promise.allSettled(sessions.map(({ session_id }) => invoke('close', { session: session_id })))
    const errors = closed.flatMap((each) => (each.status === 'rejected' ? [toMhvError(each.reason).message] : []))
    return { closed_count: sessions.length - errors.length, errors }
  },
})

export const upstreamTerminalTools: readonly ExtraTool[] = [launch, send, capture, captureAll, list, close, closeAll]
