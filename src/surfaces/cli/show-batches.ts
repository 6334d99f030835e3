import { EXIT } from '../../core/error-table.ts'
import { plainLine } from '../plain-text.ts'
import type { Session } from './session.ts'
import { eventText, indented } from './show.ts'
import { type Column, tableText } from './table.ts'

/** Text for people of what the calls about batches answer. */

interface ShownBatch {
  readonly batch_id: string
  readonly operation: string
  readonly state: string
  readonly select: string
  readonly principal: string
  readonly done: number
  readonly failed: number
  readonly total: number
  readonly failure_limit: number | null
  readonly error_code: string | null
  readonly rerun_of: string | null
}

interface Group {
  readonly count: number
  readonly status: string
  readonly exit_code: number | null
  readonly error_code: string | null
  readonly output: string | null
  readonly targets: readonly string[]
}

interface BatchAnswer {
  readonly batch: ShownBatch
  readonly ended: boolean
  readonly groups: readonly Group[]
  readonly events?: readonly { readonly at: string; readonly type: string; readonly data: Record<string, unknown> }[]
}

type Answer = Record<string, unknown>

const COLUMNS: readonly Column<ShownBatch>[] = [
  { title: 'BATCH', text: ({ batch_id }) => batch_id },
  { title: 'STATE', text: ({ state }) => state },
  { title: 'DONE', text: ({ done, total }) => `${done}/${total}` },
  { title: 'FAILED', text: ({ failed }) => String(failed) },
  { title: 'OPERATION', text: ({ operation }) => operation, mayCut: true },
  { title: 'SELECT', text: ({ select }) => plainLine(select), mayCut: true },
]

export function batchesText(answer: Answer, width: number | null): string {
  const { batches, next } = answer as unknown as { batches: readonly ShownBatch[]; next: string | null }
  if (batches.length === 0) return 'no batches'
  const table = tableText(COLUMNS, batches, width)
  return next === null ? table : `${table}\nmore: --before ${next}`
}

/** How far it is, then each group with its targets and what they have put out. */
export function batchText(answer: Answer): string {
  const { batch, groups, events } = answer as unknown as BatchAnswer
  const { batch_id, operation, select, state, failed, failure_limit, error_code } = batch
  const limit = failure_limit === null ? '' : `, ${failure_limit} may fail`
  return [
    `batch ${batch_id}: ${operation} on ${plainLine(select)}`,
    `${state}${error_code === null ? '' : ` (${error_code})`}: ${progressText(batch)}${limit}`,
    ...groups.map(groupText),
    ...(events === undefined ? [] : ['events', ...events.map((event) => `  ${eventText(event)}`)]),
    ...(failed > 0 && answer.ended === true ? [`again: mahavishnu batches rerun ${batch_id} --yes`] : []),
  ].join('\n')
}

function progressText({ done, failed, total }: ShownBatch): string {
  return `${done} of ${total} done, ${failed} failed`
}

function groupText({ count, status, exit_code, error_code, output, targets }: Group): string {
  const end = error_code ?? (exit_code === null ? '' : `exit code ${exit_code}`)
  const head = `${count} ${status}${end === '' ? '' : `, ${end}`}: ${plainLine(targets.join(' '))}`
  return output === null || output === '' ? head : `${head}\n${indented(output)}`
}

interface PlanAnswer {
  readonly operation: string
  readonly effect: string
  readonly total: number
  readonly allowed: number
  readonly batches: readonly (readonly {
    readonly target: string
    readonly tier: string
    readonly decision: string
  }[])[]
  readonly parallel: number
  readonly failure_limit: number | null
  readonly plan_digest: string
}

export function batchPlanText(answer: Answer): string {
  const plan = answer as unknown as PlanAnswer
  const { operation, effect, total, allowed, batches, parallel, failure_limit } = plan
  const limit = failure_limit === null ? 'all may fail' : `${failure_limit} may fail`
  return [
    `${operation} (${effect}) on ${total} targets, ${allowed} allowed, ${parallel} at once, ${limit}`,
    ...batches.map((targets, index) => `batch ${index + 1}: ${targets.map(plannedText).join(' ')}`),
    `plan: ${plan.plan_digest}`,
  ].join('\n')
}

function plannedText({ target, tier, decision }: PlanAnswer['batches'][number][number]): string {
  return decision === 'allow' ? `${target} (${tier})` : `${target} (${tier}, ${decision})`
}

/** Longest wait of one look at a batch, in seconds: how often it is told how far it is. */
const LOOK_SECONDS = 2

/**
 * Stays with a batch until it has ended: it lives in this process, or is of interest to it. Whoever says how long to
 * wait gets it as it then is.
 */
export async function waitForBatch(
  { out }: Session,
  input: Readonly<Record<string, unknown>>,
  first: Answer,
  look: (input: Readonly<Record<string, unknown>>) => Promise<Answer>,
): Promise<Answer> {
  const { batch, ended } = first as unknown as BatchAnswer
  if (ended || input.seconds !== undefined) return first
  const { batch_id } = batch
  for (let brief: BatchAnswer = { batch, ended, groups: [] }; !brief.ended; ) {
    out.progress(progressText(brief.batch))
    brief = (await look({ batch_id, seconds: LOOK_SECONDS, brief: true })) as unknown as BatchAnswer
  }
  const { events: _events, next_event: _next, ...answer } = await look({ batch_id })
  return answer
}

/** Whoever waits for a batch wants to know whether all of it went well. */
export function exitOfBatch(answer: Answer): number {
  const { batch, ended } = answer as unknown as BatchAnswer
  if (!ended) return EXIT.timeout
  if (batch.state === 'stopped') return EXIT.cancelled
  return batch.failed === 0 ? EXIT.ok : EXIT.permanent
}
