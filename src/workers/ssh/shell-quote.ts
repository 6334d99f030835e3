import { mhvError } from '../../core/errors.ts'

/**
 * One word of a POSIX shell line that stands for exactly this text: everything in single quotes, and a single quote as
 * `'\''`. The only way by which a value gets into a line that a host runs. Works in sh, dash, bash, ksh, zsh and ash,
 * and with zsh's RC_QUOTES too, since no two quotes of it ever mean one.
 *
 * Throws MHV_INPUT_INVALID for what no argument can carry: a NUL character, or a lone surrogate, which has no UTF-8.
 */
export function shellQuote(text: string): string {
  if (text.includes('\0')) throw mhvError('MHV_INPUT_INVALID', 'a NUL character cannot be passed to a shell')
  if (!text.isWellFormed()) throw mhvError('MHV_INPUT_INVALID', 'a lone surrogate cannot be passed to a shell')
  return `'${text.replaceAll("'", "'\\''")}'`
}
