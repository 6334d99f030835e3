import type { ErrorCode } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import type { NewRunEvent, RunEvent, RunEventType } from '../core/events.ts'
import { largeJson } from '../core/large-json.ts'
import type { Effect, Priority } from '../core/operation.ts'
import type { EffectCertainty, FinalStatus, RunStatus } from '../core/run-status.ts'
import type { AuditEntry, NewAuditEntry, NewRun, OutputChunk, RunEnd, RunFacts, RunRecord } from './store.ts'

/**
 * Records as rows: flat lists in the order of the columns, which is what crosses the threads fastest. Values are made
 * storable here: JSON as text, text without lone surrogates, integers checked. What cannot be stored is the
 * caller's defect: MHV_INTERNAL.
 */
export type SqlValue = string | number | null | Uint8Array
export type Row = readonly SqlValue[]

const FACT_COLUMNS = [
  'run_id',
  'worker',
  'operation',
  'target',
  'tier',
  'worker_id',
  'principal',
  'surface',
  'effect',
  'priority',
  'reason',
  'input',
  'accepted_at',
  'deadline',
  'replay_of',
  'parent',
] as const

/** Columns of a run's end, in the order of `encodeEnd`. */
export const END_COLUMNS = [
  'effect_certainty',
  'output',
  'data',
  'error',
  'error_code',
  'error_details',
  'exit_code',
  'attempts',
  'finished_at',
] as const

/** Columns of a run without its end. */
export const HEAD_COLUMNS = [...FACT_COLUMNS, 'status', 'started_at', 'fence', 'dead_letter'] as const

/** Columns of `runs` in the order of `encodeRun` and `decodeRun`. */
export const RUN_COLUMNS = [...HEAD_COLUMNS, ...END_COLUMNS] as const

const NO_END: Row = END_COLUMNS.map(() => null)

/** JSON text of a value; undefined becomes null. Lone surrogates survive as escapes. */
export function encodeJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'null'
  } catch (error) {
    throw mhvError('MHV_INTERNAL', `a value for the journal is not JSON: ${String(error)}`, { cause: error })
  }
}

/** Text as it can be kept: a lone surrogate becomes U+FFFD. */
export function encodeText(text: string): string {
  if (typeof text !== 'string') throw mhvError('MHV_INTERNAL', `a text for the journal is of type ${typeof text}`)
  return text.toWellFormed()
}

export function optionalText(text: string | null): string | null {
  return text === null ? null : encodeText(text)
}

/** Times, counts and sizes: integers that a double holds exactly. */
export function encodeInteger(value: number): number {
  if (!Number.isSafeInteger(value)) throw mhvError('MHV_INTERNAL', `a number for the journal is not whole: ${value}`)
  return value
}

export function optionalInteger(value: number | null): number | null {
  return value === null ? null : encodeInteger(value)
}

function optionalJson(value: unknown): string | null {
  return value === null || value === undefined ? null : encodeJson(value)
}

function encodeFacts(facts: RunFacts): SqlValue[] {
  return [
    encodeText(facts.run_id),
    encodeText(facts.worker),
    encodeText(facts.operation),
    optionalText(facts.target),
    optionalText(facts.tier),
    encodeText(facts.worker_id),
    encodeText(facts.principal),
    encodeText(facts.surface),
    facts.effect,
    facts.priority,
    optionalText(facts.reason),
    largeJson(facts.input) ?? encodeJson(facts.input),
    encodeInteger(facts.accepted_at),
    encodeInteger(facts.deadline),
    optionalText(facts.replay_of),
    optionalText(facts.parent),
  ]
}

/** Values of END_COLUMNS; all null for a run that goes on. The status is not among them. */
export function encodeEnd(end: RunEnd | undefined): Row {
  if (end === undefined) return NO_END
  return [
    end.effect_certainty,
    optionalText(end.output),
    optionalJson(end.data),
    optionalText(end.error),
    end.error_code,
    optionalJson(end.error_details),
    optionalInteger(end.exit_code),
    encodeInteger(end.attempts),
    encodeInteger(end.finished_at),
  ]
}

/** Values of RUN_COLUMNS, of a run that this opening takes. Its dead letter is not written with it. */
export function encodeRun(run: NewRun, fence: number): Row {
  const row = encodeFacts(run.facts)
  row.push(run.status, optionalInteger(run.started_at), fence, null, ...encodeEnd(run.end))
  return row
}

/** Type, time and JSON of each event, one after the other: three values per event. */
export function encodeEvents(events: readonly NewRunEvent[]): Row {
  const cells: SqlValue[] = []
  for (const event of events) cells.push(event.type, encodeInteger(event.at), encodeJson(event.data))
  return cells
}

/** Values per event in what `encodeEvents` returns. */
export const EVENT_CELLS = 3

