import type { NewRunEvent } from '../core/events.ts'
import { CHUNK_CELLS } from './changes.ts'
import type { ClaimRow } from './protocol.ts'
import {
  encodeAudit,
  encodeEnd,
  encodeEvents,
  encodeInteger,
  encodeJson,
  encodeRun,
  encodeText,
  type Row,
  type SqlValue,
} from './rows.ts'
import type { IdempotencyClaim, NewAuditEntry, NewOutputChunk, NewRun, RunChange, RunFacts } from './store.ts'
import type { Encoded } from './write-queue.ts'

/** Calls of the port as messages to the writer. */

/** Bytes of a message beside its values. */
const OVERHEAD = 64

function sizeOf(...rows: Row[]): number {
  let bytes = OVERHEAD
  for (const row of rows) {
    for (const value of row) bytes += typeof value === 'string' ? value.length : 8
  }
  return bytes
}

function claimRow(facts: RunFacts, claim: IdempotencyClaim): ClaimRow {
  return [
    encodeText(facts.principal),
    encodeText(facts.operation),
    encodeText(facts.target ?? ''),
    encodeText(claim.key),
    encodeText(claim.digest),
    encodeInteger(claim.expires_at),
  ]
}

export function encodeCreate(run: NewRun, now: number): Encoded<'createRun'> {
  const row = encodeRun(run)
  const events = encodeEvents(run.events)
  const claim = run.idempotency === undefined ? null : claimRow(run.facts, run.idempotency)
  return { change: ['createRun', row, events, claim, now], bytes: sizeOf(row, events, claim ?? []) }
}

export function encodeChange(change: RunChange): Encoded<'changeRun'> {
  const end = encodeEnd(change.end)
  const events = encodeEvents(change.events)
  const started = change.started_at === undefined ? null : encodeInteger(change.started_at)
  const { run_id, from, to } = change
  return {
    change: ['changeRun', encodeText(run_id), [...from], to, started, end, events],
    bytes: sizeOf(end, events),
  }
}

export function encodeAppendEvents(run_id: string, events: readonly NewRunEvent[]): Encoded<'appendEvents'> {
  const cells = encodeEvents(events)
  return { change: ['appendEvents', encodeText(run_id), cells], bytes: sizeOf(cells) }
}

/**
 * The bytes are copied, and the copies handed over: a view would take the whole buffer that it looks at with it, and
 * handing over the caller's own would empty it.
 */
export function encodeOutput(run_id: string, chunks: readonly NewOutputChunk[]): Encoded<'appendOutput'> {
  const cells: SqlValue[] = []
  const transfer: ArrayBuffer[] = []
  let bytes = OVERHEAD
  for (const chunk of chunks) {
    const copy = new Uint8Array(chunk.bytes)
    cells.push(chunk.stream, encodeInteger(chunk.gap_bytes), copy)
    transfer.push(copy.buffer)
    bytes += copy.byteLength + CHUNK_CELLS * 8
  }
  return { change: ['appendOutput', encodeText(run_id), cells], bytes, transfer }
}

export function encodeAppendAudit(entry: NewAuditEntry): Encoded<'appendAudit'> {
  const row = encodeAudit(entry)
  return { change: ['appendAudit', row], bytes: sizeOf(row) }
}

export function encodeStateSet(worker: string, key: string, value: unknown): Encoded<'stateSet'> {
  const json = encodeJson(value)
  return { change: ['stateSet', encodeText(worker), encodeText(key), json], bytes: sizeOf([worker, key, json]) }
}

export function encodeStateDelete(worker: string, key: string): Encoded<'stateDelete'> {
  return { change: ['stateDelete', encodeText(worker), encodeText(key)], bytes: sizeOf([worker, key]) }
}

export function encodeExpireKeys(now: number, limit: number): Encoded<'expireKeys'> {
  return { change: ['expireKeys', encodeInteger(now), limit], bytes: OVERHEAD }
}

export function encodeCheck(): Encoded<'check'> {
  return { change: ['check'], bytes: OVERHEAD }
}
