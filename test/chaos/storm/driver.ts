import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openSqliteStore } from '../../../src/store/sqlite.ts'
import type { Store } from '../../../src/store/store.ts'
import { exitOnSignals } from '../../helpers/processes.ts'
import type { Breakable } from './broken.ts'
import { checkLedger, type Finding, type Findings } from './check.ts'
import { createFaults, type FaultLog } from './faults.ts'
import { createInstances, type Instances } from './instances.ts'
import { createLoad, type Load } from './load.ts'
import { drawSchedule, type FaultKind } from './schedule.ts'
import { FAR_LIMIT, makeSurroundings, type Surroundings } from './surroundings.ts'

export interface StormOptions {
  readonly seed: number
  readonly seconds: number
  /** The mechanism that the instance does without; null for none. */
  readonly broken?: Breakable | null
  readonly callers?: number
  /** How long callers get to be told their ends once the faults are over, in seconds. */
  readonly calmSeconds?: number
  /** Told now and then how it goes. */
  onProgress?(text: string): void
}

/** What a storm has found; the last four are 0 where everything holds. */
export interface StormReport {
  readonly seed: number
  readonly seconds: number
  readonly broken: Breakable | null
  /** Faults by kind, as far as they happened. */
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>
  readonly skipped_faults: readonly string[]
  readonly starts: number
  readonly failed_starts: Readonly<Record<string, number>>
  readonly calls: number
  readonly broken_calls: number
  readonly refused: Readonly<Record<string, number>>
  readonly cancelled: number
  readonly replays: number
  readonly runs: number
  readonly completed: number
  /** Completed runs by operation. */
  readonly operations: Readonly<Record<string, number>>
  readonly effects: number
  /** Runs that ended, per second of the storm. */
  readonly throughput: number
  readonly acknowledged: number
  readonly lost: number
  readonly duplicated_effects: number
  readonly stuck: number
  readonly invariant_failures: number
}

export interface Storm {
  readonly report: StormReport
  /** What does not hold, with the events of the runs that show it, and what was done when. Empty where all holds. */
  readonly evidence: readonly string[]
}

/** Longest time until the journal has no unfinished run, in milliseconds. */
const SETTLE_MS = 15_000
const MOST_EVIDENCE = 12

/** One storm from beginning to end. Leaves nothing behind, also when it fails or the process is told to end. */
export async function runStorm(options: StormOptions): Promise<Storm> {
  const { seed, seconds, broken = null, callers = 12, calmSeconds = 30 } = options
  exitOnSignals()
  await using surroundings = await makeSurroundings()
  const instances = createInstances({ folder: surroundings.folder, broken, env: surroundings.env })
  const atExit = () => {
    void instances.abandon()
    surroundings.abandon()
  }
  process.once('exit', atExit)
  let load: Load | undefined
  try {
    if ((await instances.start(3)) === null)
      throw new Error(`no start: ${[...instances.failedStarts.keys()].join('; ')}`)
    const token = (await readFile(join(surroundings.folder, 'http.token'), 'utf8')).trim()
    const { sshCommand } = surroundings
    load = createLoad({ seed, callers, token, sshCommand, port: () => instances.current()?.port ?? null })
    const faults = await blow(options, { surroundings, instances, load })
    const endings = await calm(instances, load, calmSeconds * 1_000)
    const findings = await check({ surroundings, instances, load, faults, endings })
    return tell({ seed, seconds, broken }, { instances, load, faults, findings })
  } finally {
    await load?.finish(0)
    await instances.abandon()
    process.removeListener('exit', atExit)
  }
}

interface StormParts {
  readonly surroundings: Surroundings
  readonly instances: Instances
  readonly load: Load
}

/** The faults of the schedule, while the load goes on. */
async function blow(options: StormOptions, { surroundings, instances, load }: StormParts): Promise<FaultLog> {
  const { seed, seconds, onProgress } = options
  const { folder, links, clockFile, ownDisk, missing } = surroundings
  const skipped = (kind: FaultKind) => {
    if (kind === 'disk_full') return missing.disk
    return kind === 'clock_jump' ? missing.clock : null
  }
  const over = new AbortController()
  const faults = createFaults(
    {
      instances,
      folder,
      links,
      clockFile,
      ownDisk,
      skipped,
      callStale: ({ port, number }) => load.callStale(port, `stale-${number}`),
    },
    drawSchedule(seed, seconds),
    over.signal,
  )
  const began = performance.now()
  const room = faults.keepDiskUsable(over.signal)
  const progress = setInterval(() => {
    const { calls, told } = load.log
    const count = Object.values(faults.log.counts).reduce((sum, each) => sum + each, 0)
    const passed = Math.round((performance.now() - began) / 1_000)
    onProgress?.(`${passed} s of ${seconds}: ${count} faults, ${calls} calls, ${told.length} answers`)
  }, 1_000)
  try {
    await faults.run(seconds * 1_000)
    await delay(Math.max(0, seconds * 1_000 - (performance.now() - began)))
  } finally {
    clearInterval(progress)
    over.abort()
    await room
  }
  return faults.log
}

