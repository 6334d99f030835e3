import { EXIT } from '../../core/error-table.ts'
import { RESULT_FORMAT, type WorkerResult } from '../../core/result.ts'
import type { FollowItem } from '../../runtime/follow.ts'
import type { Instance } from '../../runtime/instance.ts'
import type { Invocation } from './commands.ts'
import { endingOf } from './failure.ts'
import { startProgress } from './progress.ts'
import { showEnding } from './run-operation.ts'
import { type Session, withInstance } from './session.ts'
import { eventText } from './show.ts'

type Call = Extract<Invocation, { kind: 'follow' }>

const metadata = { format: RESULT_FORMAT }

/** Follows a run to its end, wherever it acts. Resolves with the exit code of the run, as if it had been run here. */
export async function runFollow(session: Session, call: Call): Promise<number> {
  return withInstance(session, 'look', 'runs follow', async (instance) => {
    const show = call.jsonl ? lines(session) : session.globals.json ? nothing : texts(session, call.run_id)
    const end = await follow(session, instance, call.run_id, show)
    if (end !== null) return shownEnd(session, call, end)
    session.out.note(`run ${call.run_id} goes on; \`mahavishnu runs cancel ${call.run_id}\` ends it`)
    if (!session.globals.json || call.jsonl) return EXIT.cancelled
    const { run } = await instance.control({
      name: 'run_get',
      input: { run_id: call.run_id },
      principal: instance.principal,
    })
    session.out.document({ run, ended: false, metadata })
    return EXIT.cancelled
  })
}

interface Shower {
  show(item: FollowItem): void
  stop(): void
}

const nothing: Shower = { show: () => undefined, stop: () => undefined }

/** The run at its end; null when the following was ended before. */
async function follow(
  { interrupt, out }: Session,
  { follow: items, principal }: Instance,
  run_id: string,
  shower: Shower,
): Promise<WorkerResult | null> {
  try {
    for await (const item of items({ run_id, afterEvent: 0, afterOutput: 0, signal: interrupt, principal })) {
      shower.show(item)
      // Whoever reads slowly is waited for, and what nobody reads is not fetched.
      await out.flush()
      if (item.kind === 'end') return item.run
      if (!out.isOpen()) return null
    }
    return null
  } finally {
    shower.stop()
  }
}

function texts({ out }: Session, run_id: string): Shower {
  let atLineStart = true
  const progress = startProgress(out, `run ${run_id}`, () => atLineStart)
  // What is written to a file leaves no line open on the terminal.
  const seen = { stdout: out.columns !== null, stderr: true }
  const note = (text: string) => {
    // An event is a line of its own, also when the output before it was not.
    if (!atLineStart) out.note('')
    atLineStart = true
    out.note(text)
  }
  return {
    stop: progress.stop,
    show(item) {
      if (item.kind === 'event') return note(eventText(item.event))
      if (item.kind === 'progress') return progress.report(item.progress)
      if (item.kind === 'end') return
      if (item.gap_bytes > 0) note(`[${item.gap_bytes} bytes of ${item.stream} were not kept here]`)
      if (item.stream === 'stdout') out.data(item.text)
      else out.errorData(item.text)
      if (seen[item.stream] && item.text !== '') atLineStart = item.text.endsWith('\n')
    },
  }
}

function lines({ out }: Session): Shower {
  return { stop: () => undefined, show: (item) => out.line(documentOf(item)) }
}

/** An item as a line of `--jsonl`. Times are ISO 8601, as everywhere in JSON. */
function documentOf(item: FollowItem): Record<string, unknown> {
  if (item.kind !== 'event') return { ...item, metadata }
  const { seq, type, at, data } = item.event
  return { kind: 'event', event: { seq, at: new Date(at).toISOString(), type, data }, metadata }
}

function shownEnd({ globals, out }: Session, { jsonl }: Call, run: WorkerResult): number {
  if (jsonl) return endingOf(run).exit
  if (globals.json) out.document({ run, ended: true, metadata })
  return showEnding(out, run)
}
