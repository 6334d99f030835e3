import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import { attach as join } from '../attach/attached.ts'
import { EXAMPLE_SESSION, SESSION_ERRORS, sessionId, sessionOf, type TerminalContext } from './context.ts'

const input = z.object({
  session: sessionId(),
  read_only: z.boolean().default(false).describe('only watches'),
  key_sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, { error: 'must be a SHA-256 in hexadecimal' })
    .optional()
    .describe(
      'digest of the key that whoever connects to the socket of the instance will show; the command line makes one by itself',
    ),
})

const output = z.object({
  session: z.string(),
  why: z.enum(['exited', 'detached', 'cancelled', 'gone']).describe('gone: the terminal was closed without a word'),
  bytes_in: z.number().int(),
  bytes_refused: z.number().int().describe('bytes that were typed and that the session did not take'),
  bytes_out: z.number().int(),
})

/** As long as a session may last. */
const LONGEST_SECONDS = 86_400

export const attach = defineOperation({
  id: 'terminal.attach',
  title: 'Attach a terminal to a session',
  summary:
    'Joins a terminal of this machine to a session; the run lasts until it is detached, and its output are the typed lines.',
  description:
    'For `mahavishnu terminal attach SESSION`, which connects its own terminal. Several may be attached at once, also only to ' +
    'watch. Cancelling the run detaches it; the session goes on.',
  effect: 'write',
  effectOf: ({ read_only }) => (read_only ? 'read' : 'write'),
  idempotent: false,
  targeted: false,
  input,
  output,
  errors: [...SESSION_ERRORS, 'MHV_TERMINAL_WATCHERS', 'MHV_TERMINAL_NOT_ATTACHED', 'MHV_INSTANCE_INVALID'],
  timeout: LONGEST_SECONDS,
  cli: { argument: 'session', terminal: 'attach' },
  examples: [
    { title: 'To work in it', input: { session: EXAMPLE_SESSION } },
    { title: 'To watch', input: { session: EXAMPLE_SESSION, read_only: true } },
  ],
  async run(ctx: TerminalContext, { session: id, read_only, key_sha256 }: z.output<typeof input>) {
    const session = sessionOf(ctx, id)
    const { max_watchers } = ctx.settings
    if (session.watchers() >= max_watchers) {
      throw mhvError(
        'MHV_TERMINAL_WATCHERS',
        `${max_watchers} terminals are attached, and terminal.max_watchers is ${max_watchers}`,
      )
    }
    if (key_sha256 === undefined)
      throw mhvError('MHV_TERMINAL_NOT_ATTACHED', 'there is no key_sha256 by which to know who comes')
    const peer = await ctx.connection.streams.meet(key_sha256, ctx.signal)
    const writes: Promise<void>[] = []
    const outcome = await join(session, peer, {
      clock: ctx.clock,
      log: ctx.log,
      masker: ctx.connection.masker,
      signal: ctx.signal,
      readOnly: read_only,
      onLine: (line) => void writes.push(ctx.output.write('stdout', Buffer.from(`${line}\n`))),
    })
    await Promise.all(writes)
    await ctx.output.collect('stdout')
    if (outcome.why === 'cancelled') throw ctx.signal.reason
    return { session: id, ...outcome }
  },
  summarize: ({ why }) => ({ output: why }),
})
