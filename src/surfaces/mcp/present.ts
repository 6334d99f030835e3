import type { CallToolResult } from '@modelcontextprotocol/server'
import type { MhvError } from '../../core/errors.ts'
import { isFinal, type WorkerResult } from '../../core/result.ts'
import { fitted, jsonBytes, STRUCTURED_BYTES, shrunkTo, TEXT_BYTES } from './answer-size.ts'
import type { OutputPage } from './output-page.ts'
import { controlText, eventLine, foundText, pageText, type RunEventLine, resultText } from './present-text.ts'
import type { Piece } from './read-more.ts'
import type { searchOperations } from './search.ts'
import { cleanText, marked, UNTRUSTED } from './untrusted.ts'

/** Key in `_meta` of an answer of which something was left out: how to get the whole. */
export const WHOLE = 'mahavishnu/whole'

/** How the whole of an answer that was cut is read. */
interface Whole {
  readonly tool: 'read_more'
  readonly arguments: { readonly call: string; readonly arguments: Readonly<Record<string, unknown>> }
}

/** The answer of an operation: an error only where Mahavishnu failed, not where a command ended with another code than 0. */
export function presentResult(result: WorkerResult): CallToolResult {
  const failed = isFinal(result.status) && result.status !== 'completed'
  const whole = wholeOf('run_get', { run_id: result.run_id })
  const { value, cut } = fittedResult(result, whole)
  return {
    content: [textBlock(resultText(result), cut, whole)],
    structuredContent: value,
    _meta: { [UNTRUSTED]: ['output', 'data', 'error'], ...(cut.length === 0 ? {} : { [WHOLE]: whole }) },
    ...(failed ? { isError: true } : {}),
  }
}

/**
 * The answer where there is no run: the call was malformed, not allowed, or there was no room. It has no structured
 * content, since that would have to fit the tool's output schema.
 */
export function presentError({ code, message, remedy, retryAfter }: MhvError): CallToolResult {
  const lines = [
    `error ${code}: ${fitted(cleanText(message), 16_000)}`,
    `fix: ${fitted(cleanText(remedy), 4_000)}`,
    ...(retryAfter === undefined ? [] : [`retry after: ${retryAfter} s`]),
  ]
  return { content: [{ type: 'text', text: lines.join('\n') }], isError: true }
}

/**
 * The answer of a control call: the text names what matters, the structured content is the call's output. `asked` is
 * what it was called with.
 */
export function presentControl(
  name: string,
  asked: Readonly<Record<string, unknown>>,
  output: Record<string, unknown>,
): CallToolResult {
  if (name === 'run_output') return presentPage(output as unknown as OutputPage)
  if (name === 'run_list') return presentList(output as unknown as RunList)
  if (name === 'run_get') return presentRun(asked, output as unknown as ShownRun)
  const run = output.run as WorkerResult | undefined
  const whole = run === undefined ? wholeOf(name, asked) : wholeOf('run_get', { run_id: run.run_id })
  const shrunk = shrunkTo(output, STRUCTURED_BYTES)
  if (shrunk === null) return presentTooLarge(whole)
  return {
    content: [textBlock(controlText(output), shrunk.cut, whole)],
    structuredContent: shrunk.value as Record<string, unknown>,
    _meta: {
      ...(run === undefined ? {} : { [UNTRUSTED]: ['run', 'events'] }),
      ...(shrunk.cut.length === 0 ? {} : { [WHOLE]: whole }),
    },
  }
}

/** A page of output is as long as fits: nothing of it is left out. */
function presentPage(found: OutputPage): CallToolResult {
  const block = { type: 'text', text: pageText(found), _meta: { [UNTRUSTED]: true } } as const
  return { content: [block], structuredContent: { ...found }, _meta: { [UNTRUSTED]: ['chunks'] } }
}

interface ShownRun {
  readonly run: WorkerResult
  readonly input: unknown
  readonly events: readonly RunEventLine[]
  readonly next_event: number | null
}

/** The run, and as many of its events as fit; `next_event` goes on after the last of them. */
function presentRun(asked: Readonly<Record<string, unknown>>, output: ShownRun): CallToolResult {
  const whole = wholeOf('run_get', asked)
  const forEvents = Math.min(jsonBytes(output.events), STRUCTURED_BYTES / 2)
  const base = shrunkTo({ ...output, events: [] }, STRUCTURED_BYTES - FRAME_BYTES - forEvents)
  if (base === null) return presentTooLarge(whole)
  const head = resultText(output.run)
  const room = {
    json: STRUCTURED_BYTES - FRAME_BYTES - jsonBytes(base.value),
    text: TEXT_BYTES - 7_000 - jsonBytes(head),
  }
  const { events, lines, cut: cutEvents } = fittingEvents(output.events, room)
  const next_event = events.length === output.events.length ? output.next_event : (events.at(-1)?.seq ?? null)
  const cut = [...base.cut, ...cutEvents]
  const goOn = `More events: run_get ${JSON.stringify({ run_id: output.run.run_id, since_event: next_event })}`
  const text = [head, '--- events ---', ...lines, ...(next_event === null ? [] : [goOn])].join('\n')
  return {
    content: [textBlock(text, cut, whole)],
    structuredContent: { ...(base.value as ShownRun), events, next_event },
    _meta: { [UNTRUSTED]: ['run', 'input', 'events'], ...(cut.length === 0 ? {} : { [WHOLE]: whole }) },
  }
}

/** Most bytes of one event; what is longer is read with `read_more`. */
const EVENT_BYTES = 4_000
/** Bytes for the rest of an answer beside its list. */
const FRAME_BYTES = 200

