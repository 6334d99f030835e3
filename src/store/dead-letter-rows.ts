import type { ErrorCode } from '../core/error-table.ts'
import type { Effect } from '../core/operation.ts'
import type { EffectCertainty } from '../core/run-status.ts'
import type { DeadLetter, DeadLetterState, NewDeadLetter, OverflowRule, ReplayPolicy } from './dead-letter.ts'
import type { NewOutboxEntry, OutboxEntry } from './outbox.ts'
import {
  decodeJson,
  encodeInteger,
  encodeJson,
  encodeText,
  numberAt,
  optionalInteger,
  optionalText,
  type Row,
  textAt,
} from './rows.ts'

/** Dead letters and entries of the outbox as rows, like runs in rows.ts. */

/** Columns of `dead_letters` beside those of the run, in the order of `decodeDeadLetter`; the run's id is the second. */
export const LETTER_COLUMNS = [
  'id',
  'worker',
  'operation',
  'target',
  'principal',
  'error_code',
  'error',
  'effect',
  'effect_certainty',
  'state',
  'replays',
  'max_replays',
  'policy',
  'next_at',
  'last_run_id',
  'created_at',
  'updated_at',
  'bytes',
] as const

/** What a letter counts for beside its input and its error, in bytes. */
export const LETTER_OVERHEAD = 512

/** id, policy, max_replays, next_at, max_count, max_bytes, overflow. */
export type LetterRow = readonly [string, ReplayPolicy, number, number | null, number, number, OverflowRule]

export function encodeLetter({ id, policy, max_replays, next_at, limits }: NewDeadLetter): LetterRow {
  return [
    encodeText(id),
    policy,
    encodeInteger(max_replays),
    next_at === null ? null : encodeInteger(next_at),
    encodeInteger(limits.max_count),
    encodeInteger(limits.max_bytes),
    limits.overflow,
  ]
}

/** The letter of a row id, run_id, then LETTER_COLUMNS from `worker` on. */
export function decodeDeadLetter(row: Row): DeadLetter {
  return {
    id: textAt(row, 0),
    run_id: textAt(row, 1),
    worker: textAt(row, 2),
    operation: textAt(row, 3),
    target: row[4] as string | null,
    principal: textAt(row, 5),
    error_code: row[6] as ErrorCode | null,
    error: row[7] as string | null,
    effect: row[8] as Effect,
    effect_certainty: row[9] as EffectCertainty,
    state: row[10] as DeadLetterState,
    replays: numberAt(row, 11),
    max_replays: numberAt(row, 12),
    policy: row[13] as ReplayPolicy,
    next_at: row[14] as number | null,
    last_run_id: row[15] as string | null,
    created_at: numberAt(row, 16),
    updated_at: numberAt(row, 17),
    bytes: numberAt(row, 18),
  }
}

export const OUTBOX_COLUMNS = [
  'id',
  'destination',
  'kind',
  'payload',
  'at',
  'dedupe_key',
  'attempts',
  'next_at',
  'error',
] as const

/** Values of OUTBOX_COLUMNS. */
export function encodeOutboxEntry(entry: NewOutboxEntry): Row {
  const at = encodeInteger(entry.at)
  return [
    encodeText(entry.id),
    encodeText(entry.destination),
    encodeText(entry.kind),
    encodeJson(entry.payload),
    at,
    optionalText(entry.dedupe_key),
    0,
    at,
    null,
  ]
}

/** The entry of a row of OUTBOX_COLUMNS. */
export function decodeOutboxEntry(row: Row): OutboxEntry {
  return {
    id: textAt(row, 0),
    destination: textAt(row, 1),
    kind: textAt(row, 2),
    payload: decodeJson(row[3]),
    at: numberAt(row, 4),
    dedupe_key: row[5] as string | null,
    attempts: numberAt(row, 6),
    next_at: numberAt(row, 7),
    error: row[8] as string | null,
  }
}

/** Values of the columns of a change that are given; absent ones are left as they are. */
export function encodeLetterFields(change: {
  readonly replays?: number
  readonly next_at?: number | null
  readonly last_run_id?: string | null
  readonly error_code?: ErrorCode | null
  readonly error?: string | null
  readonly effect_certainty?: EffectCertainty
}): readonly (readonly [column: string, value: string | number | null])[] {
  const fields: [string, string | number | null][] = []
  if (change.replays !== undefined) fields.push(['replays', encodeInteger(change.replays)])
  if (change.next_at !== undefined) fields.push(['next_at', optionalInteger(change.next_at)])
  if (change.last_run_id !== undefined) fields.push(['last_run_id', optionalText(change.last_run_id)])
  if (change.error_code !== undefined) fields.push(['error_code', change.error_code])
  if (change.error !== undefined) fields.push(['error', optionalText(change.error)])
  if (change.effect_certainty !== undefined) fields.push(['effect_certainty', change.effect_certainty])
  return fields
}
