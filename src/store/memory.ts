import { type Clock, systemClock } from '../core/clock.ts'
import type { StateChanges } from '../core/context.ts'
import type { NewRunEvent, RunEvent } from '../core/events.ts'
import { isFinal } from '../core/run-status.ts'
import type { DeadLetterStore, NewDeadLetter } from './dead-letter.ts'
import { createMemoryBatches } from './memory-batches.ts'
import { byBytes, createMemoryLetters, createMemoryOutbox, type MemoryLetters } from './memory-letters.ts'
import { createMemoryRecords } from './memory-records.ts'
import type { OutboxStore } from './outbox.ts'
import {
  decodeAudit,
  decodeJson,
  decodeRun,
  encodeAudit,
  encodeEvents,
  encodeInteger,
  encodeJson,
  encodeRun,
  encodeText,
} from './rows.ts'
import {
  checkChange,
  checkNewRun,
  decideChange,
  decideClaim,
  isPinned,
  keptUntil,
  pageSize,
  rowLimit,
  runExists,
  storeClosed,
  unknownRun,
} from './rules.ts'
import {
  type AuditEntry,
  type CreateOutcome,
  type IdempotencyClaim,
  JOURNAL_FORMAT,
  type KeyedRun,
  type KeyScope,
  type NewOutputChunk,
  type NewRun,
  type OutputChunk,
  type RunAdoption,
  type RunChange,
  type RunFacts,
  type RunQuery,
  type RunRecord,
  type Store,
} from './store.ts'

/** Nobody else can open it: it has one opening. */
const FENCE = 1

interface KeptRun {
  record: RunRecord
  readonly events: RunEvent[]
  readonly output: OutputChunk[]
}

interface KeptKey {
  readonly run: KeptRun
  readonly digest: string
  readonly expires_at: number
}

interface Memory {
  readonly clock: Clock
  readonly runs: Map<string, KeptRun>
  readonly keys: Map<string, KeptKey>
  readonly letters: MemoryLetters
  readonly outbox: ReturnType<typeof createMemoryOutbox>
  readonly audit: AuditEntry[]
  /** By worker, then by key: the JSON of the value. */
  readonly state: Map<string, Map<string, string>>
}

function stateOf({ status, end }: RunRecord) {
  return { status, effect_certainty: end?.effect_certainty ?? null }
}

/** The record as it comes back from a journal: JSON values, well-formed text, nothing shared with what was given. */
function toRecord(run: Pick<NewRun, 'facts' | 'status' | 'started_at' | 'end'>): RunRecord {
  return decodeRun(encodeRun({ ...run, events: [] }, FENCE))
}

function addEvents(run: KeptRun, events: readonly NewRunEvent[]): void {
  for (const { type, at, data } of events) {
    const seq = run.events.length + 1
    run.events.push({
      run_id: run.record.run_id,
      seq,
      type,
      at,
      data: decodeJson(encodeJson(data)) as RunEvent['data'],
    })
  }
}

function insert(memory: Memory, given: NewRun): KeptRun {
  const record = toRecord(given)
  if (memory.runs.has(record.run_id)) throw runExists(record.run_id)
  const run: KeptRun = { record, events: [], output: [] }
  addEvents(run, given.events)
  memory.runs.set(record.run_id, run)
  return run
}

/** Writes the dead letter of a run that has just ended. */
function addLetter(memory: Memory, run: KeptRun, letter: NewDeadLetter | undefined): void {
  if (letter !== undefined) run.record = { ...run.record, dead_letter: memory.letters.add(run.record, letter) }
}

/** A run's record anew; it keeps its letter. */
function replace(run: KeptRun, facts: RunFacts, rest: Omit<Parameters<typeof toRecord>[0], 'facts'>): void {
  const { dead_letter, fence } = run.record
  run.record = { ...toRecord({ facts, ...rest }), dead_letter, fence }
}

function reopen(memory: Memory, { run }: KeptKey, given: NewRun): void {
  const { status, started_at, end } = given
  memory.letters.setAside(run.record.run_id, memory.clock.now())
  replace(run, { ...run.record, deadline: given.facts.deadline }, { status, started_at, end })
  addLetter(memory, run, given.dead_letter)
  addEvents(run, given.events)
}

function scopeOf({ principal, operation, target, key }: KeyScope): string {
  return JSON.stringify([principal, operation, target ?? '', key].map(encodeText))
}

function letterOf(memory: Memory, { run }: KeptKey) {
  return memory.letters.ofRun(run.record.run_id)?.state ?? null
}

function getKeyedRun(memory: Memory, scope: KeyScope, now: number): KeyedRun | null {
  const held = memory.keys.get(scopeOf(scope))
  if (held === undefined || (held.expires_at <= now && !isPinned(letterOf(memory, held)))) return null
  return { digest: held.digest, run: held.run.record }
}

