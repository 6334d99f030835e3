import type { ClientChannel } from 'ssh2'
import type { OperationContext } from '../../core/context.ts'
import { MhvError, mhvError, toMhvError } from '../../core/errors.ts'
import type { Secret } from '../../core/secret.ts'
import { commandLine } from './command-line.ts'
import { abandon, type CommandExit, type SshConnection } from './connection.ts'
import type { ExecuteData, ExecuteInput } from './execute.ts'
import { type OpeningChannel, openChannel } from './open-channel.ts'
import { pumpOutput } from './output-pump.ts'
import type { PoolCall, SshPool } from './pool.ts'
import { describeEnd, type EndRequest, endSession, type SessionEnd, UNKNOWN_END } from './remote-kill.ts'
import { plainText } from './remote-text.ts'
import type { SshSettings, SshTarget } from './settings.ts'
import { createStartScanner, newMarker, type StartReport } from './start-report.ts'
import type { SudoRequest } from './sudo.ts'
import { createSudoDialogue, type SudoDialogue } from './sudo-dialogue.ts'
import { endSudoSession, type SudoEnd } from './sudo-end.ts'

/** A command as it can be run: its standard input may be bytes, too. */
export type CommandInput = Omit<ExecuteInput, 'stdin' | 'detach'> & { readonly stdin?: string | Uint8Array | undefined }

export type SshContext = OperationContext<SshPool, SshSettings, SshTarget>

/** How a command's channel ended. */
export interface ChannelEnd {
  /** `host:port`. */
  readonly endpoint: string
  /** As the host sent it; undefined when it sent none. */
  readonly exit: CommandExit | undefined
  /** The connection broke before the channel had brought everything. */
  readonly cut: boolean
  /** What the command's shell said at its start. */
  readonly report: StartReport | undefined
  /** Process that leads the command's session: its shell, or sudo. */
  readonly session: number | undefined
  /** Why sudo did not run the command, where it is so. */
  readonly refused: MhvError | undefined
}

/** What a command is run with; only tests compose other parts. */
export interface CommandParts {
  readonly judge: typeof judgeEnd
  readonly endSession: typeof endSession
  readonly endSudoSession?: typeof endSudoSession
}

const PARTS: CommandParts = { judge: judgeEnd, endSession, endSudoSession }

/** One command on its way: what everything below needs of it. */
interface Sending {
  readonly ctx: SshContext
  readonly call: PoolCall
  readonly marker: string
  readonly parts: CommandParts
  readonly stdin: string | Uint8Array | undefined
  readonly sudo: (SudoRequest & SudoEnd) | undefined
}

/** Milliseconds in which a command that has just exited may still close its channel when the deadline comes. */
const CLOSING_MS = 200
/** Milliseconds to wait for the last output of a session that was ended. */
const LAST_OUTPUT_MS = 1_000

/**
 * Runs one command to its end. Once its line may have been sent, it never ends without saying what is known: a result
 * only with an exit status over a sound connection, and at the deadline or a cancellation only after its session was
 * told to end. Throws what `execute` declares.
 */
export async function runCommand(
  ctx: SshContext,
  input: CommandInput,
  parts: CommandParts = PARTS,
): Promise<ExecuteData> {
  const call: PoolCall = {
    target: ctx.target.address,
    settings: ctx.settings,
    secrets: ctx.secrets,
    signal: ctx.signal,
  }
  const marker = newMarker()
  const sending: Sending = { ctx, call, marker, parts, stdin: input.stdin, sudo: sudoOf(ctx, input) }
  let preamble: Buffer | undefined
  const opening = openChannel(ctx.connection, call, (shell) => {
    const request = { ...input, env: input.env ?? {}, runId: ctx.run_id, marker, sudo: sending.sudo }
    const made = commandLine(request, shell)
    preamble = made.preamble
    return made.line
  })
  const stopped = whenAborted(ctx.signal)
  try {
    const channel = await Promise.race([opening.channel, stopped.promise])
    if (channel === undefined) return await stopUnopened(sending, opening)
    const connection = opening.sentOn() as SshConnection
    const command = follow(sending, channel, connection, preamble)
    const stop = await Promise.race([command.done, stopped.promise.then(() => ({ reason: ctx.signal.reason }))])
    if (stop !== undefined) await stopCommand(sending, connection, command, stop.reason)
    const { exit, pid } = await verdict(sending, command.end())
    return await dataOf(ctx, exit, pid)
  } finally {
    stopped.forget()
  }
}

/** The password is resolved when sudo asks for it, and not again. */
function sudoOf(ctx: SshContext, { sudo }: CommandInput): Sending['sudo'] {
  if (sudo === undefined) return undefined
  const { user, password: reference } = sudo
  if (reference === undefined) return { user, prompt: undefined, password: undefined }
  let secret: Promise<Secret> | undefined
  const password = () => {
    secret ??= ctx.secrets.resolve(reference)
    return secret
  }
  return { user, prompt: newMarker(), password }
}

