import { basename } from 'node:path/posix'
import type { Clock } from '../../core/clock.ts'
import { type MhvError, mhvError } from '../../core/errors.ts'
import type { SshConnection } from './connection.ts'
import { controlExec } from './control-exec.ts'
import { plainText } from './remote-text.ts'
import { newMarker } from './start-report.ts'

/** What the account's login shell makes of a line. */
export interface LoginShell {
  /** Path of the shell, as the account has it. */
  readonly path: string
  /** It reads POSIX shell lines; one that does not (fish, csh) gets them wrapped for /bin/sh. */
  readonly posix: boolean
  /** There is a /bin/sh. */
  readonly sh: boolean
  /** The account runs no commands, for this reason; files may be moved all the same. */
  readonly refusal?: MhvError
}

/** What an account has that runs no commands: one for SFTP alone, as many backups have. */
export function noShell(refusal: MhvError): LoginShell {
  return { path: '', posix: false, sh: false, refusal }
}

// Not rbash: it redirects nothing, so it could not say that the command starts.
const POSIX_SHELLS = ['sh', 'dash', 'bash', 'zsh', 'ksh', 'ksh93', 'mksh', 'lksh', 'pdksh', 'ash', 'yash', 'posh']

/**
 * A line that every login shell understands alike: no nested quotes, no backslash, nothing that csh or fish expand in
 * single quotes. sshd sets SHELL to the account's login shell.
 */
export function probeLine(marker: string): string {
  return `echo ${marker} $SHELL; exec /bin/sh -c 'echo ${marker} + yes'`
}

export function parseProbe(marker: string, stdout: string): LoginShell | undefined {
  const lines = stdout.split('\n').filter((line) => line.startsWith(`${marker} `))
  const sh = lines.includes(`${marker} + yes`)
  const first = lines.find((line) => line !== `${marker} + yes`)
  if (first === undefined) return undefined
  const path = first.slice(marker.length + 1).trim()
  const posix = POSIX_SHELLS.includes(basename(path))
  return posix || sh ? { path, posix, sh } : undefined
}

/**
 * Asks a new connection for the account's login shell; once per target. Throws MHV_SSH_SHELL_UNSUPPORTED where it runs
 * no commands (nologin, git-shell, a forced command) or needs a /bin/sh that is not there.
 */
export async function probeLoginShell(connection: SshConnection, clock: Clock, timeoutMs: number): Promise<LoginShell> {
  const marker = newMarker()
  const answer = await controlExec(connection, probeLine(marker), { clock, timeoutMs })
  const shell = parseProbe(marker, answer.stdout)
  if (shell) return shell
  const said = plainText(answer.stderr || answer.stdout)
  throw mhvError(
    'MHV_SSH_SHELL_UNSUPPORTED',
    `${connection.endpoint}: the account's login shell runs no commands${said === '' ? '' : `; it says: ${said}`}`,
    { details: { exit_code: answer.exit_code } },
  )
}

/** Characters that mean the same inside the single quotes of csh, tcsh and fish and the double quotes of sh. */
const SAFE = /[A-Za-z0-9 _.,:;=@+/%&|<>()*?#~^[\]{}-]/

/**
 * A POSIX script as one line for a shell of another kind: /bin/sh gets it with every doubtful byte as an octal escape,
 * and evaluates what printf makes of it. csh takes no line break and expands `!` even in single quotes, fish knows two
 * escapes there; neither sees any of that. `_` at the end saves the line breaks that $(…) would cut off.
 */
export function wrapForAnyShell(script: string): string {
  let encoded = ''
  for (const byte of Buffer.from(script)) {
    const character = String.fromCharCode(byte)
    encoded += byte < 0x80 && SAFE.test(character) ? character : `\\0${byte.toString(8).padStart(3, '0')}`
  }
  return `exec /bin/sh -c '_mhv="$(printf %b_ "${encoded}")";eval "\${_mhv%_}"'`
}
