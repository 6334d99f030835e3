import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import { didYouMean, quoted } from '../../../core/suggest.ts'
import { keysInput, parseKeys } from '../keys/key-notation.ts'
import { typeKeys } from '../keys/type-keys.ts'
import type { LiveSession } from '../sessions/live-session.ts'
import { EXAMPLE_SESSION, SESSION_ERRORS, sessionId, sessionOf, type TerminalContext } from './context.ts'

const input = z.object({
  session: sessionId(),
  keys: keysInput,
  delay_ms: z.number().int().min(0).max(10_000).default(10).describe('milliseconds between two keys'),
  secret_may_show: z
    .boolean()
    .default(false)
    .describe(
      'types a secret also where the terminal may show it, as it has to be on a host whose terminal cannot be asked',
    ),
})

const output = z.object({
  strokes: z.number().int().describe('writes to the terminal'),
  bytes: z.number().int(),
  cursor: z.number().int().describe('cursor of the output when the first key was typed: wait or read from here'),
})

export const send = defineOperation({
  id: 'terminal.send_keystrokes',
  title: 'Type into a terminal session',
  summary: 'Types text and keys into a session.',
  description:
    'Keys are names such as Enter, Ctrl+C, Up, F5, Alt+b; text that is no such name is typed. What is typed is in the journal ' +
    'and in the recording; {"secret": NAME} types a secret of terminal.secrets, which is in neither. Instead of sleeping, use ' +
    'terminal.wait with the cursor of the answer.',
  effect: 'write',
  idempotent: false,
  targeted: false,
  input,
  output,
  errors: [
    ...SESSION_ERRORS,
    'MHV_TERMINAL_INPUT_FULL',
    'MHV_TERMINAL_SECRET_UNKNOWN',
    'MHV_TERMINAL_ECHO',
    'MHV_SECRET_UNRESOLVED',
  ],
  timeout: 600,
  cli: { verb: 'send', argument: 'session', rest: 'keys' },
  examples: [
    { title: 'A line', input: { session: EXAMPLE_SESSION, keys: 'ls -l\n' } },
    {
      title: 'Save and leave vim',
      input: { session: EXAMPLE_SESSION, keys: ['Escape', ':wq', 'Enter'] },
    },
    {
      title: 'A password that is asked for',
      input: { session: EXAMPLE_SESSION, keys: [{ secret: 'db-password' }, 'Enter'] },
    },
  ],
  async run(ctx: TerminalContext, { session: id, keys, delay_ms, secret_may_show }: z.output<typeof input>) {
    const session = sessionOf(ctx, id)
    const events = parseKeys(keys)
    for (const event of events) if (event.kind === 'secret') referenceOf(ctx, event.name)
    const cursor = session.screen.end()
    let name = ''
    const typed = await typeKeys(events, {
      clock: ctx.clock,
      delayMs: delay_ms,
      signal: ctx.signal,
      modes: () => session.screen.modes(),
      write: (stroke) => session.type(stroke.bytes, stroke.kind === 'secret' ? `[secret ${name}]` : undefined),
      secret: (wanted) => {
        name = wanted
        return secretValue(ctx, session, wanted, secret_may_show)
      },
    })
    return { ...typed, cursor }
  },
  summarize: ({ strokes }) => ({ output: `${strokes} keys` }),
})

function referenceOf({ settings }: TerminalContext, name: string) {
  const found = Object.hasOwn(settings.secrets, name) ? settings.secrets[name] : undefined
  if (found !== undefined) return found
  const names = Object.keys(settings.secrets)
  throw mhvError('MHV_TERMINAL_SECRET_UNKNOWN', `terminal.secrets has no ${quoted(name)}${didYouMean(name, names)}`)
}

/** The value, right before it is typed: by then the terminal has to hide it, and all that is written has to mask it. */
async function secretValue(
  ctx: TerminalContext,
  session: LiveSession,
  name: string,
  mayShow: boolean,
): Promise<string> {
  const reference = referenceOf(ctx, name)
  if (!mayShow) await assertHidden(session, name)
  const secret = await ctx.secrets.resolve(reference)
  await session.secret(name)
  // A program may have given it, which takes its time: what has asked for it may have given up by now.
  if (!mayShow) await assertHidden(session, name)
  return secret.reveal()
}

async function assertHidden(session: LiveSession, name: string): Promise<void> {
  const state = await session.echo()
  if (state === 'hidden') return
  const why =
    state === 'shown' ? 'the terminal shows what is typed' : 'nobody can tell whether the terminal shows what is typed'
  throw mhvError('MHV_TERMINAL_ECHO', `the secret ${quoted(name)} was not typed: ${why}`, { details: { echo: state } })
}