interface FollowedCommand {
  readonly channel: ClientChannel
  /** Undefined when everything was taken; the reason to stop when the output could not be kept. Never rejects. */
  readonly done: Promise<undefined | { readonly reason: unknown }>
  end(): ChannelEnd
}

function follow(
  sending: Sending,
  channel: ClientChannel,
  connection: SshConnection,
  preamble: Buffer | undefined,
): FollowedCommand {
  const start = sending.sudo ? startBySudo(sending, channel, preamble) : startAtOnce(sending, channel, preamble)
  const { endpoint } = connection
  return {
    channel,
    done: pumpOutput(channel, sending.ctx.output, start).done.then(
      () => undefined,
      (error: unknown) => ({ reason: outputLost(error) }),
    ),
    end() {
      const exit = connection.exitOf(channel)
      const refused = start.failure(endpoint, exit)
      return {
        endpoint,
        exit,
        cut: connection.wasCut(channel),
        report: start.report(),
        session: start.session(),
        refused,
      }
    },
  }
}

function startAtOnce({ marker, stdin }: Sending, channel: ClientChannel, preamble: Buffer | undefined): SudoDialogue {
  const scanner = createStartScanner(marker)
  const pieces = [preamble, stdin === undefined ? undefined : Buffer.from(stdin)].filter((piece) => piece !== undefined)
  // A command that does not read it leaves the rest in the window, or in ssh2 until its channel closes.
  if (pieces.length > 0) channel.end(Buffer.concat(pieces))
  const session = () => {
    const report = scanner.report()
    return report?.kind === 'started' ? report.pid : undefined
  }
  return { push: scanner.push, end: scanner.end, report: scanner.report, session, failure: () => undefined }
}

function startBySudo(
  { marker, stdin, sudo }: Sending,
  channel: ClientChannel,
  preamble: Buffer | undefined,
): SudoDialogue {
  const input = stdin === undefined ? undefined : Buffer.from(stdin)
  return createSudoDialogue({ channel, marker, prompt: sudo?.prompt, password: sudo?.password, preamble, stdin: input })
}

/** The output could not be kept: an error that does not say that nothing was changed. */
export function outputLost(error: unknown): MhvError {
  const cause = toMhvError(error)
  // Not the journal's own code: that would say that nothing was changed.
  return mhvError('MHV_INTERNAL', `the output of the command could not be kept: ${cause.message}`, {
    details: { output_error: cause.code },
    cause: error,
  })
}

/** What a channel's end means. Throws where it is not the end of the command. */
export function judgeEnd(end: ChannelEnd): { readonly exit: CommandExit; readonly pid: number } {
  const { endpoint, exit, cut, report, refused } = end
  if (refused !== undefined) throw refused
  if (report?.kind === 'cwd')
    throw mhvError('MHV_SSH_CWD_FAILED', `the working directory could not be entered on ${endpoint}`)
  if (report?.kind === 'env') throw mhvError('MHV_SSH_ENV_FAILED', `a variable could not be set on ${endpoint}`)
  const pid = report === undefined ? undefined : end.session
  if (exit === undefined || cut) {
    const details = { ...(pid === undefined ? {} : { pid }), ...(exit === undefined ? {} : { exit_code: exit.code }) }
    const how = cut ? 'the connection was lost' : 'the host closed the channel without an exit status'
    const what =
      exit === undefined
        ? 'whether the command finished is unknown'
        : 'the command ended, but its output is not all here'
    throw mhvError('MHV_SSH_CONNECTION_LOST', `${endpoint}: ${how}; ${what}`, { details })
  }
  if (pid === undefined) {
    throw mhvError('MHV_SSH_COMMAND_UNCONFIRMED', `${endpoint}: the shell ended without having confirmed the start`, {
      details: { exit_code: exit.code },
    })
  }
  return { exit, pid }
}

/** The same, with what the host's shell said where it did not start the command. */
export async function verdict(
  {
    ctx,
    call,
    parts,
  }: { readonly ctx: SshContext; readonly call: PoolCall; readonly parts: Pick<CommandParts, 'judge'> },
  end: ChannelEnd,
): Promise<ReturnType<typeof judgeEnd>> {
  try {
    return parts.judge(end)
  } catch (error) {
    const failed = toMhvError(error)
    if (failed.code === 'MHV_SSH_COMMAND_UNCONFIRMED') ctx.connection.forgetShell(call)
    else if (failed.code !== 'MHV_SSH_CWD_FAILED' && failed.code !== 'MHV_SSH_ENV_FAILED') throw failed
    const said = plainText((await ctx.output.collect('stderr')).text)
    if (said === '') throw failed
    throw mhvError(failed.code, `${failed.message}; it says: ${said}`, { details: failed.details, cause: failed })
  }
}

