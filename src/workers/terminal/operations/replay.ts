import { z } from 'zod'
import { parseCast } from '../../../core/asciicast.ts'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { RecordingFacts } from '../recording/recording-files.ts'
import { createScreen, type Screen } from '../screen/screen.ts'
import { EXAMPLE_SESSION, type TerminalContext } from './context.ts'

/** Longest text of an export, in characters; the end of it is kept. */
const MAX_TEXT = 262_144

const input = z.object({
  recording: z.string().min(1).max(64).describe('id of the run that started the session, or of the session'),
  format: z
    .enum(['file', 'txt', 'svg'])
    .default('file')
    .describe('file: only where the recording is; txt: what was shown, as text; svg: an image of the screen'),
  at: z.number().min(0).optional().describe('for svg and txt: seconds from the beginning; default: the end'),
})

const output = z.object({
  session: z.string(),
  run_id: z.string(),
  files: z.array(z.string()).describe('asciicast v2, gzip, relative to the instance folder, oldest first'),
  started_at: z.string().describe('ISO 8601 UTC'),
  ended_at: z.string().nullable(),
  cut: z.boolean().describe('the beginning was thrown away to stay within terminal.recording_bytes'),
  content: z.string().nullable(),
})

export const replay = defineOperation({
  id: 'terminal.replay',
  title: 'Find or export the recording of a terminal session',
  summary: 'Tells where the recording of a session is, or exports it as text or as an image.',
  description:
    'On the command line it plays the recording; `--format txt` and `--format svg` export it. The recording is that of the ' +
    'caller himself, whether the session still goes on or not.',
  effect: 'read',
  idempotent: true,
  targeted: false,
  input,
  output,
  errors: [
    'MHV_TERMINAL_RECORDING_UNKNOWN',
    'MHV_TERMINAL_HOST_BUSY',
    'MHV_TERMINAL_HOST_VERSION',
    'MHV_TERMINAL_HOST_DOWN',
  ],
  timeout: 120,
  cli: { argument: 'recording', terminal: 'replay' },
  examples: [
    { title: 'Where it is', input: { recording: EXAMPLE_SESSION } },
    { title: 'The last screen as an image', input: { recording: EXAMPLE_SESSION, format: 'svg' } },
  ],
  async run({ connection, principal }: TerminalContext, { recording, format, at }: z.output<typeof input>) {
    const { recordings, masker } = connection
    const known = await factsOf(recordings, recording)
    // Whose it is, and whether there is one, is told to nobody else.
    if (known === null || known.owner !== principal.id) {
      throw mhvError('MHV_TERMINAL_RECORDING_UNKNOWN', 'there is no such recording of this principal')
    }
    await connection.flush(known.session)
    const facts = (await recordings.facts(known.session)) ?? known
    const parts = await recordings.parts(facts.session)
    const content = format === 'file' ? null : masker.text(await exported(parts, format, at))
    return {
      session: facts.session,
      run_id: facts.run_id,
      files: (await recordings.present(facts.session)).map((name) => `terminal/recordings/${name}`),
      started_at: new Date(facts.started_at).toISOString(),
      ended_at: facts.ended_at === null ? null : new Date(facts.ended_at).toISOString(),
      cut: facts.cut,
      content,
    }
  },
  summarize: ({ content, files }) => ({ output: content ?? files.join('\n') }),
})

async function factsOf(
  recordings: TerminalContext['connection']['recordings'],
  id: string,
): Promise<RecordingFacts | null> {
  const all = await recordings.list()
  return all.find(({ run_id, session }) => run_id === id || session === id) ?? null
}

/** Plays the recording into a screen of its own. */
async function exported(
  parts: readonly string[],
  format: 'txt' | 'svg',
  at = Number.POSITIVE_INFINITY,
): Promise<string> {
  const casts = parts.map(parseCast)
  const [first] = casts
  if (first === undefined) return ''
  const screen = createScreen({
    rows: first.header.height,
    cols: first.header.width,
    history: 10_000,
    answer: () => undefined,
  })
  try {
    let offset = 0
    for (const { header, events } of casts) {
      await screen.resize(header.height, header.width)
      for (const event of events) {
        if (event.at > at) break
        if (event.kind === 'o') {
          const bytes = Buffer.from(event.data)
          await screen.feed(bytes, offset, true)
          offset += bytes.length
        } else if (event.kind === 'r') await resizeTo(screen, event.data)
      }
    }
    if (format === 'svg') return await screen.svg()
    const { history = [], lines } = await screen.snapshot({ history: 10_000 })
    return `${[...history, ...lines].join('\n').trimEnd()}\n`.slice(-MAX_TEXT)
  } finally {
    screen.dispose()
  }
}

async function resizeTo(screen: Screen, data: string): Promise<void> {
  const [cols = 0, rows = 0] = data.split('x').map(Number)
  if (rows > 0 && cols > 0) await screen.resize(rows, cols)
}
