import { z } from 'zod'
import { secretReference } from '../../core/secret-reference.ts'
import { shellQuote } from './shell-quote.ts'

/** Names and `#uid` as sudo(8) takes them; no leading dash, nothing that a shell or a sudoers line would read. */
const SUDO_USER = /^(?:[A-Za-z_][A-Za-z0-9_.-]{0,62}\$?|#[0-9]{1,10})$/

/** The field `sudo` of `ssh.execute`. */
export const sudoInput = z.strictObject({
  user: z
    .string()
    .regex(SUDO_USER, { error: 'must be a user name, or # and a user id' })
    .default('root')
    .describe('user as whom the command runs'),
  password: secretReference()
    .optional()
    .describe('secret reference: password that sudo asks for; without it, sudo must not ask'),
})

export type SudoInput = z.output<typeof sudoInput>

export interface SudoRequest {
  readonly user: string
  /** Random text by which a request for the password is known. Undefined: there is no password to give. */
  readonly prompt: string | undefined
}

/**
 * Runs a script as another user. `-k` with a command ignores and leaves alone what sudo remembers, so a password is
 * neither needed less nor remembered longer than without us (sudo(8)). `-S` writes the prompt to standard error and
 * reads the password from standard input, byte by byte up to its line break: what follows is the command's. Without a
 * password `-n` makes sudo fail where it would ask.
 */
export function sudoLine(script: string, { user, prompt }: SudoRequest): string {
  const asking = prompt === undefined ? '-n' : `-S -p ${shellQuote(prompt)}`
  return `exec sudo -k ${asking} -u ${shellQuote(user)} -- /bin/sh -c ${shellQuote(script)}`
}

/** Says that there is no sudo, or which process becomes it, and which session that leads: `killScript` ends that one. */
export function sudoScript(script: string, request: SudoRequest, marker: string): string {
  return [
    `command -v sudo >/dev/null 2>&1 || { printf '%s nosudo\\n' '${marker}' >&2; exit 126; }`,
    `printf '%s sudo %s\\n' '${marker}' "$$" >&2`,
    sudoLine(script, request),
  ].join('\n')
}
