import type { Readable } from 'node:stream'
import type { Progress } from '../../core/context.ts'
import type { EnvelopeInput } from '../../core/envelope.ts'
import { mhvError } from '../../core/errors.ts'
import { isFinal, type WorkerResult } from '../../core/result.ts'
import type { Instance } from '../../runtime/instance.ts'
import { operationName } from '../names.ts'
import { CERTAINTY_TEXT, outcomeOf, subjectOf } from '../outcome.ts'
import type { Invocation } from './commands.ts'
import { confirm, effectWith } from './confirm.ts'
import { endingOf, errorOfResult, errorText } from './failure.ts'
import type { CliOutput } from './output.ts'
import { startProgress } from './progress.ts'
import { notBegun, type Session, withInstance } from './session.ts'

type Call = Extract<Invocation, { kind: 'operation' }>

/** Longer than any deadline: the run lives in this process, so there is nothing to go away for. */
const UNTIL_ITS_END = 100_000

/** Runs an operation and shows how it ended. Resolves with the exit code. */
export async function runOperation(session: Session, call: Call): Promise<number> {
  const { out } = session
  const input = await inputOf(session, call)
  const doing = [...operationName(call.operation).cli, call.envelope.target ?? ''].join(' ').trimEnd()
  const result = await withInstance(session, 'use', doing, async (instance) => {
    if (session.interrupt.aborted) throw notBegun()
    const stopTelling = tellOfInterrupt(session)
    const ticker = startProgress(out, call.operation.id)
    try {
      return await invokeToEnd(session, instance, { ...call, input }, ticker.report)
    } finally {
      ticker.stop()
      stopTelling()
    }
  })
  if (session.globals.json) out.document(result)
  else showOutput(out, result)
  return showEnding(out, result)
}

/** The whole input, and where it destroys something the word for it. */
async function inputOf(session: Session, call: Call): Promise<Readonly<Record<string, unknown>>> {
  const { operation, stdin, envelope, confirmed } = call
  const input =
    stdin === null ? call.input : { ...call.input, [stdin]: await readAll(session.io.stdin, session.interrupt) }
  if (!confirmed && effectWith(operation, input) === 'destroy') {
    const target = typeof envelope.target === 'string' ? envelope.target : null
    await confirm(session, { doing: subjectOf({ operation: operation.id, target }), word: target ?? operation.id })
  }
  return input
}

async function invokeToEnd(
  session: Session,
  instance: Instance,
  { operation, input, envelope }: Pick<Call, 'operation' | 'input' | 'envelope'>,
  onProgress: (progress: Progress) => void,
): Promise<WorkerResult> {
  const first = await instance.invoke({
    operation: operation.id,
    input,
    envelope: { wait: UNTIL_ITS_END, ...envelope } as EnvelopeInput,
    principal: instance.principal,
    surface: 'cli',
    signal: session.interrupt,
    onProgress,
  })
  if (isFinal(first.status)) return first
  session.out.note(`run ${first.run_id} goes on; this command stays until it has ended`)
  return waitToEnd(session, instance, first)
}

/** A wait that the caller bounded is over; the run is still this process's own. */
async function waitToEnd({ interrupt }: Session, instance: Instance, first: WorkerResult): Promise<WorkerResult> {
  const { principal } = instance
  const { run_id } = first
  const cancel = () =>
    void instance.control({ name: 'run_cancel', input: { run_id }, principal }).catch(() => undefined)
  if (interrupt.aborted) cancel()
  interrupt.addEventListener('abort', cancel, { once: true })
  let run = first
  while (!isFinal(run.status)) {
    const answer = await instance.control({ name: 'run_wait', input: { run_id }, principal })
    run = answer.run as WorkerResult
  }
  interrupt.removeEventListener('abort', cancel)
  return run
}

function tellOfInterrupt({ interrupt, out }: Session): () => void {
  const tell = () => out.note('cancelling the run; once more leaves without waiting for it')
  interrupt.addEventListener('abort', tell, { once: true })
  return () => interrupt.removeEventListener('abort', tell)
}

/** The streams of what was run, as they came; a note where the result has not all of them. */
export function showOutput(out: CliOutput, result: WorkerResult): void {
  const { stdout, stderr, exact, cut, lossy } = outcomeOf(result)
  out.data(exact || stdout === '' || stdout.endsWith('\n') ? stdout : `${stdout}\n`)
  if (stderr !== '') out.errorData(stderr)
  if (!cut && !lossy) return
  if (stderr !== '' && !stderr.endsWith('\n')) out.note('')
  const what = cut ? 'not all output is shown' : 'some output is no text, and was replaced'
  out.note(`${what}; \`mahavishnu runs output ${result.run_id}\` has what was kept, as it came`)
}

/** What else there is to say about the end, on standard error. Returns the exit code. */
export function showEnding(out: CliOutput, result: WorkerResult): number {
  const ending = endingOf(result)
  const error = errorOfResult(result)
  if (error !== null) {
    out.complain(errorText(error))
    const effect = result.metadata.effect === 'read' ? null : result.effect_certainty
    if (effect !== null) out.complain(`effect: ${CERTAINTY_TEXT[effect]}`)
    out.complain(`run: ${result.run_id} (${subjectOf(result)})`)
  }
  if (ending.note !== undefined) out.complain(ending.note)
  return ending.exit
}

/** More would be refused by every operation; this bounds what is read before that is said. */
const MAX_STDIN_BYTES = 16 * 1024 * 1024

async function readAll(stdin: Readable, interrupt: AbortSignal): Promise<string> {
  const pieces: Buffer[] = []
  let bytes = 0
  const stop = () => stdin.destroy(notBegun())
  interrupt.addEventListener('abort', stop, { once: true })
  for await (const piece of stdin) {
    pieces.push(Buffer.from(piece))
    bytes += pieces.at(-1)?.length ?? 0
    if (bytes > MAX_STDIN_BYTES) {
      throw mhvError('MHV_INPUT_INVALID', `standard input has more than ${MAX_STDIN_BYTES} bytes`, {
        remedy: 'Copy large data to the target as a file, and name the file.',
      })
    }
  }
  interrupt.removeEventListener('abort', stop)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(pieces))
  } catch {
    throw mhvError('MHV_INPUT_INVALID', 'standard input is not UTF-8 text', {
      remedy: 'Encode binary data as text, base64 for one, and decode it on the target.',
    })
  }
}
