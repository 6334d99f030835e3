import type { Progress } from '../core/context.ts'
import type { RunEvent } from '../core/events.ts'
import { isFinal, type WorkerResult } from '../core/result.ts'
import type { ControlParts } from './control.ts'
import { findRun } from './run-calls.ts'
import { toResult } from './to-result.ts'

/** What can be seen of a run that is followed, in the order in which it came. */
export type FollowItem =
  | { readonly kind: 'event'; readonly seq: number; readonly event: RunEvent }
  | {
      readonly kind: 'output'
      /** Cursor to go on from, as in `run_output`. */
      readonly cursor: number
      readonly stream: 'stdout' | 'stderr'
      readonly text: string
      readonly gap_bytes: number
    }
  | { readonly kind: 'progress'; readonly progress: Progress }
  | { readonly kind: 'end'; readonly run: WorkerResult }

export interface FollowRequest {
  readonly run_id: string
  /** Only events with a greater seq. 0 for all. */
  readonly afterEvent: number
  /** Only output after this cursor. 0 for all. */
  readonly afterOutput: number
  /** Ends the following; the run goes on. */
  readonly signal: AbortSignal
}

/** Longest pause between two looks into the journal, in milliseconds: output comes in pieces of about this age. */
const LOOK_MS = 250
const PAGE = 200
const PAGE_BYTES = 256 * 1024

/**
 * Follows a run from a point of its event log and output to its end: what is there already, then what comes. Progress
 * is told as it happens and kept nowhere. The last item is `end`. Throws MHV_RUN_UNKNOWN.
 */
export async function* followRun(parts: ControlParts, request: FollowRequest): AsyncGenerator<FollowItem, void, void> {
  const { run_id, signal } = request
  let { afterEvent, afterOutput } = request
  const steps: Progress[] = []
  let wake = Promise.withResolvers<void>()
  const stop = parts.live.get(run_id)?.onProgress((progress) => {
    // Only the latest counts: a reader that is slow must not fill the memory.
    steps.splice(0, steps.length, progress)
    wake.resolve()
  })
  try {
    for (;;) {
      // Read before what it may still write: what ended before this look cannot gain anything after it.
      const record = await findRun(parts, run_id)
      const events = await parts.store.getEvents(run_id, afterEvent, PAGE)
      for (const event of events) {
        afterEvent = event.seq
        yield { kind: 'event', seq: event.seq, event }
      }
      const chunks = await parts.store.getOutput(run_id, afterOutput, PAGE_BYTES)
      for (const { seq, stream, bytes, gap_bytes } of chunks) {
        afterOutput = seq
        yield { kind: 'output', cursor: seq, stream, text: Buffer.from(bytes).toString('utf8'), gap_bytes }
      }
      for (const progress of steps.splice(0)) yield { kind: 'progress', progress }
      if (chunks.length > 0 || events.length === PAGE) continue
      if (isFinal(record.status)) {
        yield { kind: 'end', run: toResult(record) }
        return
      }
      if (signal.aborted) return
      await Promise.race([wake.promise, pause(parts, signal)])
      wake = Promise.withResolvers<void>()
    }
  } finally {
    stop?.()
  }
}

async function pause(parts: ControlParts, signal: AbortSignal): Promise<void> {
  await parts.clock.sleep(LOOK_MS, signal).catch(() => undefined)
}
