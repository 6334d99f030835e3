import { z } from 'zod'
import { isoTime } from '../core/clock.ts'
import type { RunEvent } from '../core/events.ts'
import { isFinal, RUN_STATUSES } from '../core/result.ts'
import type { RunRecord } from '../store/store.ts'

/** What had a say in a run. */
export const EXPLAINED_BY = [
  'policy',
  'limit',
  'breaker',
  'budget',
  'recovery',
  'caller',
  'deadline',
  'system',
] as const

const stepSchema = z.object({
  at: z.string().describe('ISO 8601'),
  offset_seconds: z.number().describe('since the run was accepted'),
  by: z.enum(EXPLAINED_BY),
  name: z.string().nullable().describe('which one: a rule, a limit, a breaker; null where there is only one'),
  delay_seconds: z.number().nullable().describe('how long it held the run up; null where it did not, or still does'),
  text: z.string(),
})

export const explanationSchema = z.object({
  run_id: z.string(),
  status: z.enum(RUN_STATUSES),
  summary: z.string().describe('one sentence'),
  total_seconds: z.number().describe('from acceptance to the end, or to now'),
  queue_seconds: z.number().describe('waiting for a slot'),
  backoff_seconds: z.number().describe('waiting between attempts'),
  steps: z.array(stepSchema).describe('what allowed, delayed, denied, retried or ended it, in order'),
})

export type ExplainedStep = z.output<typeof stepSchema>
export type Explanation = Omit<z.output<typeof explanationSchema>, 'run_id' | 'status'>

type Facts = RunEvent['data']
type Step = Pick<ExplainedStep, 'by' | 'text'> & Partial<Pick<ExplainedStep, 'name' | 'delay_seconds'>>

/** Why a run went as it did, told from its record and its event log alone. `now` in milliseconds since the epoch. */
export function explainRun(run: RunRecord, events: readonly RunEvent[], now: number): Explanation {
  const began = events[0]?.at ?? run.accepted_at
  const steps = events.flatMap((event) =>
    stepsOf(event, run).map(
      (step): ExplainedStep => ({
        at: isoTime(event.at),
        offset_seconds: seconds(event.at - began),
        by: step.by,
        name: step.name ?? null,
        delay_seconds: step.delay_seconds ?? null,
        text: step.text,
      }),
    ),
  )
  const end = run.end?.finished_at ?? now
  const spent = (by: (event: RunEvent) => number) => seconds(events.reduce((sum, event) => sum + by(event), 0))
  return {
    summary: summaryOf(run, steps),
    total_seconds: seconds(end - began),
    queue_seconds: seconds(queuedMs(events, end)),
    backoff_seconds: spent(({ type, data }) => (type === 'retry' ? amount(data.wait_ms) : 0)),
    steps,
  }
}

/** From `queued` to whatever came next that says that the waiting is over. */
function queuedMs(events: readonly RunEvent[], end: number): number {
  return events.reduce((sum, event, index) => {
    if (event.type !== 'queued') return sum
    const next = events.slice(index + 1).find(({ type }) => LEFT_THE_QUEUE.has(type))
    return sum + Math.max(0, (next?.at ?? end) - event.at)
  }, 0)
}

const LEFT_THE_QUEUE: ReadonlySet<string> = new Set(['admitted', 'left_queue', 'started', 'finished', 'reconciled'])

const amount = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0)
const word = (value: unknown): string | null => (typeof value === 'string' ? value : null)
/** A value that every version writes; said to be unknown where it is not there. */
const known = (value: unknown): string => word(value) ?? 'unknown'
const seconds = (ms: number): number => Math.max(0, Math.round(ms)) / 1000

type Explainer = (data: Facts, run: RunRecord) => readonly Step[]

const because = (data: Facts): string => (word(data.error_code) === null ? '' : ` (${word(data.error_code)})`)

/** How each kind of event reads. Progress explains nothing and is left out. */
const EXPLAINERS: Readonly<Record<RunEvent['type'], Explainer>> = {
  accepted: ({ principal, rule }) => [
    {
      by: 'policy',
      name: word(rule),
      text: `allowed for ${known(principal)}${word(rule) === null ? '' : ` by the rule "${word(rule)}"`}`,
    },
  ],
  queued: (data) => [
    {
      by: 'limit',
      name: word(data.limit),
      text: `waited in the queue behind ${amount(data.position)} others${word(data.limit) === null ? '' : `: ${word(data.limit)}`}`,
    },
  ],
  admitted: (data) => waitSteps(data, 'got its slot'),
  left_queue: (data) => waitSteps(data, 'left the queue without a slot'),
  started: () => [{ by: 'system', text: 'started to act' }],
  attempt_failed: (data) => [
    {
      by: 'recovery',
      name: word(data.error_code),
      text: `attempt ${amount(data.attempt)} failed${because(data)}: ${word(data.error) ?? 'no reason given'}`,
    },
  ],
  retry: (data) => [
    {
      by: 'recovery',
      delay_seconds: seconds(amount(data.wait_ms)),
      text: `another attempt after ${seconds(amount(data.wait_ms))} s${budgetText(data)}`,
    },
  ],
  retry_denied: (data) => [
    {
      by: data.reason === 'budget' ? 'budget' : data.reason === 'deadline' ? 'deadline' : 'recovery',
      text: `no further attempt: ${DENIALS[known(data.reason)] ?? known(data.reason)}${budgetText(data)}`,
    },
  ],
  breaker: (data, run) => [
    { by: 'breaker', name: breakerName(run), text: `the breaker of the target: ${breakerText(data)}` },
  ],
  fallback: (data) => [{ by: 'recovery', text: `went another way${outcomeText(data)}` }],
  compensated: (data) => [{ by: 'recovery', text: `took back what was done${outcomeText(data)}` }],
  notified: (data) => [{ by: 'recovery', text: `somebody was told${because(data)}` }],
  progress: () => [],
  caller_left: (data) => [
    { by: 'caller', name: word(data.principal), text: `a caller went away (${known(data.surface)}); the run goes on` },
  ],
  cancel_requested: (data) => [
    {
      by: data.error_code === 'MHV_RUN_CANCELLED' ? 'caller' : 'system',
      text: `told to end: ${word(data.reason) ?? 'no reason given'}`,
    },
  ],
  reopened: () => [{ by: 'caller', text: 'called again under its key after a failure that changed nothing' }],
  attached: () => [{ by: 'caller', text: 'the same call came again under its key, and got this run' }],
  reconciled: (data) => [
    {
      by: 'system',
      text: `the process that had it was gone: ${known(data.was)} became ${known(data.status)}${because(data)}`,
    },
  ],
  resumed: (data) => [
    {
      by: 'system',
      text:
        data.error_code === 'MHV_WORKER_DIED'
          ? "taken up again after the end of its worker's process"
          : 'taken up again after the end of the process that had it',
    },
  ],
  finished: (data, run) => finishedSteps(data, run),
}

