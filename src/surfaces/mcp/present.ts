import type { CallToolResult } from '@modelcontextprotocol/server'
import type { MhvError } from '../../core/errors.ts'
import { anyResultSchema, isFinal, type WorkerResult } from '../../core/result.ts'
import { CERTAINTY_TEXT, durationText, outcomeOf, subjectOf } from '../outcome.ts'
import { bounded, plainLine, plainText } from '../plain-text.ts'

/** Most characters of one stream in the text for people; the structured content has what the result carries. */
const MAX_TEXT = 20_000

/** The answer of an operation: an error only where Mahavishnu failed, not where a command ended with another code than 0. */
export function presentResult(result: WorkerResult): CallToolResult {
  const failed = isFinal(result.status) && result.status !== 'completed'
  return {
    content: [{ type: 'text', text: resultText(result) }],
    structuredContent: result,
    ...(failed ? { isError: true } : {}),
  }
}

/**
 * The answer where there is no run: the call was malformed, not allowed, or there was no room. It has no structured
 * content, since that would have to fit the tool's output schema.
 */
export function presentError(error: MhvError): CallToolResult {
  return { content: [{ type: 'text', text: errorLines(error).join('\n') }], isError: true }
}

/** The answer of a control call: the text names what matters, the structured content is the call's output. */
export function presentControl(name: string, output: Record<string, unknown>): CallToolResult {
  return { content: [{ type: 'text', text: controlText(name, output) }], structuredContent: output }
}

function errorLines({ code, message, remedy, retryAfter }: MhvError): string[] {
  return [
    `error ${code}: ${message}`,
    `fix: ${remedy}`,
    ...(retryAfter === undefined ? [] : [`retry after: ${retryAfter} s`]),
  ]
}

function resultText(result: WorkerResult): string {
  if (!isFinal(result.status)) return handleText(result)
  const lines = [statusLine(result)]
  if (result.error_code !== null) {
    lines.push(`error ${result.error_code}: ${result.error ?? ''}`)
    if (result.metadata.remedy !== undefined) lines.push(`fix: ${result.metadata.remedy}`)
    if (result.metadata.retry_after !== undefined) lines.push(`retry after: ${result.metadata.retry_after} s`)
  }
  const effect = result.metadata.effect === 'read' ? null : result.effect_certainty
  if (effect !== null) lines.push(`effect: ${CERTAINTY_TEXT[effect]}`)
  if (result.status !== 'completed' && result.effect_certainty !== 'none') {
    lines.push(`run_output ${JSON.stringify({ run_id: result.run_id })} reads what it had written.`)
  }
  return [...lines, ...outputLines(result)].join('\n')
}

function statusLine(result: WorkerResult): string {
  const { signal } = outcomeOf(result)
  const parts = [`${result.status}: ${subjectOf(result)}`]
  if (result.exit_code !== null) parts.push(`exit code ${result.exit_code}`)
  if (signal !== null) parts.push(`ended by signal ${plainLine(signal)}`)
  if (result.duration_seconds !== null) parts.push(durationText(result.duration_seconds))
  if (result.attempts > 1) parts.push(`${result.attempts} attempts`)
  return `${parts.join(', ')} (run ${result.run_id})`
}

function handleText(result: WorkerResult): string {
  const { run_id, status } = result
  const argument = JSON.stringify({ run_id })
  return [
    `${status}: ${subjectOf(result)} goes on (run ${run_id})`,
    `run_wait ${argument} waits for its end, run_output ${argument} reads what it has written so far,`,
    `run_cancel ${argument} ends it.`,
  ].join('\n')
}

/** Output is what a remote system says: marked as such, and without orders to a terminal. */
function outputLines(result: WorkerResult): string[] {
  const { stdout, stderr, cut, lossy } = outcomeOf(result)
  const streams = [
    ...streamLines('output', stdout, result.target),
    ...streamLines('standard error', stderr, result.target),
  ]
  const missing = cut || lossy || stdout.length > MAX_TEXT || stderr.length > MAX_TEXT
  if (!missing) return streams
  return [
    ...streams,
    `Not all output is shown as it came: run_output ${JSON.stringify({ run_id: result.run_id })} reads what was kept.`,
  ]
}

function streamLines(title: string, text: string, target: string | null): string[] {
  if (text === '') return []
  const from = target === null ? '' : ` from ${target}`
  return [`--- ${title}${from} ---`, bounded(plainText(text), MAX_TEXT).replace(/\n$/, '')]
}

function controlText(name: string, output: Record<string, unknown>): string {
  if (name === 'run_output') return chunksText(output)
  if (name === 'run_list') return listText(output)
  const run = anyResultSchema.safeParse(output.run)
  if (!run.success) return bounded(plainText(JSON.stringify(output, null, 2)), MAX_TEXT)
  const events = Array.isArray(output.events) ? ['--- events ---', ...output.events.map(eventLine)] : []
  return [resultText(run.data), ...events].join('\n')
}

function eventLine(event: { at: string; type: string; data: Record<string, unknown> }): string {
  const data = Object.keys(event.data).length === 0 ? '' : ` ${plainLine(JSON.stringify(event.data))}`
  return `${event.at} ${event.type}${data}`
}

interface OutputPage {
  readonly run_id: string
  readonly chunks: readonly { readonly stream: string; readonly text: string; readonly gap_bytes: number }[]
  readonly next_cursor: number
  readonly ended: boolean
}

function chunksText(output: Record<string, unknown>): string {
  const { run_id, chunks, next_cursor, ended } = output as unknown as OutputPage
  const lines: string[] = []
  let text = ''
  for (const [index, chunk] of chunks.entries()) {
    const goesOn = index > 0 && chunk.gap_bytes === 0 && chunks[index - 1]?.stream === chunk.stream
    if (!goesOn) {
      pushText(lines, text)
      text = ''
      if (chunk.gap_bytes > 0) lines.push(`[… ${chunk.gap_bytes} bytes were not kept …]`)
      lines.push(`--- ${chunk.stream} ---`)
    }
    text += chunk.text
  }
  pushText(lines, text)
  const next = `run_output ${JSON.stringify({ run_id, cursor: next_cursor })}`
  return [...lines, ended ? 'That was all of it.' : `There may be more: ${next}`].join('\n')
}

/** A page is as long as the caller asked for: nothing of it is left out. */
function pushText(lines: string[], text: string): void {
  if (text !== '') lines.push(plainText(text).replace(/\n$/, ''))
}

function listText(output: Record<string, unknown>): string {
  const { runs, next } = output as { runs: readonly WorkerResult[]; next: string | null }
  const lines = runs.map((run) => {
    const code = run.error_code ?? (run.exit_code === null ? '' : `exit code ${run.exit_code}`)
    return [run.run_id, run.timestamp, run.status, subjectOf(run), code].join('  ').trimEnd()
  })
  if (lines.length === 0) return 'No runs.'
  return next === null ? lines.join('\n') : [...lines, `More: run_list with before ${JSON.stringify(next)}`].join('\n')
}
