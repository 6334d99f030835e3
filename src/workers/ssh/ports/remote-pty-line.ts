import { basename } from 'node:path/posix'
import { type LoginShell, wrapForAnyShell } from '../login-shell.ts'

/** Shells that `-l` makes a login shell. */
const TAKE_L = ['bash', 'dash', 'zsh', 'ksh', 'ksh93', 'mksh', 'ash', 'fish', 'tcsh', 'csh']

/** `sh` is one of several shells, some of which know no `-l`: those read what a login shell would have read. */
const LOGIN_SH = `case $(uname) in Linux|Darwin) exec "$SHELL" -l;; esac
[ ! -r /etc/profile ] || . /etc/profile
[ ! -r ~/.profile ] || . ~/.profile
exec "$SHELL" -i`

/**
 * What runs in a terminal, as a line for the account's login shell: first it says, in band, which process leads the
 * session (`marker PID`), then it runs the command, or becomes the login shell. SSH itself tells nobody which process that
 * is, and without it nothing could be sent to the job in front.
 *
 * Undefined for the login shell of an account about whose shell too little is known: it is started by SSH's own request.
 */
export function terminalLine(command: string | undefined, shell: LoginShell, marker: string): string | undefined {
  const run = command ?? loginCommand(shell)
  if (run === undefined || shell.refusal !== undefined) return command
  const script = `printf '%s %s\\n' '${marker}' "$$"\n${run}`
  return shell.posix ? script : wrapForAnyShell(script)
}

function loginCommand({ path, posix, sh }: LoginShell): string | undefined {
  if (!posix && !sh) return undefined
  const name = basename(path)
  if (name === 'sh') return LOGIN_SH
  return TAKE_L.includes(name) ? 'exec "$SHELL" -l' : undefined
}
