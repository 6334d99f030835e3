import type {
  DeadLetter,
  DeadLetterChange,
  DeadLetterQuery,
  DeadLetterSelection,
  DeadLetterStats,
  DeadLetterStore,
  NewDeadLetter,
} from './dead-letter.ts'
import { noLetters } from './dead-letter-calls.ts'
import {
  decodeOutboxEntry,
  encodeLetter,
  encodeLetterFields,
  encodeOutboxEntry,
  LETTER_OVERHEAD,
} from './dead-letter-rows.ts'
import type { NewOutboxEntry, OutboxEntry, OutboxFailure, OutboxStats, OutboxStore } from './outbox.ts'
import { encodeInteger, encodeJson, encodeText } from './rows.ts'
import { DROP_ORDER, isPinned, pageSize, rowLimit } from './rules.ts'
import type { RunRecord } from './store.ts'

/** Dead letters and the outbox of the store in memory. Every function runs to its end at once. */

/** UTF-8 order, which is SQLite's; that of JavaScript differs beyond U+D7FF. */
export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

export interface MemoryLetters extends Unpromised<DeadLetterStore> {
  /** Checks what a letter says; throws before anything is changed. */
  check(letter: NewDeadLetter | undefined): void
  /** The letter's id, or null where it was not taken. */
  add(run: RunRecord, letter: NewDeadLetter): string | null
  setAside(run_id: string, at: number | null): void
  ofRun(run_id: string): DeadLetter | undefined
}

/** The same calls, answered at once. */
type Unpromised<T> = {
  readonly [Key in keyof T]: T[Key] extends (...given: infer Given) => Promise<infer Answer>
    ? (...given: Given) => Answer
    : never
}

/** `forgotten` is told of each run whose letter goes. */
export function createMemoryLetters(forgotten: (run_id: string) => void): MemoryLetters {
  /** In the order of their ids: a Map keeps that in which they were put. */
  let letters = new Map<string, DeadLetter>()
  /** Ids, by the run. */
  const byRun = new Map<string, string>()
  let newest = ''
  let total = 0
  let dropped = 0
  let rejected = 0

  const sorted = () => [...letters.values()]
  const ofRun = (run_id: string) => letters.get(byRun.get(run_id) ?? '')

  function put(letter: DeadLetter): void {
    const { id, run_id, bytes } = letter
    const before = letters.get(id)
    total += bytes - (before?.bytes ?? 0)
    letters.set(id, letter)
    byRun.set(run_id, id)
    if (before !== undefined) return
    // Ids rise with the time, so that one which comes late is rare.
    if (byBytes(id, newest) > 0) newest = id
    else letters = new Map([...letters].sort(([a], [b]) => byBytes(a, b)))
  }

  function remove({ id, run_id, bytes }: DeadLetter): void {
    letters.delete(id)
    byRun.delete(run_id)
    total -= bytes
    forgotten(run_id)
  }

  /** The one that gives way first; the first of its state by id. */
  function victimOf(): DeadLetter | undefined {
    const firsts = new Map<string, DeadLetter>()
    for (const letter of letters.values()) {
      if (!firsts.has(letter.state)) firsts.set(letter.state, letter)
      if (firsts.has(DROP_ORDER[0])) break
    }
    return DROP_ORDER.map((state) => firsts.get(state)).find((letter) => letter !== undefined)
  }

  function makeRoom(bytes: number, { limits }: NewDeadLetter): boolean {
    const { max_count, max_bytes, overflow } = limits
    if (bytes > max_bytes || max_count < 1) return false
    while (letters.size >= max_count || total + bytes > max_bytes) {
      if (overflow === 'reject') return false
      const victim = victimOf()
      if (victim === undefined) return false
      remove(victim)
      dropped += 1
    }
    return true
  }

  function add(run: RunRecord, given: NewDeadLetter): string | null {
    const { run_id, worker, operation, target, principal, effect, input, end } = run
    if (end === null) return null
    const bytes = LETTER_OVERHEAD + Buffer.byteLength(encodeJson(input)) + Buffer.byteLength(end.error ?? '')
    const { policy, max_replays, next_at } = given
    const before = ofRun(run_id)
    if (before === undefined && !makeRoom(bytes, given)) {
      rejected += 1
      return null
    }
    const { error_code, error, effect_certainty, finished_at } = end
    const facts = { run_id, worker, operation, target, principal, effect, policy, max_replays, next_at, bytes }
    const last = { id: encodeText(given.id), replays: 0, last_run_id: null, created_at: finished_at, ...before }
    const now = { error_code, error, effect_certainty, state: 'open', updated_at: finished_at } as const
    put({ ...last, ...facts, ...now })
    return last.id
  }

  function change(given: DeadLetterChange): DeadLetter | null {
    const fields = Object.fromEntries(encodeLetterFields(given))
    const { id, from, to, expect_replays } = given
    const letter = letters.get(encodeText(id))
    const updated_at = encodeInteger(given.at)
    if (letter === undefined || !from.includes(letter.state)) return null
    if (expect_replays !== undefined && expect_replays !== letter.replays) return null
    const changed: DeadLetter = { ...letter, ...fields, state: to, updated_at }
    put(changed)
    return changed
  }

  function list({ state, before, limit, ...query }: DeadLetterQuery): readonly DeadLetter[] {
    const filters = Object.entries(query).filter(([, value]) => value !== undefined)
    return sorted()
      .filter((letter) => filters.every(([column, value]) => letter[column as keyof typeof query] === value))
      .filter((letter) => state === undefined || state.includes(letter.state))
      .filter(({ id }) => before === undefined || byBytes(id, before) < 0)
      .reverse()
      .slice(0, pageSize(limit))
  }

  function removeSome({ ids, state, before }: DeadLetterSelection, limit: number): number {
    const found = sorted()
      .filter((letter) => letter.state !== 'replaying')
      .filter(({ id }) => ids === undefined || ids.includes(id))
      .filter((letter) => state === undefined || state.includes(letter.state))
      .filter(({ created_at }) => before === undefined || created_at < before)
      .slice(0, rowLimit(limit))
    for (const letter of found) remove(letter)
    return found.length
  }

  function stats(): DeadLetterStats {
    const { by_state } = noLetters()
    const counts: Record<string, number> = { ...by_state }
    const by_worker: Record<string, number> = {}
    let oldest_at: number | null = null
    for (const { state, worker, created_at } of letters.values()) {
      counts[state] = (counts[state] ?? 0) + 1
      if (isPinned(state)) by_worker[worker] = (by_worker[worker] ?? 0) + 1
      if (state === 'open') oldest_at = Math.min(oldest_at ?? created_at, created_at)
    }
    const states = counts as DeadLetterStats['by_state']
    return { by_state: states, by_worker, count: letters.size, bytes: total, dropped, rejected, oldest_at }
  }

  return {
    check: (letter) => void (letter && encodeLetter(letter)),
    add,
    ofRun,
    setAside(run_id, at) {
      const letter = ofRun(run_id)
      if (letter?.state !== 'open' && letter?.state !== 'poison') return
      put({ ...letter, state: 'archived', next_at: null, updated_at: at ?? letter.updated_at })
    },
    getDeadLetter: (id) => letters.get(encodeText(id)) ?? null,
    listDeadLetters: list,
    dueDeadLetters: (now, limit) =>
      sorted()
        .filter(({ state, next_at }) => state === 'open' && next_at !== null && next_at <= now)
        .sort((a, b) => Number(a.next_at) - Number(b.next_at))
        .slice(0, rowLimit(limit)),
    changeDeadLetter: change,
    deleteDeadLetters: removeSome,
    deadLetterStats: stats,
  }
}

