import { anyResultSchema, isFinal, type WorkerResult } from '../../core/result.ts'
import { CERTAINTY_TEXT, durationText, outcomeOf, subjectOf } from '../outcome.ts'
import { fitted } from './answer-size.ts'
import type { OutputPage } from './output-page.ts'
import type { searchOperations } from './search.ts'
import { cleanLine, cleanText, marked, markOf } from './untrusted.ts'

/** The text of answers, for reading; what programs need stands in the structured content. Sizes are bytes of JSON. */

/** Most of one stream in the text of a result. */
const STREAM_BYTES = 12_000
const MESSAGE_BYTES = 3_000

export function resultText(result: WorkerResult): string {
  if (!isFinal(result.status)) return handleText(result)
  const lines = [statusLine(result)]
  if (result.error_code !== null) {
    const { remedy, retry_after } = result.metadata
    lines.push(`error ${result.error_code}: ${fitted(cleanText(result.error ?? ''), MESSAGE_BYTES)}`)
    if (remedy !== undefined) lines.push(`fix: ${fitted(cleanText(remedy), MESSAGE_BYTES)}`)
    if (retry_after !== undefined) lines.push(`retry after: ${retry_after} s`)
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
  if (signal !== null) parts.push(`ended by signal ${fitted(cleanLine(signal), 100)}`)
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

function outputLines(result: WorkerResult): string[] {
  const { stdout, stderr, cut, lossy } = outcomeOf(result)
  const streams = [
    { title: 'output', clean: cleanText(stdout) },
    { title: 'standard error', clean: cleanText(stderr) },
  ].map(({ title, clean }) => ({ title, clean, shown: fitted(clean, STREAM_BYTES) }))
  const lines = streams.flatMap(({ title, shown }) =>
    shown === '' ? [] : marked(title, result.target, markOf(result.run_id), shown),
  )
  if (!(cut || lossy || streams.some(({ clean, shown }) => clean !== shown))) return lines
  return [
    ...lines,
    `Not all output is shown as it came: run_output ${JSON.stringify({ run_id: result.run_id })} reads what was kept.`,
  ]
}

/** The text of a control call that answers with a run, a list of runs, or anything else (as JSON). */
export function controlText(output: Record<string, unknown>): string {
  if (Array.isArray(output.runs)) return listText(output as unknown as Parameters<typeof listText>[0])
  // Most answers have no run, and finding that out with the schema costs more than the rest of them.
  const run = output.run === undefined ? undefined : anyResultSchema.safeParse(output.run)
  if (!run?.success) return cleanText(JSON.stringify(output, null, 2))
  return resultText(run.data)
}

/** An event of a run as `run_get` has it. */
export interface RunEventLine {
  readonly seq: number
  readonly at: string
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
}

export function eventLine(event: RunEventLine): string {
  const data = Object.keys(event.data).length === 0 ? '' : ` ${fitted(cleanLine(JSON.stringify(event.data)), 1_000)}`
  return `${event.at} ${event.type}${data}`
}

interface RunList {
  readonly runs: readonly Pick<
    WorkerResult,
    'run_id' | 'timestamp' | 'status' | 'operation' | 'target' | 'error_code' | 'exit_code'
  >[]
  readonly next: string | null
}

function listText({ runs, next }: RunList): string {
  const lines = runs.map((run) => {
    const code = run.error_code ?? (run.exit_code === null ? '' : `exit code ${run.exit_code}`)
    return [run.run_id, run.timestamp, run.status, subjectOf(run), code].join('  ').trimEnd()
  })
  if (lines.length === 0) return 'No runs.'
  return next === null ? lines.join('\n') : [...lines, `More: run_list with before ${JSON.stringify(next)}`].join('\n')
}

export function pageText({ run_id, chunks, next_cursor, ended }: OutputPage): string {
  const lines: string[] = []
  let open: { stream: string; text: string } | undefined
  const close = () => {
    if (open !== undefined) lines.push(...marked(open.stream, null, markOf(run_id), cleanText(open.text)))
    open = undefined
  }
  for (const { stream, text, gap_bytes } of chunks) {
    if (gap_bytes > 0 || open?.stream !== stream) close()
    if (gap_bytes > 0) lines.push(`[… ${gap_bytes} bytes were not kept …]`)
    open = { stream, text: (open?.text ?? '') + text }
  }
  close()
  const next = `run_output ${JSON.stringify({ run_id, cursor: next_cursor })}`
  return [...lines, ended ? 'That was all of it.' : `There may be more: ${next}`].join('\n')
}

export function foundText({ operations, found, next }: ReturnType<typeof searchOperations>): string {
  if (operations.length === 0) return 'No operation has these words. An empty query finds all of them.'
  const lines = operations.map(
    ({ operation, effect, title, description }) => `${operation} (${effect}): ${title}. ${fitted(description, 600)}`,
  )
  const more = next === null ? [] : [`More of ${found}: operations_search with offset ${next}`]
  return [...lines, ...more, 'Call one with operation_call {"operation", "target", "input"}.'].join('\n')
}
