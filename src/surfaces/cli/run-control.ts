import { systemClock } from '../../core/clock.ts'
import { EXIT } from '../../core/error-table.ts'
import { toMhvError } from '../../core/errors.ts'
import type { Effect } from '../../core/operation.ts'
import { RESULT_FORMAT, type WorkerResult } from '../../core/result.ts'
import type { Instance } from '../../runtime/instance.ts'
import type { Invocation } from './commands.ts'
import { confirm } from './confirm.ts'
import { endingOf } from './failure.ts'
import { type Session, withInstance } from './session.ts'
import { explanationOfRunText, runsText, runText, runWithEventsText } from './show.ts'
import { batchesText, batchPlanText, batchText, exitOfBatch, waitForBatch } from './show-batches.ts'
import { breakersText, forcedBreakerText } from './show-breakers.ts'
import {
  deadLetterStatsText,
  deadLettersText,
  deadLetterText,
  replayText,
  shownDeadLetterText,
} from './show-dead-letters.ts'
import { changedScheduleText, schedulesText, shownScheduleText } from './show-schedules.ts'
import { healthText, workersText } from './show-workers.ts'

type Call = Extract<Invocation, { kind: 'control' }>
type Answer = Record<string, unknown>

/** Makes a control call and shows its answer. Resolves with the exit code. */
export async function runControl(session: Session, { control, input, confirmed }: Call): Promise<number> {
  if (!confirmed && (await effectOf(session, control, input)) === 'destroy') {
    await confirmControl(session, control, input)
  }
  const how = control.needsRuntime ? 'use' : 'read'
  try {
    return await withInstance(session, how, control.cli.join(' '), async (instance) => {
      const ask = (given: Readonly<Record<string, unknown>>) => askOnce(session, instance, control.name, given)
      if (control.name === 'run_output' && !session.globals.json) return showWholeOutput(session, input, ask)
      const answer = await answerOf(session, instance, control.name, input)
      if (session.globals.json) session.out.document({ ...answer, metadata: { format: RESULT_FORMAT } })
      else session.out.say(answerText(control.name, answer, session.out.columns))
      return exitOfAnswer(control.name, answer)
    })
  } catch (error) {
    if (!session.interrupt.aborted || toMhvError(error).message !== 'interrupted') throw error
    session.out.complain('interrupted')
    return EXIT.cancelled
  }
}

/** The most that a call may change, looked up where its input does not say it; nothing is kept from others meanwhile. */
async function effectOf(session: Session, control: Call['control'], input: Call['input']): Promise<Effect> {
  const { registry } = session.app
  const { effectFrom: from, effect } = control
  if (from === undefined) return control.effectOf?.(registry, input) ?? effect
  const answer = await withInstance(session, 'read', control.cli.join(' '), (instance) =>
    askOnce(session, instance, from.call, from.input(input)),
  )
  return from.effectOf(registry, answer)
}

/** What it is called with is what has to be typed; where that is nothing, the words of the command. */
function confirmControl(session: Session, { cli, argument }: Call['control'], input: Call['input']): Promise<void> {
  const about = argument === undefined ? undefined : input[argument]
  const doing = cli.join(' ')
  if (about === undefined) return confirm(session, { doing, word: doing })
  return confirm(session, { doing: `${doing} ${about}`, word: String(about) })
}

/** Calls whose batch is waited for. */
const STARTS_BATCH = ['batch_run', 'batch_rerun', 'batch_resume']

async function answerOf(session: Session, instance: Instance, name: string, input: Call['input']): Promise<Answer> {
  // A short wait here: how far it is should be told.
  const follows = STARTS_BATCH.includes(name)
  const answer = await askOnce(session, instance, name, follows ? { seconds: 0, ...input } : input)
  if (!follows) return answer
  return waitForBatch(session, input, answer, (given) => askOnce(session, instance, 'batch_get', given))
}

function askOnce({ interrupt }: Session, instance: Instance, name: string, input: unknown): Promise<Answer> {
  return instance.control({ name, input, principal: instance.principal, signal: interrupt })
}

function answerText(name: string, answer: Answer, width: number | null): string {
  switch (name) {
    case 'run_list':
      return runsText(answer as Parameters<typeof runsText>[0], width, systemClock.now())
    case 'run_get':
      return runWithEventsText(answer)
    case 'run_wait':
    case 'run_cancel':
    case 'schedule_run_now':
      return runText(answer.run as WorkerResult)
    case 'run_explain':
      return explanationOfRunText(answer)
    case 'worker_list':
      return workersText(answer, width)
    case 'breaker_list':
      return breakersText(answer, width, systemClock.now())
    case 'breaker_force':
      return forcedBreakerText(answer, width, systemClock.now())
    case 'worker_health':
      return healthText(answer, width)
    case 'batch_list':
      return batchesText(answer, width)
    case 'batch_plan':
      return batchPlanText(answer)
    case 'batch_run':
    case 'batch_get':
    case 'batch_stop':
    case 'batch_resume':
    case 'batch_rerun':
      return batchText(answer)
    case 'schedule_list':
      return schedulesText(answer, width)
    case 'schedule_show':
      return shownScheduleText(answer)
    case 'schedule_pause':
    case 'schedule_resume':
      return changedScheduleText(answer, width)
    case 'dlq_list':
      return deadLettersText(answer, width)
    case 'dlq_show':
      return shownDeadLetterText(answer)
    case 'dlq_replay':
      return replayText(answer)
    case 'dlq_archive':
      return deadLetterText(answer.letter as Parameters<typeof deadLetterText>[0])
    case 'dlq_purge':
      return `${answer.removed} removed`
    case 'dlq_stats':
      return deadLetterStatsText(answer)
    default:
      return JSON.stringify(answer, null, 2)
  }
}

/** Who waits for a run wants to know how it ended, as if it had been run here. */
function exitOfAnswer(name: string, answer: Answer): number {
  if (['run_wait', 'dlq_replay', 'schedule_run_now'].includes(name)) return endingOf(answer.run as WorkerResult).exit
  if (STARTS_BATCH.includes(name)) return exitOfBatch(answer)
  if (name === 'run_cancel') return answer.ended === true ? EXIT.ok : EXIT.timeout
  const ping = answer.ping as { healthy: boolean } | null | undefined
  return ping?.healthy === false ? EXIT.network : EXIT.ok
}

interface OutputPage {
  readonly chunks: readonly {
    readonly stream: 'stdout' | 'stderr'
    readonly text: string
    readonly gap_bytes: number
  }[]
  readonly next_cursor: number
  readonly ended: boolean
}

/** Page by page to the end of what there is, each stream to its own; the bytes as they came unless an encoding is asked for. */
async function showWholeOutput(
  { out }: Session,
  input: Readonly<Record<string, unknown>>,
  ask: (input: Readonly<Record<string, unknown>>) => Promise<Answer>,
): Promise<number> {
  let cursor = input.cursor
  let page: OutputPage
  do {
    page = (await ask({ encoding: 'base64', ...input, cursor })) as unknown as OutputPage
    for (const { stream, text, gap_bytes } of page.chunks) {
      if (gap_bytes > 0) out.note(`[${gap_bytes} bytes of ${stream} were not kept here]`)
      const piece = input.encoding === undefined ? Buffer.from(text, 'base64') : text
      if (stream === 'stdout') out.data(piece)
      else out.errorData(piece)
    }
    cursor = page.next_cursor
    await out.flush()
  } while (!page.ended && page.chunks.length > 0 && input.max_bytes === undefined && out.isOpen())
  if (!page.ended) out.note(`there may be more later: --cursor ${page.next_cursor}`)
  return EXIT.ok
}