function createKeyed(memory: Memory, given: NewRun, claim: IdempotencyClaim): CreateOutcome {
  const { principal, operation, target } = given.facts
  const scope = scopeOf({ principal, operation, target, key: claim.key })
  const digest = encodeText(claim.digest)
  const expires_at = encodeInteger(claim.expires_at)
  const held = memory.keys.get(scope)
  const state =
    held === undefined ? undefined : { ...stateOf(held.run.record), ...held, letter: letterOf(memory, held) }
  const kind = decideClaim(state, { digest }, memory.clock.now())
  if (held === undefined || kind === 'created') {
    const run = insert(memory, given)
    addLetter(memory, run, given.dead_letter)
    memory.keys.set(scope, { run, digest, expires_at })
    return { kind: 'created', run: run.record, attempts_before: 0 }
  }
  if (kind !== 'reopened') return { kind, run: held.run.record, attempts_before: 0 }
  const attempts_before = held.run.record.end?.attempts ?? 0
  reopen(memory, held, given)
  memory.keys.set(scope, { ...held, expires_at: keptUntil(held, { expires_at }) })
  return { kind, run: held.run.record, attempts_before }
}

function createRun(memory: Memory, given: NewRun): CreateOutcome {
  checkNewRun(given)
  // What cannot be stored is refused before anything is changed.
  encodeEvents(given.events)
  toRecord(given)
  memory.letters.check(given.dead_letter)
  if (given.idempotency !== undefined) return createKeyed(memory, given, given.idempotency)
  const run = insert(memory, given)
  addLetter(memory, run, given.dead_letter)
  return { kind: 'created', run: run.record, attempts_before: 0 }
}

function changeRun(memory: Memory, change: RunChange): RunRecord | null {
  checkChange(change)
  encodeEvents(change.events)
  memory.letters.check(change.dead_letter)
  const { run_id, from, to, end } = change
  const run = memory.runs.get(run_id)
  if (run === undefined || !decideChange(stateOf(run.record), run_id, from, to)) return null
  const before = isFinal(run.record.status) ? null : run.record.started_at
  if (isFinal(run.record.status)) memory.letters.setAside(run_id, null)
  replace(run, run.record, { status: to, started_at: change.started_at ?? before, end })
  addLetter(memory, run, change.dead_letter)
  addEvents(run, change.events)
  return run.record
}

function adoptRun(memory: Memory, { run_id, from_fence, events }: RunAdoption): RunRecord | null {
  encodeEvents(events)
  const run = memory.runs.get(run_id)
  if (run?.record.status !== 'running' || run.record.fence !== from_fence) return null
  run.record = { ...run.record, fence: FENCE }
  addEvents(run, events)
  return run.record
}

function existing(memory: Memory, run_id: string): KeptRun {
  const run = memory.runs.get(run_id)
  if (run === undefined) throw unknownRun(run_id)
  return run
}

function appendOutput(memory: Memory, run_id: string, chunks: readonly NewOutputChunk[]): void {
  const { output } = existing(memory, run_id)
  for (const chunk of chunks) encodeInteger(chunk.gap_bytes)
  for (const { stream, bytes, gap_bytes } of chunks) {
    output.push({ seq: output.length + 1, stream, bytes: new Uint8Array(bytes), gap_bytes })
  }
}

function matches(run: RunRecord, query: RunQuery): boolean {
  const { worker, operation, target, principal, parent, status, since, until, before } = query
  return (
    (worker === undefined || run.worker === worker) &&
    (operation === undefined || run.operation === operation) &&
    (target === undefined || run.target === target) &&
    (principal === undefined || run.principal === principal) &&
    (parent === undefined || run.parent === parent) &&
    (status === undefined || status.includes(run.status)) &&
    (since === undefined || run.accepted_at >= since) &&
    (until === undefined || run.accepted_at < until) &&
    (before === undefined || byBytes(run.run_id, before) < 0)
  )
}

function records(memory: Memory): RunRecord[] {
  return [...memory.runs.values()].map((run) => run.record).sort((a, b) => byBytes(a.run_id, b.run_id))
}

function readOutput(memory: Memory, run_id: string, after: number, maxBytes: number): readonly OutputChunk[] {
  const chunks: OutputChunk[] = []
  let total = 0
  for (const chunk of memory.runs.get(run_id)?.output ?? []) {
    if (chunk.seq <= after) continue
    total += chunk.bytes.byteLength
    if (chunks.length > 0 && total > maxBytes) break
    chunks.push(chunk)
  }
  return chunks
}

function setState(memory: Memory, worker: string, key: string, value: unknown): void {
  const json = encodeJson(value)
  const values = memory.state.get(encodeText(worker)) ?? new Map<string, string>()
  memory.state.set(encodeText(worker), values.set(encodeText(key), json))
}

function applyState(memory: Memory, worker: string, { set = [], delete: deleted = [] }: StateChanges): void {
  // What cannot be stored is refused before anything is changed.
  for (const [key, value] of set) encodeJson([encodeText(key), value])
  for (const key of deleted) memory.state.get(encodeText(worker))?.delete(encodeText(key))
  for (const [key, value] of set) setState(memory, worker, key, value)
}