/** at, principal, action, target, decision, rule, run_id, details. */
export function encodeAudit(entry: NewAuditEntry): Row {
  return [
    encodeInteger(entry.at),
    encodeText(entry.principal),
    encodeText(entry.action),
    optionalText(entry.target),
    entry.decision,
    optionalText(entry.rule),
    optionalText(entry.run_id),
    encodeJson(entry.details),
  ]
}

/** The readers of rows take those that were written here, so the values' types are known by their place. */
export function textAt(row: Row, index: number): string {
  return row[index] as string
}

export function numberAt(row: Row, index: number): number {
  return row[index] as number
}

/** The value of a JSON text; null for no text. Throws MHV_JOURNAL_CORRUPT: what was written was JSON. */
export function decodeJson(text: SqlValue | undefined): unknown {
  if (typeof text !== 'string') return null
  try {
    return JSON.parse(text)
  } catch (error) {
    // Not the parser's own words: they quote what is there.
    throw mhvError('MHV_JOURNAL_CORRUPT', 'a row of the journal is damaged', { cause: error })
  }
}

function jsonAt(row: Row, index: number): unknown {
  return decodeJson(row[index])
}

const INPUT_AT = FACT_COLUMNS.indexOf('input')
const STATUS_AT = FACT_COLUMNS.length
const END_AT = HEAD_COLUMNS.length
const FINISHED_AT = RUN_COLUMNS.length - 1

function decodeEnd(row: Row): RunEnd | null {
  if (row[FINISHED_AT] === null) return null
  return {
    status: row[STATUS_AT] as FinalStatus,
    effect_certainty: row[END_AT] as EffectCertainty,
    output: row[END_AT + 1] as string | null,
    data: jsonAt(row, END_AT + 2),
    error: row[END_AT + 3] as string | null,
    error_code: row[END_AT + 4] as ErrorCode | null,
    error_details: jsonAt(row, END_AT + 5) as RunEnd['error_details'],
    exit_code: row[END_AT + 6] as number | null,
    attempts: numberAt(row, END_AT + 7),
    finished_at: numberAt(row, END_AT + 8),
  }
}

/** The record of a row of RUN_COLUMNS. */
export function decodeRun(row: Row): RunRecord {
  return recordOf(row, jsonAt(row, INPUT_AT))
}

/**
 * The same for a row that this process has just written. Its input may be large and is seldom asked for: it is decoded
 * when it is.
 */
export function decodeWritten(row: Row): RunRecord {
  let input: { readonly value: unknown } | undefined
  return Object.defineProperty(recordOf(row, null), 'input', {
    enumerable: true,
    get() {
      input ??= { value: jsonAt(row, INPUT_AT) }
      return input.value
    },
  })
}

function recordOf(row: Row, input: unknown): RunRecord {
  return {
    run_id: textAt(row, 0),
    worker: textAt(row, 1),
    operation: textAt(row, 2),
    target: row[3] as string | null,
    tier: row[4] as string | null,
    worker_id: textAt(row, 5),
    principal: textAt(row, 6),
    surface: textAt(row, 7),
    effect: row[8] as Effect,
    priority: row[9] as Priority,
    reason: row[10] as string | null,
    input,
    accepted_at: numberAt(row, 12),
    deadline: numberAt(row, 13),
    replay_of: row[14] as string | null,
    parent: row[15] as string | null,
    status: row[STATUS_AT] as RunStatus,
    started_at: row[STATUS_AT + 1] as number | null,
    end: decodeEnd(row),
    fence: numberAt(row, STATUS_AT + 2),
    dead_letter: row[STATUS_AT + 3] as string | null,
  }
}

/** The event of a row seq, type, at, data. */
export function decodeEvent(run_id: string, row: Row): RunEvent {
  return {
    run_id,
    seq: numberAt(row, 0),
    type: row[1] as RunEventType,
    at: numberAt(row, 2),
    data: jsonAt(row, 3) as RunEvent['data'],
  }
}

/** The chunk of a row seq, stream, gap_bytes, bytes. */
export function decodeChunk(row: Row): OutputChunk {
  return {
    seq: numberAt(row, 0),
    stream: row[1] as OutputChunk['stream'],
    gap_bytes: numberAt(row, 2),
    bytes: row[3] as Uint8Array,
  }
}

/** The entry of a row seq, at, principal, action, target, decision, rule, run_id, details. */
export function decodeAudit(row: Row): AuditEntry {
  return {
    seq: numberAt(row, 0),
    at: numberAt(row, 1),
    principal: textAt(row, 2),
    action: textAt(row, 3),
    target: row[4] as string | null,
    decision: row[5] as AuditEntry['decision'],
    rule: row[6] as string | null,
    run_id: row[7] as string | null,
    details: jsonAt(row, 8) as AuditEntry['details'],
  }
}
