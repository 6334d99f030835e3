import type { RunEvent } from '../../../src/core/events.ts'
import { isFinal } from '../../../src/core/result.ts'
import { explainRun } from '../../../src/runtime/explain.ts'
import type { RunRecord, Store } from '../../../src/store/store.ts'
import type { FarRequest } from './far-side.ts'
import type { Life } from './instances.ts'
import type { LoadLog } from './load.ts'

export interface CheckParts {
  readonly store: Store
  readonly load: LoadLog
  readonly farEffects: readonly FarRequest[]
  /** Lines of the host's ledger: token and run id. */
  readonly sshEffects: readonly { readonly token: string; readonly run_id: string }[]
  readonly highest: ReadonlyMap<number, number>
  /** The most that one process may have under way on the far side. */
  readonly limit: number
  /** Processes that were taken over while they were stopped. */
  readonly takenOver: readonly Life[]
}

/** One thing that does not hold, and the run that shows it, where one does. */
export interface Finding {
  readonly text: string
  readonly run_id: string | null
}

export interface Findings {
  readonly runs: number
  readonly completed: number
  /** Of those, by operation. */
  readonly operations: Readonly<Record<string, number>>
  /** Runs that replay a dead letter. */
  readonly replays: number
  readonly acknowledged: number
  readonly effects: number
  /** Acknowledged runs that are not in the journal, or of which more was told than it knows. */
  readonly lost: readonly Finding[]
  /** What was to be done once and was done more often. */
  readonly duplicated: readonly Finding[]
  /** Without an end, or a caller that was never told it. */
  readonly stuck: readonly Finding[]
  /** Anything else that must not be. */
  readonly broken: readonly Finding[]
}

/**
 * What a process that was taken over does within this time after it goes on may have been under way, in milliseconds: it
 * had asked whether it may act, and was stopped while it connected.
 */
export const UNDER_WAY_MS = 600
const EVENTS = 10_000

interface Facts extends CheckParts {
  readonly runs: ReadonlyMap<string, RunRecord>
  readonly events: ReadonlyMap<string, readonly RunEvent[]>
  /** Effects by the run that caused them. */
  readonly effectsOf: ReadonlyMap<string, number>
}

/** Holds what was told and what was done against the journal. Trusts nothing that the program says about itself. */
export async function checkLedger(parts: CheckParts): Promise<Findings> {
  const runs = await readRuns(parts.store)
  const events = new Map<string, readonly RunEvent[]>()
  for (const run_id of runs.keys()) events.set(run_id, await parts.store.getEvents(run_id, 0, EVENTS))
  const effects = [...parts.farEffects, ...parts.sshEffects]
  const facts: Facts = { ...parts, runs, events, effectsOf: countBy(effects.map(({ run_id }) => run_id)) }
  const findings = {
    lost: findLost(facts),
    duplicated: findDuplicated(facts),
    stuck: await findStuck(facts),
    broken: [
      ...findTold(facts),
      ...findKeys(facts),
      ...findEffects(facts),
      ...findEvents(facts),
      ...findProcesses(facts),
      ...parts.load.wrong.map((text) => ({ text, run_id: null })),
    ],
  }
  const ended = [...runs.values()]
  const completed = ended.filter(({ status }) => status === 'completed')
  return {
    ...findings,
    runs: runs.size,
    completed: completed.length,
    operations: Object.fromEntries(countBy(completed.map(({ operation }) => operation))),
    replays: ended.filter(({ replay_of }) => replay_of !== null).length,
    acknowledged: new Set(parts.load.told.map(({ run_id }) => run_id)).size,
    effects: effects.length,
  }
}

async function readRuns(store: Store): Promise<ReadonlyMap<string, RunRecord>> {
  const runs = new Map<string, RunRecord>()
  let before: string | undefined
  for (;;) {
    const page = await store.listRuns({ limit: 1_000, ...(before === undefined ? {} : { before }) })
    for (const run of page) runs.set(run.run_id, run)
    before = page.at(-1)?.run_id
    if (page.length < 1_000) return runs
  }
}

