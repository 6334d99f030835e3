import { z } from 'zod'
import { sessionSettings } from './settings-sessions.ts'

const MEBIBYTE = 1_048_576

const seconds = (max: number) => z.number().positive().max(max)
const path = () => z.string().regex(/^[^\0\r\n]+$/, { error: 'must be a path' })

/** Name of an environment variable. */
export const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/

export const terminalSettings = z.object({
  max_sessions: z.number().int().min(1).max(1000).default(50).describe('sessions at once, local and remote together'),
  max_sessions_per_owner: z.number().int().min(1).max(1000).default(20).describe('sessions at once of one principal'),
  scrollback_bytes: z
    .number()
    .int()
    .min(MEBIBYTE / 4)
    .max(64 * MEBIBYTE)
    .default(MEBIBYTE)
    .describe('bytes of output kept per session to be read again; it takes them as they are needed'),
  memory_limit_mb: z
    .number()
    .int()
    .min(64)
    .max(65_536)
    .default(256)
    .describe('MiB that the PTY host may have; beyond them it starts no session'),
  idle_timeout: seconds(7 * 86_400)
    .default(1_800)
    .describe('seconds without any input or output after which a session is ended'),
  max_lifetime: seconds(30 * 86_400)
    .default(86_400)
    .describe('seconds after which a session is ended, used or not'),
  host_idle_timeout: seconds(86_400)
    .default(300)
    .describe('seconds that the PTY host stays without Mahavishnu and without a session; with sessions it stays on'),
  close_grace: seconds(60).default(2).describe('seconds between HUP and KILL when a session is ended'),
  directories: z
    .array(path())
    .min(1)
    .max(100)
    .default(['~'])
    .describe('folders in which, or below which, local sessions may start; the first is where they start unless told'),
  environment: z
    .array(z.string().regex(VARIABLE, { error: 'must be the name of an environment variable' }))
    .max(100)
    .default([])
    .describe(
      'variables of our own environment that local sessions get, beside PATH, HOME, LANG, LC_ALL, TZ, TMPDIR, USER, LOGNAME and SHELL',
    ),
  ...sessionSettings,
})

export type TerminalSettings = z.output<typeof terminalSettings>

/** Remote sessions go through the target's block of the worker that provides RemotePty. */
export const terminalTarget = z.object({})
