import { mhvError, toMhvError } from '../core/errors.ts'
import type { RunRecord } from '../store/store.ts'
import { endCutOff } from './reconcile.ts'
import { settleCutOff } from './resume.ts'
import type { RuntimeParts } from './runtime.ts'

/** What one pass has found. */
export interface Healed {
  /** Runs of processes that are gone, ended. */
  readonly ended: readonly RunRecord[]
  /** Runs of processes that are gone, taken up again. */
  readonly resumed: readonly string[]
  /** Runs of this process that did not end, given up. */
  readonly stuck: readonly string[]
}

export interface Healing {
  /** One pass: at start, before anything new is accepted; and then periodically. Throws what the journal throws. */
  pass(): Promise<Healed>
  /** Passes every `runs.heal_seconds` from now on; idempotency keys whose time is over go with each. */
  begin(): void
  stop(): void
}

/** How compositions put it together; a test's may leave it out. */
export type CreateHealing = (parts: RuntimeParts, resume: Resume) => Healing

/** Takes a run up again where its operation can; false where it cannot and the run is to be ended, null: not now. */
export type Resume = (run: RunRecord) => Promise<boolean | null>

/** How long after its deadline and the grace time a run is given up, in milliseconds. */
const STUCK_MS = 5_000

/** Runs that are looked after at once: what is written together is one commit, and a start may find thousands. */
const AT_ONCE = 100

/**
 * Sees to it that every run in the journal reaches an end, whatever became of the process or the code that had it:
 *
 * - a run of an earlier fence is taken up again or ended: its process cannot write any longer;
 * - a run of this process that is not live, and was not at the pass before either, is ended: its end got lost;
 * - a live run far beyond its deadline and the grace time is given up. Its time is watched by the monotonic clock, so a
 *   wall clock that jumps gives up nothing.
 *
 * Each of them is one compare and set in the journal: whoever is second changes nothing.
 */
export function createHealing(parts: RuntimeParts, resume: Resume): Healing {
  const { store, clock, log, live } = parts
  /** Runs of this fence that were in no hands at the last pass. */
  let orphans: ReadonlySet<string> = new Set()
  let cancelNext: (() => void) | undefined
  let stopped = false

  async function endOrphan(run: RunRecord, seen: Set<string>): Promise<RunRecord | null> {
    // The journal may be ahead of the live runs by a moment: a run that is opened again, one whose end is on its way.
    if (orphans.has(run.run_id)) return endCutOff(parts, run)
    seen.add(run.run_id)
    return null
  }

  async function healJournal(): Promise<Pick<Healed, 'ended' | 'resumed'>> {
    const ended: RunRecord[] = []
    const resumed: string[] = []
    const seen = new Set<string>()
    async function healRun(run: RunRecord): Promise<RunRecord | null> {
      if (live.get(run.run_id) !== undefined) return null
      if (run.fence === store.fence) return endOrphan(run, seen)
      const takenUp = await resume(run)
      if (takenUp === true) resumed.push(run.run_id)
      if (takenUp !== false) return null
      const ended = await endCutOff(parts, run)
      // Beside everything else: the target may be slow, or gone.
      if (ended !== null) void settleCutOff(parts, run)
      return ended
    }
    const unfinished = await store.unfinishedRuns()
    for (let at = 0; at < unfinished.length; at += AT_ONCE) {
      const ends = await Promise.all(unfinished.slice(at, at + AT_ONCE).map(healRun))
      ended.push(...ends.filter((end) => end !== null))
    }
    orphans = seen
    return { ended, resumed }
  }

  function giveUpStuck(): readonly string[] {
    const now = clock.monotonic()
    const graceMs = parts.environment.runs.abort_grace_seconds * 1000 + STUCK_MS
    return live.all().flatMap((run) => {
      if (
        now < run.dueAt() + graceMs ||
        !run.giveUp(mhvError('MHV_RUN_STUCK', 'the run did not end after its deadline'))
      )
        return []
      log.error('a run did not end after its deadline and is given up', { run_id: run.run_id })
      return [run.run_id]
    })
  }

  async function pass(): Promise<Healed> {
    // First: a process that has been fenced finds out here at the latest.
    await store.assertOwner()
    return { ...(await healJournal()), stuck: giveUpStuck() }
  }

  async function passAgain(): Promise<void> {
    await pass().catch((error: unknown) => log.error('runs could not be looked after', { error: toMhvError(error) }))
    if (stopped) return
    await store
      .expireKeys(clock.now())
      .catch((error: unknown) => log.error('old keys could not be removed', { error: toMhvError(error) }))
  }

  function begin(): void {
    if (stopped) return
    cancelNext = clock.after(parts.environment.runs.heal_seconds * 1000, () => {
      void passAgain().finally(begin)
    })
  }

  return {
    pass,
    begin,
    stop() {
      stopped = true
      cancelNext?.()
    },
  }
}