function listState(memory: Memory, worker: string, prefix: string) {
  const entries = [...(memory.state.get(encodeText(worker)) ?? [])]
  return entries
    .filter(([key]) => key.startsWith(encodeText(prefix)))
    .sort(([a], [b]) => byBytes(a, b))
    .map(([key, json]) => ({ key, value: decodeJson(json) }))
}

function expireKeys(memory: Memory, now: number): number {
  const past = [...memory.keys].filter(([, key]) => key.expires_at <= now && !isPinned(letterOf(memory, key)))
  for (const [scope] of past) memory.keys.delete(scope)
  return past.length
}

function facts(memory: Memory) {
  return { kind: 'memory', format: JOURNAL_FORMAT, runs: memory.runs.size, bytes: 0, pragmas: {} } as const
}

/** A store that forgets everything with the process: for tests, and for trying things out. Nothing is shared with it. */
export function createMemoryStore(clock: Clock = systemClock): Store {
  const runs = new Map<string, KeptRun>()
  const letters = createMemoryLetters((run_id) => {
    const run = runs.get(run_id)
    if (run !== undefined) run.record = { ...run.record, dead_letter: null }
  })
  const outbox = createMemoryOutbox()
  const memory: Memory = { clock, runs, letters, outbox, keys: new Map(), audit: [], state: new Map() }
  let closed = false

  /** Each call runs to its end at once, so each is atomic; what it answers is a copy. */
  async function call<T>(work: () => T): Promise<T> {
    if (closed) throw storeClosed()
    return structuredClone(work())
  }
  return {
    ...letterCalls(memory, call),
    ...createMemoryBatches(call),
    ...createMemoryRecords(call),
    fence: FENCE,
    createRun: (run) => call(() => createRun(memory, run)),
    changeRun: (change) => call(() => changeRun(memory, change)),
    adoptRun: (adoption) => call(() => adoptRun(memory, adoption)),
    getKeyedRun: (scope, now) => call(() => getKeyedRun(memory, scope, now)),
    assertOwner: () => call(() => {}),
    appendEvents: (run_id, events) =>
      call(() => {
        encodeEvents(events)
        addEvents(existing(memory, run_id), events)
      }),
    appendOutput: (run_id, chunks) => call(() => appendOutput(memory, run_id, chunks)),
    appendAudit: (entry) =>
      call(() => void memory.audit.push(decodeAudit([memory.audit.length + 1, ...encodeAudit(entry)]))),
    getRun: (run_id) => call(() => memory.runs.get(run_id)?.record ?? null),
    listRuns: (query) =>
      call(() =>
        records(memory)
          .filter((run) => matches(run, query))
          .reverse()
          .slice(0, pageSize(query.limit)),
      ),
    unfinishedRuns: () => call(() => records(memory).filter((run) => !isFinal(run.status))),
    getEvents: (run_id, after, limit) =>
      call(() =>
        (memory.runs.get(run_id)?.events ?? []).filter((event) => event.seq > after).slice(0, rowLimit(limit)),
      ),
    getOutput: (run_id, after, maxBytes) => call(() => readOutput(memory, run_id, after, maxBytes)),
    listAudit: ({ after = 0, limit }) =>
      call(() => memory.audit.filter((entry) => entry.seq > after).slice(0, rowLimit(limit))),
    stateGet: (worker, key) => call(() => decodeStored(memory.state.get(encodeText(worker))?.get(encodeText(key)))),
    stateSet: (worker, key, value) => call(() => setState(memory, worker, key, value)),
    stateDelete: (worker, key) => call(() => void memory.state.get(encodeText(worker))?.delete(encodeText(key))),
    stateApply: (worker, changes) => call(() => applyState(memory, worker, changes)),
    stateList: (worker, prefix) => call(() => listState(memory, worker, prefix)),
    expireKeys: (now) => call(() => expireKeys(memory, encodeInteger(now))),
    check: () => call(() => {}),
    facts: () => call(() => facts(memory)),
    async close() {
      closed = true
    },
  }
}

function letterCalls({ letters, outbox }: Memory, call: <T>(work: () => T) => Promise<T>) {
  return {
    getDeadLetter: (id) => call(() => letters.getDeadLetter(id)),
    listDeadLetters: (query) => call(() => letters.listDeadLetters(query)),
    dueDeadLetters: (now, limit) => call(() => letters.dueDeadLetters(now, limit)),
    changeDeadLetter: (change) => call(() => letters.changeDeadLetter(change)),
    deleteDeadLetters: (selection, limit) => call(() => letters.deleteDeadLetters(selection, limit)),
    deadLetterStats: () => call(() => letters.deadLetterStats()),
    enqueueOutbox: (entry) => call(() => outbox.enqueueOutbox(entry)),
    dueOutbox: (now, limit) => call(() => outbox.dueOutbox(now, limit)),
    outboxDone: (id) => call(() => outbox.outboxDone(id)),
    outboxFailed: (id, failure) => call(() => outbox.outboxFailed(id, failure)),
    outboxStats: () => call(() => outbox.outboxStats()),
  } satisfies DeadLetterStore & OutboxStore
}

function decodeStored(json: string | undefined): unknown {
  return json === undefined ? undefined : decodeJson(json)
}
