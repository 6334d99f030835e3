import { mhvError } from '../../core/errors.ts'
import { type LoginShell, wrapForAnyShell } from './login-shell.ts'
import { shellQuote } from './shell-quote.ts'
import { type SudoRequest, sudoScript } from './sudo.ts'

/** Exported to the command, and through it to everything that it starts: so that a session can be told from another. */
export const RUN_ID_VARIABLE = 'MAHAVISHNU_RUN_ID'

export interface CommandRequest {
  readonly command: string
  /** Only whether there is any is of interest here. */
  readonly stdin?: string | Uint8Array | undefined
  readonly env: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly runId: string
  readonly marker: string
  /** Runs it as another user. */
  readonly sudo?: SudoRequest | undefined
}

/** What is sent: the line of the exec request, and bytes that go before the command's own standard input. */
export interface CommandLine {
  readonly line: string
  readonly preamble: Buffer | undefined
}

/**
 * Longest line that is sent as such. RFC 4253 section 6.1 lets an implementation refuse packets above 35,000 bytes,
 * and Linux arguments above 131,071; a longer one goes in through standard input.
 */
export const MAX_LINE_BYTES = 30_000

/**
 * What the host's shell is to run: run id and variables exported (sshd's AcceptEnv would drop them), the working
 * directory entered, the shell's own PID reported, and then, on lines of its own, unquoted and last, the command. The
 * report comes after everything that can fail: what stands behind it is the command's.
 */
export function commandScript({ command, stdin, env, cwd, runId, marker }: CommandRequest): string {
  const refuse = (why: string) => ` || { printf '%s ${why}\\n' '${marker}' >&2; exit 126; }`
  const variables = Object.entries(env).map(([name, value]) => ` ${name}=${shellQuote(value)}`)
  return [
    `export ${RUN_ID_VARIABLE}=${shellQuote(runId)}`,
    ...(variables.length === 0 ? [] : [`export${variables.join('')}${refuse('env')}`]),
    ...(cwd === undefined ? [] : [`cd -- ${shellQuote(directory(cwd))}${refuse('cwd')}`]),
    // Cheaper than ending the channel's input, which takes a packet of its own.
    ...(stdin === undefined ? ['exec </dev/null'] : []),
    `printf '%s %s\\n' '${marker}' "$$" >&2`,
    command,
  ].join('\n')
}

/** With `./` in front, a relative path means what it says: not `-`, not a stack entry, not something from CDPATH. */
function directory(cwd: string): string {
  return cwd.startsWith('/') ? cwd : `./${cwd}`
}

/** The line for the account's login shell. Throws MHV_INPUT_INVALID where a text cannot be passed to a shell. */
export function commandLine(request: CommandRequest, shell: LoginShell): CommandLine {
  if (request.command.includes('\0'))
    throw mhvError('MHV_INPUT_INVALID', 'command: a NUL character cannot be passed to a shell')
  const script = commandScript(request)
  const line = lineFor(asUser(script, request), shell)
  if (Buffer.byteLength(line) <= MAX_LINE_BYTES) return { line, preamble: undefined }
  const preamble = Buffer.from(script)
  const reader = readScript(preamble.length, request.marker, request.sudo !== undefined)
  return { line: lineFor(asUser(reader, request), shell), preamble }
}

function asUser(script: string, { sudo, marker }: CommandRequest): string {
  return sudo === undefined ? script : sudoScript(script, sudo, marker)
}

function lineFor(script: string, shell: LoginShell): string {
  return shell.posix ? script : wrapForAnyShell(script)
}

/**
 * Takes the script from standard input, byte by byte so as not to take a byte too many from the command. The marker is
 * there for `remote-kill.ts`, which finds the shell by it. Under sudo it says when it reads: before that, sudo would.
 */
function readScript(bytes: number, marker: string, tell: boolean): string {
  const ready = tell ? `printf '%s ready\\n' '${marker}' >&2; ` : ''
  return `: ${marker}; ${ready}_mhv="$(dd bs=1 count=${bytes} 2>/dev/null; printf _)"; eval "\${_mhv%_}"`
}