/** The first events that fit, one at least, and their lines. `cut` names those that had to be shortened. */
function fittingEvents(all: readonly RunEventLine[], room: { readonly json: number; readonly text: number }) {
  const events: RunEventLine[] = []
  const lines: string[] = []
  const cut: string[] = []
  let { json, text } = room
  for (const event of all) {
    const small = shrunkTo(event, EVENT_BYTES) ?? { value: { ...event, data: {} }, cut: ['data'] }
    const shown = small.value as RunEventLine
    const line = eventLine(shown)
    json -= jsonBytes(shown) + 1
    text -= jsonBytes(line)
    if (events.length > 0 && (json < 0 || text < 0)) break
    if (small.cut.length > 0) cut.push(`events[${events.length}].data`)
    events.push(shown)
    lines.push(line)
  }
  return { events, lines, cut }
}

interface RunList {
  readonly runs: readonly Omit<WorkerResult, 'data' | 'output'>[]
  readonly next: string | null
}

/** As many runs as fit; `next` goes on after the last of them. */
function presentList({ runs, next }: RunList): CallToolResult {
  const shown: RunList['runs'][number][] = []
  let left = STRUCTURED_BYTES - FRAME_BYTES
  for (const run of runs) {
    // What cannot stand in a line of a list stands in the run itself.
    const small = shrunkTo(run, 8_000)?.value ?? { ...run, error: null, metadata: bareMetadata(run.metadata) }
    const bytes = jsonBytes(small) + 1
    if (bytes > left) break
    left -= bytes
    shown.push(small as (typeof shown)[number])
  }
  const page = { runs: shown, next: shown.length === runs.length ? next : (shown.at(-1)?.run_id ?? null) }
  return {
    content: [{ type: 'text', text: fitted(controlText(page as unknown as Record<string, unknown>), TEXT_BYTES) }],
    structuredContent: page as unknown as Record<string, unknown>,
  }
}

/** A piece of JSON is shown as it is, between marks; its control characters are escaped already. */
export function presentPiece(piece: Piece): CallToolResult {
  const next = piece.next_cursor === null ? 'That was all of it.' : `More: cursor ${JSON.stringify(piece.next_cursor)}`
  const text = [...marked('JSON', null, `of ${piece.total_characters}`, piece.text), next].join('\n')
  return {
    content: [{ type: 'text', text, _meta: { [UNTRUSTED]: true } }],
    structuredContent: { ...piece },
    _meta: { [UNTRUSTED]: ['text'] },
  }
}

export function presentSearch(found: ReturnType<typeof searchOperations>): CallToolResult {
  return { content: [{ type: 'text', text: fitted(foundText(found), TEXT_BYTES) }], structuredContent: { ...found } }
}

/** What a tool of another shape answers. Its runs are runs: what was cut is read with their ids, as everywhere. */
export function presentExtra(output: Record<string, unknown>): CallToolResult {
  const shrunk = shrunkTo(output, STRUCTURED_BYTES)
  const rest = 'run_output and run_get read the whole of every run_id; ask for less at once for the others.'
  if (shrunk === null) return { content: [{ type: 'text', text: `The answer is too large. ${rest}` }], isError: true }
  const cut = shrunk.cut.length === 0 ? '' : `\nLeft out for its size: ${shrunk.cut.join(', ')}. ${rest}`
  const shown = fitted(cleanText(JSON.stringify(shrunk.value, null, 2)), TEXT_BYTES - 6_000)
  return {
    content: [{ type: 'text', text: `${shown}${cut}`, _meta: { [UNTRUSTED]: true } }],
    structuredContent: shrunk.value as typeof output,
  }
}

function presentTooLarge(whole: Whole): CallToolResult {
  const text = `The answer is too large for one piece. ${wholeText(whole)}`
  return { content: [{ type: 'text', text }], _meta: { [WHOLE]: whole }, isError: true }
}

/** The result within its size. Its metadata tells what was left out, and how to get it. */
function fittedResult(result: WorkerResult, whole: Whole) {
  const shrunk = shrunkTo(result, STRUCTURED_BYTES - 3_000)
  if (shrunk !== null && shrunk.cut.length === 0) return { value: result, cut: shrunk.cut }
  const cut = shrunk?.cut ?? ['data', 'output', 'metadata']
  const value = (shrunk?.value ?? withoutData(result)) as WorkerResult
  return { value: { ...value, metadata: { ...value.metadata, left_out: cut, whole } }, cut }
}

function withoutData(result: WorkerResult): WorkerResult {
  const { data: _data, output, error, metadata, ...rest } = result
  const text = (value: string | null) => (value === null ? null : fitted(value, 8_000))
  return { ...rest, data: null, output: text(output), error: text(error), metadata: bareMetadata(metadata) }
}

function bareMetadata(metadata: WorkerResult['metadata']): WorkerResult['metadata'] {
  const { format, principal, surface, effect, tier, queue_seconds } = metadata
  return { format, principal: fitted(principal, 500), surface, effect, tier, queue_seconds }
}

function wholeOf(call: string, asked: Readonly<Record<string, unknown>>): Whole {
  return { tool: 'read_more', arguments: { call, arguments: asked } }
}

function wholeText(whole: Whole): string {
  return `${whole.tool} ${JSON.stringify(whole.arguments)} reads the whole of it.`
}

function textBlock(text: string, cut: readonly string[], whole: Whole) {
  const pointer = `\nLeft out of the structured content for its size: ${cut.join(', ')}. ${wholeText(whole)}`
  const end = cut.length === 0 ? '' : pointer
  return { type: 'text', text: `${fitted(text, TEXT_BYTES - 6_000)}${end}`, _meta: { [UNTRUSTED]: true } } as const
}