/** The signal came before the channel did. Throws. */
async function stopUnopened(sending: Sending, opening: OpeningChannel): Promise<never> {
  const connection = opening.sentOn()
  // Still waiting for a place: the pool gives that up by the same signal, and says so.
  if (connection === undefined) await opening.channel
  let refused: unknown
  opening.channel.then(abandon, (error: unknown) => {
    refused = error
  })
  const end = connection ? await sending.parts.endSession(endRequest(sending, connection, undefined)) : UNKNOWN_END
  // The host's late answer is the better one where it says that nothing was run.
  if (refused instanceof MhvError && refused.spec.phase === 'before-effect') throw refused
  throw stoppedError(sending.ctx.signal.reason, end, undefined, undefined)
}

/** Ends the far side and throws; returns only when the command turns out to have ended by itself. */
async function stopCommand(
  sending: Sending,
  connection: SshConnection,
  command: FollowedCommand,
  reason: unknown,
): Promise<void> {
  const { exit } = command.end()
  if (exit !== undefined && (await doneWithin(sending.ctx, command, CLOSING_MS))) return
  const { session } = command.end()
  const end = await endOf(sending, connection, command)
  await doneWithin(sending.ctx, command, LAST_OUTPUT_MS)
  abandon(command.channel)
  throw stoppedError(reason, end, session, exit)
}

async function endOf(sending: Sending, connection: SshConnection, command: FollowedCommand): Promise<SessionEnd> {
  const { parts, sudo } = sending
  const { endSudoSession: endBySudo } = parts
  if (sudo === undefined || endBySudo === undefined) {
    return parts.endSession(endRequest(sending, connection, command.end().session))
  }
  if (command.end().report === undefined) {
    // sudo may still wait for a password: without any input it gives up.
    command.channel.end()
    const end = await parts.endSession(endRequest(sending, connection, command.end().session))
    if (end.remote === 'ended' || command.end().report === undefined) return end
  }
  return endBySudo(endRequest(sending, connection, command.end().session), sudo)
}

function endRequest({ ctx, call, marker }: Sending, connection: SshConnection, pid: number | undefined): EndRequest {
  const { clock, log, run_id: runId } = ctx
  return { pool: ctx.connection, call, connection, pid, marker, runId, clock, log }
}

async function doneWithin(ctx: SshContext, command: FollowedCommand, ms: number): Promise<boolean> {
  const late = Symbol('late')
  const { promise, resolve } = Promise.withResolvers<typeof late>()
  const cancel = ctx.clock.after(ms, () => resolve(late))
  const first = await Promise.race([command.done, promise])
  cancel()
  return first === undefined
}

/** What a run ends with whose command was told to end, for this reason. */
export function stoppedError(
  reason: unknown,
  end: SessionEnd,
  pid: number | undefined,
  exit: CommandExit | undefined,
): MhvError {
  const error = toMhvError(reason)
  const details = {
    ...error.details,
    ...end,
    ...(pid === undefined ? {} : { pid }),
    ...(exit === undefined ? {} : { exit_code: exit.code }),
  }
  const known = describeEnd(end, pid)
  if (error.code === 'MHV_RUN_TIMEOUT') {
    const held =
      exit === undefined
        ? 'was not done'
        : `ended with exit code ${exit.code}, but what it left behind held its output open`
    return mhvError('MHV_SSH_COMMAND_TIMEOUT', `the command ${held} at its deadline; ${known}`, {
      details,
      cause: error,
    })
  }
  if (error.code === 'MHV_INTERNAL')
    return mhvError(error.code, `${error.message}; ${known}`, { details, cause: error })
  // Whoever cancelled, the command may have acted: a code that denies it is not passed on.
  const code = error.spec.phase === 'before-effect' ? 'MHV_RUN_CANCELLED' : error.code
  return mhvError(code, `${error.message}; ${known}`, { details, cause: error })
}

/** The result, once every byte of the output is in the sink. */
export async function dataOf(ctx: SshContext, exit: CommandExit, pid: number): Promise<ExecuteData> {
  const [stdout, stderr] = await Promise.all([ctx.output.collect('stdout'), ctx.output.collect('stderr')])
  return {
    stdout: stdout.text,
    stderr: stderr.text,
    exit_code: exit.code,
    signal: exit.signal,
    stdout_bytes: stdout.bytes,
    stderr_bytes: stderr.bytes,
    truncated: stdout.dropped_bytes + stderr.dropped_bytes > 0,
    utf8: stdout.utf8 && stderr.utf8,
    pid,
  }
}

/** Resolves to undefined when the signal is aborted, at once if it already is. */
function whenAborted(signal: AbortSignal): { readonly promise: Promise<undefined>; forget(): void } {
  const { promise, resolve } = Promise.withResolvers<undefined>()
  const onAbort = () => resolve(undefined)
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return { promise, forget: () => signal.removeEventListener('abort', onAbort) }
}