function countBy(names: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

function findLost({ load, runs }: Facts): Finding[] {
  const lost = new Map<string, Finding>()
  for (const { run_id, status } of load.told) {
    const run = runs.get(run_id)
    if (run === undefined) lost.set(run_id, { run_id, text: `told as ${status}, and not in the journal` })
    else if (status === 'completed' && run.status !== 'completed') {
      lost.set(run_id, { run_id, text: `told as completed, and ${run.status} in the journal` })
    }
  }
  return [...lost.values()]
}

/** By what was wanted, not by run: a second run for the same thing is as bad as a second attempt. */
function findDuplicated({ farEffects, sshEffects }: Facts): Finding[] {
  const once = [...farEffects.filter(({ op }) => op === 'append'), ...sshEffects]
  const runOf = new Map(once.map(({ token, run_id }) => [token, run_id]))
  return [...countBy(once.map(({ token }) => token))]
    .filter(([, count]) => count > 1)
    .map(([token, count]) => ({ run_id: runOf.get(token) ?? null, text: `${token} was done ${count} times` }))
}

async function findStuck({ load, runs, store }: Facts): Promise<Finding[]> {
  const open = [...runs.values()].filter(({ status }) => !isFinal(status))
  const untold = [...load.intents.values()].filter(({ final }) => !final)
  const letters = await store.listDeadLetters({ state: ['replaying'], limit: 1_000 })
  return [
    ...open.map(({ run_id, status }) => ({ run_id, text: `is ${status} in the journal after the end` })),
    ...untold.map(({ intent, run_ids }) => ({
      run_id: [...run_ids][0] ?? null,
      text: `the caller of ${intent.operation} ${intent.token} was never told the end`,
    })),
    ...letters.map(({ id, run_id }) => ({ run_id, text: `its dead letter ${id} is being replayed for ever` })),
  ]
}

/** An end that was told is the end, unless the run was opened again under its key since. */
function findTold({ load, runs, events }: Facts): Finding[] {
  const findings = new Map<string, Finding>()
  for (const { run_id, status, certainty } of load.told) {
    const end = runs.get(run_id)?.end
    if (end === null || end === undefined || !isFinal(status)) continue
    if (end.status === status && end.effect_certainty === certainty) continue
    const reopened =
      certainty === 'none' && (events.get(run_id) ?? []).filter(({ type }) => type === 'accepted').length > 1
    if (reopened) continue
    const now = `${end.status}, ${end.effect_certainty}`
    findings.set(run_id, { run_id, text: `told as ${status}, ${certainty}; the journal says ${now}` })
  }
  return [...findings.values()]
}

/** A key leads to one run. */
function findKeys({ load }: Facts): Finding[] {
  return [...load.intents.values()]
    .filter(({ run_ids }) => run_ids.size > 1)
    .map(({ intent, run_ids }) => ({
      run_id: null,
      text: `${intent.token} led to ${run_ids.size} runs: ${[...run_ids]}`,
    }))
}

/** What the journal says of each run's effect, against the ledger. */
function findEffects({ runs, effectsOf }: Facts): Finding[] {
  const unknown = [...effectsOf.keys()].filter((run_id) => !runs.has(run_id))
  const findings = unknown.map((run_id) => ({ run_id, text: 'acted, and is not in the journal' }))
  for (const { run_id, effect, end, operation } of runs.values()) {
    const count = effectsOf.get(run_id) ?? 0
    const certainty = end?.effect_certainty
    const text = `${operation}: the journal says ${end?.status}, ${certainty}; the ledger has ${count} effects`
    const wrong =
      effect === 'read'
        ? count > 0 || (certainty !== undefined && certainty !== 'none')
        : (certainty === 'none' && count > 0) ||
          ((certainty === 'applied' || end?.status === 'completed') && count === 0)
    if (wrong) findings.push({ run_id, text })
  }
  return findings
}

/** Every log begins with `accepted`, has no gap, and has one end for each time that the run was accepted. */
function findEvents({ runs, events }: Facts): Finding[] {
  const findings: Finding[] = []
  for (const [run_id, run] of runs) {
    const log = events.get(run_id) ?? []
    const kinds = log.map(({ type }) => type)
    const found = (text: string) => findings.push({ run_id, text: `${text}: ${kinds.join(' ')}` })
    if (!log.every(({ seq }, index) => seq === index + 1)) found('its events have gaps')
    if (kinds[0] !== 'accepted') found('its events do not begin with accepted')
    if (!isFinal(run.status)) continue
    if (!['finished', 'reconciled'].includes(kinds.at(-1) ?? '')) found('its last event is no end')
    const ends = kinds.filter((kind) => kind === 'finished' || kind === 'reconciled').length
    const accepted = kinds.filter((kind) => kind === 'accepted').length
    if (ends !== accepted) found(`accepted ${accepted} times, ended ${ends} times`)
    if (log.at(-1)?.data.status !== run.status) found(`its log ends otherwise than as ${run.status}`)
    const { summary, total_seconds, queue_seconds, steps } = explainRun(run, log, run.end?.finished_at ?? 0)
    if (!summary.startsWith(run.status) || steps.length === 0) found(`it is explained as "${summary}"`)
    if (!(total_seconds >= 0 && queue_seconds >= 0))
      found(`explained with ${total_seconds} s, ${queue_seconds} s queued`)
  }
  return findings
}

function findProcesses({ highest, limit, takenOver, farEffects }: Facts): Finding[] {
  const crowded = [...highest].filter(([, most]) => most > limit)
  const findings: Finding[] = crowded.map(([life, most]) => ({
    run_id: null,
    text: `process ${life} had ${most} calls under way at once, and the limit is ${limit}`,
  }))
  for (const { number, takenOverAt } of takenOver) {
    const since = (takenOverAt ?? Number.POSITIVE_INFINITY) + UNDER_WAY_MS
    const late = farEffects.filter(({ life, sent_at }) => life === number && sent_at > since)
    for (const { run_id, token } of late) {
      findings.push({ run_id, text: `process ${number} did ${token} after another one had taken over` })
    }
  }
  return findings
}