/** Without further faults: every caller is told an end, the journal comes to rest, and the instance stops in order. */
async function calm(instances: Instances, load: Load, withinMs: number): Promise<readonly string[]> {
  const told = await load.finish(withinMs)
  const until = performance.now() + SETTLE_MS
  const life = instances.current()
  if (life === null) return ['no process serves after the storm']
  // Where callers were left without an end there will be none.
  while (told && performance.now() < until && (await busy(load))) await delay(200)
  const how = await instances.stop(life)
  return how === 0 ? [] : [`the last process ended with ${how} when it was told to: ${life.log().slice(-1_500)}`]
}

/** Whether the instance still says that something is under way. */
async function busy({ ask }: Load): Promise<boolean> {
  for (const path of ['/v1/runs?status=pending', '/v1/runs?status=running', '/v1/dlq?state=replaying']) {
    const answer = await ask({ path: `${path}&limit=1` })
    const { runs = [], letters = [] } = (answer?.json ?? {}) as { runs?: unknown[]; letters?: unknown[] }
    if (answer?.status !== 200 || runs.length + letters.length > 0) return true
  }
  return false
}

interface ToCheck extends StormParts {
  readonly faults: FaultLog
  readonly endings: readonly string[]
}

type Checked = Findings & { readonly eventsOf: ReadonlyMap<string, string> }

async function check({ surroundings, instances, load, faults, endings }: ToCheck): Promise<Checked> {
  const store = await openSqliteStore({ path: join(surroundings.folder, 'journal/journal.db'), readOnly: true })
  try {
    const findings = await checkLedger({
      store,
      load: load.log,
      farEffects: surroundings.far.effects,
      sshEffects: await surroundings.sshEffects(),
      highest: surroundings.far.highest,
      limit: FAR_LIMIT,
      takenOver: faults.takenOver,
    })
    const starts = [...instances.failedStarts.keys()].filter((reason) => !EXPECTED_START_FAILURES.test(reason))
    const texts = [...endings, ...instances.surprises, ...starts.map((reason) => `a process did not start: ${reason}`)]
    const broken = [...findings.broken, ...texts.map((text) => ({ text, run_id: null }))]
    const all = [...findings.lost, ...findings.duplicated, ...findings.stuck, ...broken]
    return { ...findings, broken, eventsOf: await readEvents(store, all) }
  } finally {
    await store.close()
  }
}

/** What a start may fail with while the disk is full, or somebody else has the folder. */
const EXPECTED_START_FAILURES = /^MHV_(JOURNAL_FULL|JOURNAL_UNAVAILABLE|DISK_LOW|INSTANCE_LOCKED)$/

async function readEvents(store: Store, findings: readonly Finding[]): Promise<ReadonlyMap<string, string>> {
  const ids = new Set(findings.flatMap(({ run_id }) => (run_id === null ? [] : [run_id])))
  const texts = new Map<string, string>()
  for (const run_id of [...ids].slice(0, 2 * MOST_EVIDENCE)) {
    const run = await store.getRun(run_id)
    const events = await store.getEvents(run_id, 0, 100)
    const lines = events.map(({ seq, type, at, data }) => `    ${seq} ${type} ${at} ${JSON.stringify(data)}`)
    const input =
      run === null ? 'not in the journal' : `${run.operation} ${JSON.stringify(run.input)} fence ${run.fence}`
    texts.set(run_id, [`    ${input}`, ...lines].join('\n'))
  }
  return texts
}

interface ToTell {
  readonly instances: Instances
  readonly load: Load
  readonly faults: FaultLog
  readonly findings: Checked
}

function tell(of: Pick<StormReport, 'seed' | 'seconds' | 'broken'>, parts: ToTell): Storm {
  const { instances, load, faults, findings } = parts
  const { calls, broken: broken_calls, refused, cancelled } = load.log
  const { runs, completed, operations, replays, effects, acknowledged } = findings
  const report: StormReport = {
    ...of,
    faults: faults.counts,
    skipped_faults: [...faults.skipped],
    starts: instances.starts,
    failed_starts: Object.fromEntries(instances.failedStarts),
    calls,
    broken_calls,
    refused: Object.fromEntries(refused),
    cancelled,
    replays,
    runs,
    completed,
    operations,
    effects,
    throughput: Math.round((runs / of.seconds) * 10) / 10,
    acknowledged,
    lost: findings.lost.length,
    duplicated_effects: findings.duplicated.length,
    stuck: findings.stuck.length,
    invariant_failures: findings.broken.length,
  }
  return { report, evidence: evidenceOf(findings, faults) }
}

function evidenceOf(findings: Checked, faults: FaultLog): readonly string[] {
  const kinds = { lost: findings.lost, duplicated: findings.duplicated, stuck: findings.stuck, broken: findings.broken }
  const lines = Object.entries(kinds).flatMap(([kind, list]) =>
    list.slice(0, MOST_EVIDENCE).map(({ run_id, text }) => {
      const events = run_id === null ? undefined : findings.eventsOf.get(run_id)
      return `${kind}: ${run_id ?? ''} ${text}${events === undefined ? '' : `\n${events}`}`
    }),
  )
  if (lines.length === 0) return []
  return [...lines, ...faults.timeline.map(({ at, text }) => `  ${at.toFixed(2)} s  ${text}`)]
}

/** Whether everything holds. */
export function holds({ lost, duplicated_effects, stuck, invariant_failures }: StormReport): boolean {
  return lost + duplicated_effects + stuck + invariant_failures === 0
}
