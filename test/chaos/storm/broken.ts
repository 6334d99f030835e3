import { setTimeout as delay } from 'node:timers/promises'
import { type Composition, production } from '../../../src/app.ts'
import { createRetryPolicy } from '../../../src/resilience/retry.ts'
import type { CreateHealing } from '../../../src/runtime/healing.ts'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import type { CreateOutcome, NewRun, RunChange, RunRecord, Store } from '../../../src/store/store.ts'

/** Mechanisms that a storm can do without, to show that it would notice. */
export const BREAKABLE = ['journal', 'retry', 'lease'] as const
export type Breakable = (typeof BREAKABLE)[number]

type Parts = Pick<Composition, 'openStore' | 'createRetryPolicy' | 'createHealing'>

/** The parts of the program with one mechanism off; all others are the product's. */
export function partsWithout(broken: Breakable | null): Parts {
  const { openStore, createRetryPolicy: retry, createHealing } = production()
  const parts: Parts = { openStore, createRetryPolicy: retry, createHealing }
  if (broken === 'journal')
    return { ...parts, openStore: async (options) => acknowledgesEarly(await openStore(options)) }
  if (broken === 'retry') return { ...parts, createRetryPolicy: carelessRetry }
  if (broken === 'lease') {
    return {
      ...parts,
      openStore: (options) => openSqliteStore(options, { fenced: false }),
      createHealing: leavesThemAlone,
    }
  }
  return parts
}

/** Tries again whatever the table lists, also what may have acted. */
function carelessRetry() {
  const policy = createRetryPolicy()
  return {
    ...policy,
    denialOf: (question: Parameters<typeof policy.denialOf>[0]) => policy.denialOf({ ...question, idempotent: true }),
  }
}

/** Neither takes up nor ends what a process that is gone has left. */
const leavesThemAlone: CreateHealing = () => ({
  pass: async () => ({ ended: [], resumed: [], stuck: [] }),
  begin: () => undefined,
  stop: () => undefined,
})

/** How far what is on disk lies behind what was said to be, in milliseconds. */
const BEHIND_MS = 500

/** A journal that says that a write is there before it is. */
function acknowledgesEarly(store: Store): Store {
  const ahead = new Map<string, RunRecord>()
  /** Keys of runs that are not on disk yet. */
  const keys = new Set<string>()
  let writes: (() => Promise<unknown>)[] = []

  function later(write: () => Promise<unknown>): void {
    writes.push(write)
    if (writes.length === 1) void delay(BEHIND_MS).then(flush)
  }

  async function flush(): Promise<void> {
    const batch = writes
    writes = []
    keys.clear()
    await Promise.allSettled(batch.map((write) => write()))
  }

  async function createRun(run: NewRun): Promise<CreateOutcome> {
    const { facts, idempotency } = run
    if (idempotency !== undefined) {
      // A key that is known has to lead to its run: only what is new is said too early.
      const { principal, operation, target } = facts
      const scope = { principal, operation, target, key: idempotency.key }
      if (keys.has(idempotency.key)) await flush()
      if ((await store.getKeyedRun(scope, facts.accepted_at)) !== null) return store.createRun(run)
      keys.add(idempotency.key)
    }
    const { status, started_at, end = null } = run
    const record: RunRecord = { ...facts, status, started_at, end, fence: store.fence, dead_letter: null }
    ahead.set(facts.run_id, record)
    later(async () => {
      await store.createRun(run)
      if (ahead.get(facts.run_id) === record) ahead.delete(facts.run_id)
    })
    return { kind: 'created', run: record, attempts_before: 0 }
  }

  async function changeRun(change: RunChange): Promise<RunRecord | null> {
    const before = ahead.get(change.run_id)
    if (before === undefined) return store.changeRun(change)
    const { to, started_at = before.started_at, end = before.end } = change
    const record: RunRecord = { ...before, status: to, started_at, end }
    ahead.set(change.run_id, record)
    later(async () => {
      await store.changeRun(change)
      if (ahead.get(change.run_id) === record) ahead.delete(change.run_id)
    })
    return record
  }

  return {
    ...store,
    createRun,
    changeRun,
    getRun: async (run_id) => ahead.get(run_id) ?? store.getRun(run_id),
    async close() {
      await flush()
      await store.close()
    },
  }
}