const DENIALS: Readonly<Record<string, string>> = {
  budget: 'the retry budget of the target is used up',
  unsafe: 'the attempt may have acted, and doing it twice is not the same as doing it once',
  attempts: 'all attempts that the recovery table gives are used',
  deadline: 'the deadline comes first',
  not_listed: 'the recovery table does not try this error again',
}

/** Why a recovery that the table asks for was not made. */
const NO_RECOVERY: Readonly<Record<string, string>> = {
  not_declared: 'no, the operation has no way to',
  nothing_done: 'no, nothing was done',
  unsafe: 'no, it may have acted, and doing it twice is not the same as doing it once',
  deadline: 'no, the time was up',
}

function stepsOf(event: RunEvent, run: RunRecord): readonly Step[] {
  // A journal that a newer version wrote may have kinds that this one does not know.
  return EXPLAINERS[event.type]?.(event.data, run) ?? [{ by: 'system', text: `${event.type}` }]
}

/** One step per limit that held it up, as the queue counted. */
function waitSteps(data: Facts, then: string): readonly Step[] {
  const listed: readonly unknown[] = Array.isArray(data.limits) ? data.limits : []
  const limits = listed.filter(
    (each): each is Readonly<Record<string, unknown>> => typeof each === 'object' && each !== null,
  )
  const waited = seconds(amount(data.waited_ms))
  if (limits.length === 0) return [{ by: 'limit', delay_seconds: waited, text: `${then} after ${waited} s` }]
  return limits.map(({ limit, waited_ms }) => {
    const share = seconds(amount(waited_ms))
    return {
      by: 'limit',
      name: word(limit),
      delay_seconds: share,
      text: `held up for ${share} s by ${known(limit)}; ${then}`,
    }
  })
}

function finishedSteps(data: Facts, run: RunRecord): readonly Step[] {
  const code = word(data.error_code)
  const told = `ended as ${known(data.status)}${code === null ? '' : ` (${code})`}, effect ${known(data.effect_certainty)}`
  if (code === 'MHV_BREAKER_OPEN')
    return [{ by: 'breaker', name: breakerName(run), text: `held back: the breaker of the target is open; ${told}` }]
  if (code?.startsWith('MHV_ADMISSION_')) return [{ by: 'limit', text: told }]
  if (code === 'MHV_RUN_TIMEOUT' || code === 'MHV_RUN_QUEUE_TIMEOUT') return [{ by: 'deadline', text: told }]
  if (code?.startsWith('MHV_RUN_CANCELLED')) return [{ by: 'caller', text: told }]
  return [{ by: 'system', text: told }]
}

const breakerName = ({ worker, target }: RunRecord): string => `${worker}:${target ?? ''}`

function breakerText(data: Facts): string {
  const { from, to, state, forced_by } = data
  const change = word(to ?? state) ?? 'changed'
  return `${word(from) === null ? '' : `${word(from)} → `}${change}${word(forced_by) === null ? '' : `, forced by ${word(forced_by)}`}`
}

function budgetText({ budget_left }: Facts): string {
  return typeof budget_left === 'number' ? `; ${Math.floor(budget_left)} left in the retry budget` : ''
}

function outcomeText(data: Facts): string {
  if (data.ok !== false) return ''
  return `: ${NO_RECOVERY[String(data.reason)] ?? 'that failed as well'}${because(data)}`
}

/** What held it up most, and how it ended. */
function summaryOf(run: RunRecord, steps: readonly ExplainedStep[]): string {
  const held = steps.filter(({ delay_seconds }) => (delay_seconds ?? 0) > 0)
  const longest = held.toSorted((a, b) => (b.delay_seconds ?? 0) - (a.delay_seconds ?? 0))[0]
  const delay =
    longest === undefined ? 'nothing delayed it' : `held up most by ${nameOf(longest)}: ${longest.delay_seconds} s`
  const attempts = run.end === null ? '' : `, ${run.end.attempts} attempt${run.end.attempts === 1 ? '' : 's'}`
  const code = run.end?.error_code ?? null
  return `${run.status}${code === null ? '' : ` (${code})`}${attempts}; ${isFinal(run.status) ? delay : 'not ended yet'}`
}

function nameOf({ by, name }: ExplainedStep): string {
  if (by === 'recovery') return 'the wait between attempts'
  return name === null ? `the ${by}` : `the ${by} ${name}`
}
