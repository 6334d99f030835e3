import type { NewRunEvent } from '../core/events.ts'
import { CHUNK_CELLS } from './changes.ts'
import type { DeadLetterChange, DeadLetterSelection } from './dead-letter.ts'
import { encodeLetter, encodeLetterFields, encodeOutboxEntry } from './dead-letter-rows.ts'
import type { NewOutboxEntry, OutboxFailure } from './outbox.ts'
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
import type {
  IdempotencyClaim,
  KeyScope,
  NewAuditEntry,
  NewOutputChunk,
  NewRun,
  RunAdoption,
  RunChange,
  RunFacts,
} from './store.ts'
import type { Encoded } from './write-queue.ts'

/** Calls of the port as messages to the writer. */

/** Bytes from which on handing a buffer over takes less than copying it once more. */
const HAND_OVER_BYTES = 4096

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

export function encodeCreate(run: NewRun, now: number, fence: number): Encoded<'createRun'> {
  const row = encodeRun(run, fence)
  const events = encodeEvents(run.events)
  const claim = run.idempotency === undefined ? null : claimRow(run.facts, run.idempotency)
  const letter = run.dead_letter === undefined ? null : encodeLetter(run.dead_letter)
  return { change: ['createRun', row, events, claim, now, letter], bytes: sizeOf(row, events, claim ?? []) }
}

export function encodeChange(change: RunChange): Encoded<'changeRun'> {
  const end = encodeEnd(change.end)
  const events = encodeEvents(change.events)
  const started = change.started_at === undefined ? null : encodeInteger(change.started_at)
  const { run_id, from, to } = change
  const letter = change.dead_letter === undefined ? null : encodeLetter(change.dead_letter)
  return {
    change: ['changeRun', encodeText(run_id), [...from], to, started, end, events, letter],
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
    if (copy.length >= HAND_OVER_BYTES) transfer.push(copy.buffer)
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

export function encodeAdopt({ run_id, from_fence, events }: RunAdoption): Encoded<'adoptRun'> {
  const cells = encodeEvents(events)
  return { change: ['adoptRun', encodeText(run_id), encodeInteger(from_fence), cells], bytes: sizeOf(cells) }
}

export function encodeLetterChange(change: DeadLetterChange): Encoded<'changeDeadLetter'> {
  const fields = encodeLetterFields(change)
  const { id, from, to, at, expect_replays } = change
  return {
    change: ['changeDeadLetter', encodeText(id), [...from], to, encodeInteger(at), expect_replays ?? null, fields],
    bytes: sizeOf(fields.map(([, value]) => value)),
  }
}

export function encodeLetterRemoval(
  { ids, state, before }: DeadLetterSelection,
  limit: number,
): Encoded<'deleteDeadLetters'> {
  return {
    change: ['deleteDeadLetters', ids?.map(encodeText) ?? null, state ?? null, before ?? null, limit],
    bytes: sizeOf(ids ?? []),
  }
}

export function encodeEnqueue(entry: NewOutboxEntry): Encoded<'enqueueOutbox'> {
  const row = encodeOutboxEntry(entry)
  return { change: ['enqueueOutbox', row], bytes: sizeOf(row) }
}

export function encodeOutboxDone(id: string): Encoded<'outboxDone'> {
  return { change: ['outboxDone', encodeText(id)], bytes: OVERHEAD }
}

export function encodeOutboxFailed(id: string, { attempts, next_at, error }: OutboxFailure): Encoded<'outboxFailed'> {
  const text = encodeText(error)
  return {
    change: ['outboxFailed', encodeText(id), encodeInteger(attempts), encodeInteger(next_at), text],
    bytes: sizeOf([text]),
  }
}

export function encodeGetKeyedRun({ principal, operation, target, key }: KeyScope, now: number) {
  const scope = [encodeText(principal), encodeText(operation), encodeText(target ?? ''), encodeText(key)] as const
  return { change: ['getKeyedRun', ...scope, now], bytes: OVERHEAD } satisfies Encoded<'getKeyedRun'>
}

export function encodeAssertOwner(): Encoded<'assertOwner'> {
  return { change: ['assertOwner'], bytes: OVERHEAD }
}

export function encodeCheck(): Encoded<'check'> {
  return { change: ['check'], bytes: OVERHEAD }
}
