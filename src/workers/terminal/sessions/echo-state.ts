import { readlink } from 'node:fs/promises'
import { exec } from '../../../core/exec.ts'
import type { PtySession } from './pty-session.ts'

/**
 * Whether what is typed now would be shown.
 *
 * - `hidden`: the terminal takes a line and does not echo it: that is how programs ask for passwords.
 * - `shown`: the terminal echoes.
 * - `unknown`: the program takes every key by itself (shells with a line editor, editors, ssh) and shows what it likes; or
 *   the terminal is on another host.
 */
export type EchoState = 'hidden' | 'shown' | 'unknown'

const ASK_MS = 2_000

/** Asks the kernel for the settings of the session's terminal; for a remote one nobody can be asked. */
export async function echoState({ info, exit }: Pick<PtySession, 'info' | 'exit'>): Promise<EchoState> {
  if (info.kind === 'remote' || info.pid === null || exit() !== null) return 'unknown'
  const device = await terminalOf(info.pid)
  if (device === undefined) return 'unknown'
  const flag = process.platform === 'linux' ? '-F' : '-f'
  const args = [flag, device, '-a']
  const asked = await exec({ program: 'stty', args, timeoutMs: ASK_MS, maxBytes: 16_384 }).catch(() => undefined)
  if (asked?.exit_code !== 0) return 'unknown'
  const words = asked.stdout.split(/[\s;]+/)
  if (words.includes('echo')) return 'shown'
  return words.includes('-echo') && words.includes('icanon') ? 'hidden' : 'unknown'
}

/** The device of a process's terminal. */
async function terminalOf(pid: number): Promise<string | undefined> {
  if (process.platform === 'linux') {
    for (const descriptor of [0, 1, 2]) {
      const path = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')
      if (/^\/dev\/pts\/[0-9]+$/.test(path)) return path
    }
    return undefined
  }
  const args = ['-o', 'tty=', '-p', String(pid)]
  const asked = await exec({ program: 'ps', args, timeoutMs: ASK_MS, maxBytes: 1_024 }).catch(() => undefined)
  const name = asked?.stdout.trim() ?? ''
  return /^tty[a-z0-9]+$/i.test(name) ? `/dev/${name}` : undefined
}

/** The end of a line that asks for something that is not to be shown. */
const PROMPT =
  /(?:pass(?:word|phrase|code|wort)|\bpin\b|\btoken\b|\bsecret\b|one-time code|verification code)[^:?>]{0,80}[:?>]\s*$/i

/** Whether a line of the screen, up to the cursor, looks as if a password was asked for. Only ever used to hide more. */
export function looksLikePasswordPrompt(line: string): boolean {
  return PROMPT.test(line)
}
