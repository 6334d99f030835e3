import { mhvError } from '../../../core/errors.ts'
import { BASE_ENVIRONMENT } from '../../../core/exec.ts'
import { VARIABLE } from '../settings.ts'

/** Variables of ours that every local session gets, where they are set. */
export const SESSION_ENVIRONMENT = [...BASE_ENVIRONMENT, 'USER', 'LOGNAME', 'SHELL'] as const

/** Most bytes of all variables that are given for one session together. */
const MAX_BYTES = 65_536
const TERM = /^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$/

/**
 * What would make a program that may be started load or run something else. This is no sandbox: whoever may start a
 * shell can set them in there.
 */
const REFUSED = new Set([
  'PATH',
  'IFS',
  'ENV',
  'BASH_ENV',
  'SHELLOPTS',
  'BASHOPTS',
  'PROMPT_COMMAND',
  'PS4',
  'NODE_OPTIONS',
  'NODE_PATH',
  'PYTHONSTARTUP',
  'PYTHONPATH',
  'PYTHONHOME',
  'PERL5OPT',
  'PERL5LIB',
  'PERL5DB',
  'RUBYOPT',
  'RUBYLIB',
  'TERMINFO',
  'TERMINFO_DIRS',
])
const REFUSED_PREFIX = /^(LD_|DYLD_|BASH_FUNC_)/

export interface SessionVariables {
  readonly term: string
  /** Names of variables of ours beside SESSION_ENVIRONMENT. */
  readonly passed: readonly string[]
  readonly given: Readonly<Record<string, string>>
}

/**
 * The whole environment of a local session.
 *
 * @throws MHV_TERMINAL_ENVIRONMENT naming the variable; never its value
 */
export function sessionEnvironment(
  { term, passed, given }: SessionVariables,
  own: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  if (!TERM.test(term)) throw refused('TERM', 'is no name of a terminal type')
  let bytes = 0
  for (const [name, value] of Object.entries(given)) {
    if (!VARIABLE.test(name)) throw refused(name, 'is no name of a variable')
    if (name === 'TERM') throw refused(name, 'is set by the terminal type')
    if (REFUSED.has(name) || REFUSED_PREFIX.test(name)) throw refused(name, 'may not be set for a session')
    if (value.includes('\0')) throw refused(name, 'contains a null character')
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value)
  }
  if (bytes > MAX_BYTES) throw refused('env', `is ${bytes} bytes in all, and ${MAX_BYTES} may be given`)
  const inherited: Record<string, string> = {}
  for (const name of [...SESSION_ENVIRONMENT, ...passed]) {
    const value = own[name]
    if (value !== undefined) inherited[name] = value
  }
  return { ...inherited, ...given, TERM: term }
}

function refused(name: string, why: string) {
  return mhvError('MHV_TERMINAL_ENVIRONMENT', `the variable ${JSON.stringify(name.slice(0, 100))} ${why}`)
}
