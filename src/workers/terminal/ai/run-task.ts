import type { OperationContext } from '../../../core/context.ts'
import { mhvError, toMhvError } from '../../../core/errors.ts'
import { exec } from '../../../core/exec.ts'
import type { AiCli } from '../settings-sessions.ts'
import { createStreamJson, type StreamMessage } from './stream-json.ts'

/** How long a program may take to end by itself after its result, in milliseconds. */
const AFTER_RESULT_MS = 5_000
/** Bytes kept of standard error, for the message of a failure. */
const KEPT_BYTES = 65_536
/** Longest end of standard error in a message, in characters. */
const TOLD_LENGTH = 2_000

export interface AiTask {
  readonly name: string
  readonly cli: AiCli
  readonly prompt: string
  readonly cwd: string
}

export interface AiOutcome {
  readonly result: StreamMessage
  readonly messages: number
  readonly other_lines: number
  /** Null where the program had to be ended after its result, or a signal ended it. */
  readonly exit_code: number | null
  readonly signal: string | null
}

type Context = Pick<OperationContext, 'signal' | 'deadline' | 'clock' | 'output' | 'progress' | 'log'>

/**
 * Runs one task: starts the program, reads its messages as they come, and ends with its `result` message and its own exit
 * code. Nothing but that message is taken for the end: not a pause, not a word in a text.
 *
 * @throws MHV_TERMINAL_AI_NO_RESULT where it ended without one, MHV_EXEC_NOT_FOUND, MHV_EXEC_NOT_STARTED, the signal's
 *   reason
 */
export async function runAiTask(ctx: Context, { name, cli, prompt, cwd }: AiTask): Promise<AiOutcome> {
  const lingering = new AbortController()
  let cancelLingering: (() => void) | undefined
  const stream = createStreamJson((message) => {
    const count = stream.messages()
    ctx.progress({ progress: count, message: message.type }).catch((error: unknown) => {
      ctx.log.warn('progress could not be told', { error })
    })
    if (message.type !== 'result') return
    cancelLingering ??= ctx.clock.after(AFTER_RESULT_MS, () => lingering.abort(LINGERING))
  })
  const writes = new Set<Promise<void>>()
  let offset = 0
  let failure: unknown

  function onOutput(which: 'stdout' | 'stderr', bytes: Uint8Array): void {
    const write = ctx.output.write(which, bytes).catch((error: unknown) => {
      failure ??= error
    })
    writes.add(write)
    void write.finally(() => writes.delete(write))
    if (which === 'stderr') return
    stream.push(offset, bytes)
    offset += bytes.length
  }

  const [program = '', ...args] = cli.command
  const ended = await exec({
    program,
    args: cli.prompt === 'argument' ? [...args, prompt] : args,
    cwd,
    ...(cli.prompt === 'stdin' ? { stdin: prompt } : {}),
    timeoutMs: Math.max(1, ctx.deadline - ctx.clock.now()),
    maxBytes: KEPT_BYTES,
    signal: AbortSignal.any([ctx.signal, lingering.signal]),
    onOutput,
  })
    .catch((error: unknown) => {
      if (error === LINGERING) return null
      // The deadline is the run's own; it only came here first.
      throw toMhvError(error).code === 'MHV_EXEC_TIMEOUT'
        ? mhvError('MHV_RUN_TIMEOUT', toMhvError(error).message)
        : error
    })
    .finally(() => cancelLingering?.())
  await Promise.all(writes)
  if (failure !== undefined) throw failure
  stream.end()
  const result = stream.result()
  const facts = { exit_code: ended?.exit_code ?? null, signal: ended?.signal ?? null }
  if (result === null) throw noResult(name, facts, ended?.stderr ?? '', stream.messages())
  return { result, messages: stream.messages(), other_lines: stream.otherLines(), ...facts }
}

const LINGERING = Symbol('it had given its result and did not end')

function noResult(
  name: string,
  { exit_code, signal }: Pick<AiOutcome, 'exit_code' | 'signal'>,
  stderr: string,
  messages: number,
) {
  const how = signal === null ? `exit code ${exit_code}` : signal
  const said = stderr.trim().slice(-TOLD_LENGTH)
  const message = `${name} ended without a result (${how})${said === '' ? '' : `: ${said}`}`
  return mhvError('MHV_TERMINAL_AI_NO_RESULT', message, { details: { exit_code, signal, messages } })
}
