import { z } from 'zod'
import { secretReference } from '../../core/secret-reference.ts'

const MEBIBYTE = 1_048_576
const name = (what: string) =>
  z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, { error: `must be a name of ${what}` })
const word = () =>
  z
    .string()
    .max(4_096)
    .regex(/^[^\0]*$/, { error: 'must not contain a NUL character' })

const aiCli = z.strictObject({
  command: z
    .array(word())
    .min(1)
    .max(100)
    .describe('program and arguments; the program speaks stream-json on standard output'),
  prompt: z
    .enum(['stdin', 'argument'])
    .default('stdin')
    .describe('how it is given its task: on standard input, or as its last argument'),
})

/** A program that takes a task in words. */
export type AiCli = z.output<typeof aiCli>

/** What sessions may do, and what is kept of them. */
export const sessionSettings = {
  commands: z
    .array(word().min(1))
    .max(1_000)
    .default([
      'sh',
      'bash',
      'zsh',
      'fish',
      'top',
      'htop',
      'vim',
      'vi',
      'nano',
      'less',
      'man',
      'tail',
      'watch',
      'journalctl',
      'ssh',
      'python3',
      'node',
      'psql',
      'mysql',
    ])
    .describe(
      'programs that sessions may start, beside the login shell: names as in PATH, or absolute paths; "*" for all. Most of them can start others, so that this is no sandbox',
    ),
  secrets: z
    .record(name('a secret'), secretReference())
    .default({})
    .describe('secrets that may be typed, by the name that { secret: NAME } uses'),
  ai_clis: z
    .record(name('a program'), aiCli)
    .default({})
    .describe(
      'programs for terminal.run_ai, by name: { claude: { command: [claude, --print, --verbose, --output-format, stream-json] } }',
    ),
  recording: z.boolean().default(true).describe('whether sessions are recorded, with what is typed'),
  recording_bytes: z
    .number()
    .int()
    .min(65_536)
    .max(1_024 * MEBIBYTE)
    .default(16 * MEBIBYTE)
    .describe('bytes, compressed, that the recording of one session may have; what is older is thrown away'),
  recordings_bytes: z
    .number()
    .int()
    .min(65_536)
    .max(1_048_576 * MEBIBYTE)
    .default(512 * MEBIBYTE)
    .describe('bytes that all recordings may have; the oldest ended ones are removed when a session starts'),
  max_watchers: z.number().int().min(1).max(1_000).default(20).describe('attached terminals of one session at once'),
} as const