export function createMemoryOutbox(): Unpromised<OutboxStore> {
  const entries = new Map<string, OutboxEntry>()

  const sorted = () => [...entries.values()].sort((a, b) => byBytes(a.id, b.id))

  function enqueue(given: NewOutboxEntry): boolean {
    const entry = decodeOutboxEntry(encodeOutboxEntry(given))
    const { id, destination, dedupe_key } = entry
    const same = (other: OutboxEntry) => other.destination === destination && other.dedupe_key === dedupe_key
    if (entries.has(id) || (dedupe_key !== null && sorted().some(same))) return false
    entries.set(id, entry)
    return true
  }

  function due(now: number, limit: number): readonly OutboxEntry[] {
    const firsts = new Map<string, OutboxEntry>()
    for (const entry of sorted()) if (!firsts.has(entry.destination)) firsts.set(entry.destination, entry)
    return [...firsts.values()]
      .filter(({ next_at }) => next_at <= now)
      .sort((a, b) => a.next_at - b.next_at || byBytes(a.id, b.id))
      .slice(0, rowLimit(limit))
  }

  function failed(id: string, { attempts, next_at, error }: OutboxFailure): boolean {
    const facts = { attempts: encodeInteger(attempts), next_at: encodeInteger(next_at), error: encodeText(error) }
    const entry = entries.get(encodeText(id))
    if (entry === undefined) return false
    entries.set(entry.id, { ...entry, ...facts })
    return true
  }

  function stats(): OutboxStats {
    const by_destination: Record<string, number> = {}
    let bytes = 0
    for (const { destination, payload } of sorted()) {
      by_destination[destination] = (by_destination[destination] ?? 0) + 1
      bytes += Buffer.byteLength(encodeJson(payload))
    }
    const times = sorted().map(({ at }) => at)
    const oldest_at = times.length === 0 ? null : Math.min(...times)
    return { waiting: entries.size, by_destination, oldest_at, bytes }
  }

  return {
    enqueueOutbox: enqueue,
    dueOutbox: due,
    outboxDone: (id) => entries.delete(encodeText(id)),
    outboxFailed: failed,
    outboxStats: stats,
  }
}
