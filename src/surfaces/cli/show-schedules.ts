import { plainLine } from '../plain-text.ts'
import { type Column, tableText } from './table.ts'

/** Text for people of what the calls about schedules answer. */

interface ShownSchedule {
  readonly name: string
  readonly description: string | null
  readonly operation: string
  readonly target: string | null
  readonly timing: string
  readonly paused: boolean
  readonly next_at: string | null
  readonly last_occurrence: string | null
  readonly last_run_id: string | null
  readonly last_error: string | null
}

interface ScheduleAnswer {
  readonly schedule: ShownSchedule
  readonly overlap: string
  readonly missed: string
  readonly max_missed: number
  readonly jitter: number
  readonly next_runs: readonly string[]
  readonly firing: string | null
  readonly queued: string | null
  readonly paused: { readonly at: string; readonly by: string; readonly reason: string | null } | null
}

type Answer = Record<string, unknown>

const COLUMNS: readonly Column<ShownSchedule>[] = [
  { title: 'SCHEDULE', text: ({ name }) => name },
  { title: 'NEXT', text: ({ paused, next_at }) => (paused ? 'paused' : (next_at ?? 'never again')) },
  { title: 'LAST', text: ({ last_occurrence, last_error }) => last_error ?? last_occurrence ?? '-' },
  { title: 'OPERATION', text: ({ operation }) => operation, mayCut: true },
  { title: 'TARGET', text: ({ target }) => target ?? '-', mayCut: true },
  { title: 'TIMING', text: ({ timing }) => timing, mayCut: true },
]

export function schedulesText(answer: Answer, width: number | null): string {
  const { schedules } = answer as { schedules: readonly ShownSchedule[] }
  return schedules.length === 0 ? 'no schedules' : tableText(COLUMNS, schedules, width)
}

/** One schedule in lines: what it does, what it does about trouble, what comes next. */
export function shownScheduleText(answer: Answer): string {
  const { schedule, overlap, missed, max_missed, jitter, next_runs, firing, queued, paused } =
    answer as unknown as ScheduleAnswer
  const { last_occurrence, last_run_id, last_error } = schedule
  const lines: readonly (readonly [label: string, value: string | null])[] = [
    ['schedule', schedule.name],
    ['for', schedule.description === null ? null : plainLine(schedule.description)],
    ['operation', `${schedule.operation}${schedule.target === null ? '' : ` on ${schedule.target}`}`],
    ['timing', `${schedule.timing}${jitter === 0 ? '' : `, up to ${jitter} s later`}`],
    ['overlap', overlap],
    ['missed', missed === 'run_all' ? `run_all, at most ${max_missed}` : missed],
    ['paused', paused === null ? null : pausedText(paused)],
    ['firing', firing],
    ['queued', queued],
    ['last', last_occurrence === null ? null : `${last_occurrence}, ${last_error ?? `run ${last_run_id}`}`],
    ['next', next_runs.length === 0 ? 'never again' : next_runs.join('\n            ')],
  ]
  return lines.flatMap(([label, value]) => (value === null ? [] : [`${label.padEnd(12)}${value}`])).join('\n')
}

function pausedText({ at, by, reason }: NonNullable<ScheduleAnswer['paused']>): string {
  return `since ${at}, by ${by}${reason === null ? '' : `: ${plainLine(reason)}`}`
}

/** What pausing and resuming one answer with. */
export function changedScheduleText(answer: Answer, width: number | null): string {
  return schedulesText({ schedules: [answer.schedule] }, width)
}
