import type { Progress } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { isFinal } from '../core/result.ts'
import type { AdmissionPlace } from '../resilience/admission.ts'
import { createDeadline, type Deadline } from '../resilience/deadline.ts'
import type { RunEnd, RunRecord } from '../store/store.ts'
import type { LiveRun, Waiting } from './live-runs.ts'
import type { RunJournal } from './run-journal.ts'
import { createRunOutput, type RunOutput } from './run-output.ts'
import type { RuntimeParts } from './runtime.ts'
import { type AttemptOutcome, attemptRun, breakerOf, endedWhileWaiting } from './steps/attempt.ts'
import { endOf } from './steps/finish.ts'
import type { ResolvedCall } from './steps/resolve.ts'

/** A run of which it is not known yet whether the journal takes it. One of the three is called, once. */
export interface CreatedRun {
  readonly live: LiveRun
  /** Starts it, once it is journaled. */
  go(attemptsBefore: number): void
  /** Ends it without having acted: `error` says why. With its end in the journal at once when it is not there yet. */
  refuse(error: MhvError, attemptsBefore: number): void
  /** Takes it back: the journal did not take it, or has another run for it. */
  drop(): void
}

interface RunToCreate {
  readonly call: ResolvedCall
  readonly place: AdmissionPlace
  readonly journal: RunJournal
  /** Aborted when the process will not try any longer to journal ends. */
  readonly givingUp: AbortSignal
}

/** One run from its slot to its journaled end. It holds the slot until then. */
export function createRun(parts: RuntimeParts, { call, place, journal, givingUp }: RunToCreate): CreatedRun {
  const { run_id, accepted_at, deadline: deadlineAt } = journal.record()
  const deadline = createDeadline(parts.clock, deadlineAt)
  const ended = Promise.withResolvers<RunRecord>()
  const output = outputOf(parts, journal)
  let decided = false
  const { live, progress } = liveRun(parts, journal, { deadline, done: ended.promise, decided: () => decided })
  // Here already, so that whoever closes the instance waits for it, and a duplicate finds it.
  parts.live.add(live)

  async function act(attemptsBefore: number): Promise<AttemptOutcome> {
    try {
      await place.ready(deadline.signal)
    } catch (reason) {
      return { attempts: attemptsBefore, error: endedWhileWaiting(reason) }
    }
    if (journal.record().status === 'pending') {
      // The target may have gone bad while the run waited: then it ends without having been `running`.
      breakerOf(parts, call)?.check()
      journal.note({ type: 'started', at: parts.clock.now(), data: {} })
      await journal.start()
    }
    return attemptRun(parts, {
      run_id: live.run_id,
      call,
      deadline,
      output,
      progress,
      note: journal.note,
      attemptsBefore,
    })
  }

  async function toEnd(outcome: AttemptOutcome): Promise<RunRecord> {
    const end = endOf(parts, call, outcome, deadline.signal)
    decided = true
    journal.note(finishedEvent(end))
    return journal.finish(end, output.flush, givingUp)
  }

  function over(record: RunRecord): void {
    deadline.clear()
    place.release()
    parts.live.remove(live.run_id, live)
    ended.resolve(record)
  }

  /** The slot is free and the run is gone from the live ones before anybody is told that it has ended. */
  function follow(outcome: Promise<AttemptOutcome>): void {
    if (live.run_id !== run_id) {
      // A run that is opened again keeps the id that it had.
      parts.live.add(live)
      parts.live.remove(run_id, live)
    }
    parts.metrics.accepted(call.operation.worker.name)
    void outcome
      .then(toEnd)
      .catch((error: unknown) => {
        parts.log.error('a run ended without its end in the journal', { run_id: live.run_id, error })
        return journal.record()
      })
      .then((record) => {
        try {
          measure(parts, record, accepted_at)
        } finally {
          // Whatever becomes of the numbers, the slot is given back.
          over(record)
        }
      })
  }

  return {
    live,
    go: (attempts) => follow(act(attempts).catch((error: unknown) => ({ attempts, error: notStarted(error) }))),
    refuse: (error, attempts) => follow(Promise.resolve({ attempts, error })),
    drop() {
      deadline.clear()
      place.release()
      parts.live.remove(run_id, live)
      ended.resolve(journal.record())
    },
  }
}

function outputOf(parts: RuntimeParts, journal: RunJournal): RunOutput {
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

interface RunToWatch {
  readonly deadline: Deadline
  readonly done: Promise<RunRecord>
  /** Whether it is known how it ended; from then on it is only written down. */
  readonly decided: () => boolean
}

function liveRun(parts: RuntimeParts, journal: RunJournal, { deadline, done, decided }: RunToWatch) {
  const listeners = new Set<(progress: Progress) => void>()
  let interested = 0

  function abort(reason: MhvError): void {
    if (deadline.signal.aborted || decided()) return
    const data = { error_code: reason.code, reason: parts.redactor.text(reason.message) }
    journal.note({ type: 'cancel_requested', at: parts.clock.now(), data })
    deadline.abort(reason)
  }

  function noteLeft({ principal, surface }: Waiting): void {
    if (deadline.signal.aborted || decided()) return
    const data = { principal: principal.id, surface, reason: 'the caller went away; the run goes on' }
    journal.tell({ type: 'caller_left', at: parts.clock.now(), data })
  }

  const live: LiveRun = {
    get run_id() {
      return journal.record().run_id
    },
    done,
    record: journal.record,
    ensureJournaled: journal.ensure,
    abort,
    join(caller) {
      interested += 1
      const cancelled = whenAborted(caller.signal, () => {
        interested -= 1
        if (interested === 0) abort(mhvError('MHV_RUN_CANCELLED', 'the caller cancelled or went away'))
        else noteLeft(caller)
      })
      const left = whenAborted(caller.left, () => noteLeft(caller))
      return () => {
        cancelled()
        left()
      }
    },
    onProgress(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const progress = (step: Progress) => {
    for (const listener of listeners) {
      try {
        listener(step)
      } catch (error) {
        // Whoever watches must not be able to make the run fail.
        parts.log.warn('progress could not be passed on', { run_id: live.run_id, error })
      }
    }
  }
  return { live, progress }
}

/** Calls back once when it is aborted, or is already; the returned function ends the listening. */
function whenAborted(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal?.aborted) act()
  else signal?.addEventListener('abort', act, { once: true })
  return () => signal?.removeEventListener('abort', act)
}

/** The breaker is open, or the journal did not take `running`: nothing acted. */
function notStarted(error: unknown): MhvError {
  const known = toMhvError(error)
  if (known.spec.phase === 'before-effect') return known
  return mhvError('MHV_JOURNAL_UNAVAILABLE', known.message, { cause: error })
}

function finishedEvent(end: RunEnd) {
  const { status, effect_certainty, error_code, exit_code, attempts } = end
  const data = { status, effect_certainty, error_code, exit_code, attempts }
  return { type: 'finished', at: end.finished_at, data } as const
}

/** From this call on: a run that was opened again may have been accepted days ago. */
function measure(parts: RuntimeParts, record: RunRecord, calledAt: number): void {
  const { worker, operation, status, started_at, end } = record
  const finished = end?.finished_at ?? parts.clock.now()
  parts.metrics.finished({
    worker,
    operation,
    // Without its end in the journal it will be found there as failed.
    status: isFinal(status) ? status : 'failed',
    seconds: Math.max(0, finished - calledAt) / 1000,
    queueSeconds: Math.max(0, (started_at ?? finished) - calledAt) / 1000,
    attempts: end?.attempts ?? 0,
  })
}
