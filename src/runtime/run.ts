import type { Progress } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import type { AdmissionPlace } from '../resilience/admission.ts'
import { createDeadline, type Deadline } from '../resilience/deadline.ts'
import type { RunEnd, RunRecord } from '../store/store.ts'
import type { LiveRun } from './live-runs.ts'
import type { RunJournal } from './run-journal.ts'
import { createRunOutput } from './run-output.ts'
import type { RuntimeParts } from './runtime.ts'
import { type AttemptOutcome, attemptRun, breakerOf, endedWhileWaiting } from './steps/attempt.ts'
import { endOf } from './steps/finish.ts'
import type { ResolvedCall } from './steps/resolve.ts'

export interface CreatedRun {
  readonly live: LiveRun
  readonly deadline: Deadline
  /** Starts it, once it is journaled; with `refused` it ends at once. */
  go(refused: MhvError | undefined, attemptsBefore: number): void
}

interface RunParts {
  readonly call: ResolvedCall
  readonly place: AdmissionPlace
  readonly journal: RunJournal
  /** Aborted when the process will not try any longer to journal ends. */
  readonly givingUp: AbortSignal
}

/** One run from its slot to its journaled end. It holds the slot until then. */
export function createRun(parts: RuntimeParts, { call, place, journal, givingUp }: RunParts): CreatedRun {
  const deadline = createDeadline(parts.clock, journal.record().deadline)
  const ended = Promise.withResolvers<RunRecord>()
  const output = outputOf(parts, journal)
  const { live, progress } = liveRun(journal, deadline, ended.promise)

  async function act(attemptsBefore: number): Promise<AttemptOutcome> {
    if (!place.immediate) {
      try {
        await place.ready(deadline.signal)
      } catch (reason) {
        return { attempts: attemptsBefore, error: endedWhileWaiting(reason) }
      }
      // The target may have gone bad while the run waited: then it ends without having been `running`.
      breakerOf(parts, call)?.check()
      journal.note({ type: 'started', at: parts.clock.now(), data: {} })
    }
    if (journal.record().status === 'pending') await journal.start()
    const run = { run_id: live.run_id, call, deadline, output, progress, note: journal.note, attemptsBefore }
    return attemptRun(parts, run)
  }

  async function toEnd(refused: MhvError | undefined, attemptsBefore: number): Promise<void> {
    const attempts = attemptsBefore
    const outcome = refused
      ? { attempts, error: refused }
      : await act(attemptsBefore).catch((error: unknown) => ({ attempts, error: notStarted(error) }))
    const end = endOf(parts, call, outcome, deadline.signal)
    journal.note(finishedEvent(end))
    const record = await journal.finish(end, output.flush, givingUp)
    measure(parts, record)
    ended.resolve(record)
  }

  return {
    live,
    deadline,
    go(refused, attemptsBefore) {
      parts.live.add(live)
      parts.metrics.accepted(call.operation.worker.name)
      toEnd(refused, attemptsBefore)
        .catch((error: unknown) => {
          parts.log.error('a run ended without its end in the journal', { run_id: live.run_id, error: String(error) })
          ended.resolve(journal.record())
        })
        .finally(() => {
          deadline.clear()
          place.release()
          parts.live.remove(live.run_id)
        })
    },
  }
}

function outputOf(parts: RuntimeParts, journal: RunJournal) {
  const { runs } = parts.environment
  return createRunOutput({
    run_id: () => journal.record().run_id,
    store: parts.store,
    redactor: parts.redactor,
    limits: { head: runs.output_head_bytes, tail: runs.output_tail_bytes, text: runs.text_bytes },
    after: (ms, act) => parts.clock.after(ms, act),
    journaled: journal.journaled,
  })
}

function liveRun(journal: RunJournal, deadline: Deadline, done: Promise<RunRecord>) {
  const listeners = new Set<(progress: Progress) => void>()
  const live: LiveRun = {
    get run_id() {
      return journal.record().run_id
    },
    done,
    record: journal.record,
    ensureJournaled: journal.ensure,
    abort: deadline.abort,
    onProgress(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const progress = (step: Progress) => {
    for (const listener of listeners) listener(step)
  }
  return { live, progress }
}

/** The journal did not take `running`: nothing acted. */
function notStarted(error: unknown): MhvError {
  const known = toMhvError(error)
  return known.spec.phase === 'before-effect'
    ? known
    : mhvError('MHV_JOURNAL_UNAVAILABLE', known.message, { cause: error })
}

function finishedEvent(end: RunEnd) {
  const { status, effect_certainty, error_code, exit_code, attempts } = end
  return {
    type: 'finished',
    at: end.finished_at,
    data: { status, effect_certainty, error_code, exit_code, attempts },
  } as const
}

function measure(parts: RuntimeParts, record: RunRecord): void {
  const { worker, operation, status, accepted_at, started_at, end } = record
  const finished = end?.finished_at ?? accepted_at
  parts.metrics.finished({
    worker,
    operation,
    status,
    seconds: (finished - accepted_at) / 1000,
    queueSeconds: ((started_at ?? finished) - accepted_at) / 1000,
    attempts: end?.attempts ?? 0,
  })
}
