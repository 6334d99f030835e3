import type { WorkerResult } from '../../core/result.ts'
import { CERTAINTY_TEXT, durationText, subjectOf } from '../outcome.ts'
import { plainLine, plainText } from '../plain-text.ts'
import { type Column, tableText } from './table.ts'

/** Text for people of what the control calls answer. */

type ListedRun = Omit<WorkerResult, 'data' | 'output'>

function runColumns(now: number): readonly Column<ListedRun>[] {
  return [
    // A run is named by its whole id: a short one could mean another run tomorrow.
    { title: 'RUN', text: (run) => run.run_id },
    { title: 'AGE', text: (run) => ageText((now - Date.parse(run.timestamp)) / 1000) },
    { title: 'STATUS', text: (run) => run.status },
    { title: 'OPERATION', text: (run) => run.operation, mayCut: true },
    { title: 'TARGET', text: (run) => run.target ?? '-', mayCut: true },
    { title: 'END', text: endText, mayCut: true },
  ]
}

/** `now` in milliseconds since the epoch. */
export function runsText(
  { runs, next }: { runs: readonly ListedRun[]; next: string | null },
  width: number | null,
  now: number,
): string {
  if (runs.length === 0) return 'no runs'
  const table = tableText(runColumns(now), runs, width)
  return next === null ? table : `${table}\nmore: --before ${next}`
}

function endText(run: ListedRun): string {
  if (run.error_code !== null) return run.error_code
  return run.exit_code === null ? '' : `exit code ${run.exit_code}`
}

/** `8s`, `5m`, `3h`, `12d`: the exact time is in `runs show`, and in the id. */
function ageText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m`
  return whole < 86_400 ? `${Math.floor(whole / 3600)}h` : `${Math.floor(whole / 86_400)}d`
}

/** One fact a line. */
export function runText(run: WorkerResult): string {
  const { metadata } = run
  const facts: readonly (readonly [string, string | null])[] = [
    ['run', run.run_id],
    ['operation', subjectOf(run)],
    ['status', run.status],
    ['effect', run.effect_certainty === null ? null : CERTAINTY_TEXT[run.effect_certainty]],
    ['exit code', run.exit_code === null ? null : String(run.exit_code)],
    ['error', run.error_code === null ? null : `${run.error_code}: ${plainLine(run.error ?? '')}`],
    ['fix', metadata.remedy === undefined ? null : plainText(metadata.remedy)],
    ['accepted', run.timestamp],
    ['took', run.duration_seconds === null ? null : durationText(run.duration_seconds)],
    ['waited', metadata.queue_seconds === 0 ? null : durationText(metadata.queue_seconds)],
    ['attempts', String(run.attempts)],
    ['recovered', metadata.recovered_by === undefined ? null : RECOVERED[metadata.recovered_by]],
    ['dead letter', metadata.dead_letter === undefined ? null : letterText(metadata.dead_letter)],
    ['replay of', metadata.replay_of ?? null],
    ['asked by', `${metadata.principal}, ${metadata.surface}`],
    ['reason', metadata.reason === undefined ? null : plainLine(metadata.reason)],
    ['tier', metadata.tier],
  ]
  return facts.flatMap(([name, value]) => (value === null ? [] : `${name.padEnd(NAMES)} ${value}`)).join('\n')
}

/** Columns for the names of facts: `dead letter`. */
const NAMES = 11

const RECOVERED: Readonly<Record<NonNullable<WorkerResult['metadata']['recovered_by']>, string>> = {
  fallback: 'by going another way (fallback)',
  compensation: 'what was done was taken back (compensation)',
}

/** The id, and the command that tells more. */
function letterText(letter: string): string {
  return `${letter} (mahavishnu dlq show ${letter})`
}

interface RunEventShown {
  readonly at: string
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
}

interface RunShown {
  readonly run: WorkerResult
  readonly input: unknown
  readonly events: readonly RunEventShown[]
  readonly next_event: number | null
}

/** `at` in ISO 8601 or in milliseconds since the epoch. */
export function eventText({ at, type, data }: Omit<RunEventShown, 'at'> & { readonly at: string | number }): string {
  const facts = Object.entries(data).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  return `${new Date(at).toISOString()}  ${type.padEnd(16)}  ${plainLine(facts.join(' '))}`.trimEnd()
}

export function runWithEventsText(answer: Record<string, unknown>): string {
  const { run, input, events, next_event } = answer as unknown as RunShown
  const lines = events.map((event) => `  ${eventText(event)}`)
  const more = next_event === null ? [] : [`  more events: --since-event ${next_event}`]
  const output = run.output === null || run.output === '' ? [] : ['output', indented(run.output)]
  return [
    runText(run),
    `${'input'.padEnd(NAMES)} ${plainLine(JSON.stringify(input))}`,
    'events',
    ...lines,
    ...more,
    ...output,
  ].join('\n')
}

export function indented(text: string): string {
  return plainText(text).replace(/\n$/, '').replace(/^/gm, '  ')
}

interface ShownExplanation {
  readonly run_id: string
  readonly summary: string
  readonly total_seconds: number
  readonly queue_seconds: number
  readonly backoff_seconds: number
  readonly steps: readonly { readonly offset_seconds: number; readonly by: string; readonly text: string }[]
}

/** Why a run went as it did: one line a step, with the time since it was accepted. */
export function explanationOfRunText(answer: Record<string, unknown>): string {
  const { run_id, summary, steps, ...times } = answer as unknown as ShownExplanation
  const spent = `took ${durationText(times.total_seconds)}, in the queue ${durationText(times.queue_seconds)}, between attempts ${durationText(times.backoff_seconds)}`
  const lines = steps.map(
    ({ offset_seconds, by, text }) =>
      `  ${`+${offset_seconds.toFixed(3)} s`.padStart(12)}  ${by.padEnd(8)}  ${plainLine(text)}`,
  )
  return [`${run_id}: ${plainLine(summary)}`, spent, ...lines].join('\n')
}
