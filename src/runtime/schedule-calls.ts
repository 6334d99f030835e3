import { z } from 'zod'
import { MISSED_POLICIES, OVERLAP_POLICIES } from '../config/schedule-schema.ts'
import type { Schedule } from '../config/schedules.ts'
import { isoTime } from '../core/clock.ts'
import { mhvError } from '../core/errors.ts'
import { type Effect, narrower } from '../core/operation.ts'
import type { Registry } from '../core/registry.ts'
import { anyResultSchema } from '../core/result.ts'
import { didYouMean, quoted } from '../core/suggest.ts'
import type { ControlCall, ControlParts } from './control.ts'
import { control } from './define-control.ts'
import type { Invoke } from './runtime.ts'
import type { Scheduler } from './schedule.ts'
import { callOf } from './schedule-call.ts'
import { nextRuns } from './schedule-plan.ts'
import { readState, type ScheduleState } from './schedule-state.ts'

/** Schedules as people and agents see and hold them. */

/** What the calls need of an instance. The second half is there in one that runs. */
export interface ScheduleParts {
  readonly list: readonly Schedule[]
  readonly scheduler?: Scheduler
  readonly invoke?: Invoke
}

const name = z.string().max(100).describe('name of the schedule')
const reason = z.string().max(500).optional().describe('why; kept in the audit trail')

const scheduleSchema = z.object({
  name: z.string(),
  description: z.string().nullable(),
  operation: z.string(),
  target: z.string().nullable(),
  timing: z.string().describe('cron expression with its time zone, or the interval'),
  paused: z.boolean(),
  next_at: z.string().nullable().describe('when it runs next, ISO 8601; null while it is paused or never again'),
  last_occurrence: z
    .string()
    .nullable()
    .describe('nominal time of the last occurrence that came to a run, or failed to'),
  last_run_id: z.string().nullable(),
  last_error: z.string().nullable().describe('code of the error for which the last occurrence came to no run'),
})

function iso(at: number | null): string | null {
  return at === null ? null : isoTime(at)
}

function shown(schedule: Schedule, state: ScheduleState, now: number): z.output<typeof scheduleSchema> {
  const { description, operation, target, timing } = schedule
  const [next = null] = state.paused === null ? nextRuns(schedule, state, now, 1) : []
  return {
    name: schedule.name,
    description,
    operation,
    target,
    timing,
    paused: state.paused !== null,
    next_at: iso(next),
    last_occurrence: iso(state.last_occurrence),
    last_run_id: state.last_run_id,
    last_error: state.last_error,
  }
}

function findSchedule({ schedules }: ControlParts, wanted: string): Schedule {
  const list = schedules?.list ?? []
  const found = list.find((each) => each.name === wanted)
  if (found !== undefined) return found
  const names = list.map((each) => each.name)
  throw mhvError('MHV_SCHEDULE_UNKNOWN', `there is no schedule ${quoted(wanted)}${didYouMean(wanted, names)}`)
}

function stateOf({ store, clock }: ControlParts, schedule: Schedule): Promise<ScheduleState> {
  return readState(store, schedule, clock.now())
}

const scheduleList = control({
  name: 'schedule_list',
  cli: ['schedules', 'list'],
  title: 'List schedules',
  summary: 'Lists the schedules: what each does, when it runs next, and what became of its last occurrence.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({}),
  output: z.object({ schedules: z.array(scheduleSchema) }),
  example: {},
  async run(parts) {
    const list = parts.schedules?.list ?? []
    return {
      schedules: await Promise.all(
        list.map(async (each) => shown(each, await stateOf(parts, each), parts.clock.now())),
      ),
    }
  },
})

const EXAMPLE = 'nightly-report'

const scheduleShow = control({
  name: 'schedule_show',
  cli: ['schedules', 'show'],
  title: 'Show a schedule',
  summary: 'Shows one schedule: its input, its policies, its next runs, and whether one is being fired or waits.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({ name, count: z.number().int().min(1).max(100).default(5).describe('how many of the next runs') }),
  output: z.object({
    schedule: scheduleSchema,
    input: z.record(z.string(), z.unknown()).describe('what the operation is called with'),
    overlap: z.enum(OVERLAP_POLICIES),
    missed: z.enum(MISSED_POLICIES),
    max_missed: z.number().int(),
    jitter: z.number().describe('seconds'),
    timezone: z.string(),
    next_runs: z.array(z.string()).describe('when runs begin, jitter included, ISO 8601; as if it were not paused'),
    firing: z.string().nullable().describe('occurrence that is being fired'),
    queued: z.string().nullable().describe('occurrence that waits for the end of the last run'),
    paused: z.object({ at: z.string(), by: z.string(), reason: z.string().nullable() }).nullable(),
  }),
  argument: 'name',
  errors: ['MHV_SCHEDULE_UNKNOWN'],
  example: { name: EXAMPLE },
  async run(parts, { name: wanted, count }) {
    const schedule = findSchedule(parts, wanted)
    const state = await stateOf(parts, schedule)
    return {
      schedule: shown(schedule, state, parts.clock.now()),
      input: schedule.input,
      overlap: schedule.overlap,
      missed: schedule.missed,
      max_missed: schedule.maxMissed,
      jitter: schedule.jitterMs / 1000,
      timezone: schedule.timezone,
      next_runs: nextRuns(schedule, state, parts.clock.now(), count).map(isoTime),
      firing: iso(state.firing?.occurrence ?? null),
      queued: iso(state.queued),
      paused: state.paused === null ? null : { ...state.paused, at: isoTime(state.paused.at) },
    }
  },
})

const schedulePause = control({
  name: 'schedule_pause',
  cli: ['schedules', 'pause'],
  title: 'Pause a schedule',
  summary: 'Fires no occurrence of a schedule until it is resumed, also over restarts. A run that goes on, goes on.',
  effect: 'write',
  needsRuntime: true,
  input: z.object({ name, reason }),
  output: z.object({ schedule: scheduleSchema }),
  argument: 'name',
  errors: ['MHV_SCHEDULE_UNKNOWN'],
  example: { name: EXAMPLE },
  async run(parts, { name: wanted, reason: why }, principal) {
    const schedule = findSchedule(parts, wanted)
    const paused = {
      at: parts.clock.now(),
      by: principal.id,
      reason: why === undefined ? null : parts.redactor.text(why),
    }
    const state = await schedulerOf(parts).change(schedule, (before) => ({ ...before, queued: null, paused }))
    await audit(parts, principal.id, 'schedule_pause', schedule, { reason: why })
    return { schedule: shown(schedule, state, parts.clock.now()) }
  },
})

const scheduleResume = control({
  name: 'schedule_resume',
  cli: ['schedules', 'resume'],
  title: 'Resume a schedule',
  summary: 'Fires the occurrences of a schedule again, from now on: what was due meanwhile is not caught up with.',
  effect: 'write',
  needsRuntime: true,
  input: z.object({ name, reason }),
  output: z.object({ schedule: scheduleSchema }),
  argument: 'name',
  errors: ['MHV_SCHEDULE_UNKNOWN'],
  example: { name: EXAMPLE },
  async run(parts, { name: wanted, reason: why }, principal) {
    const schedule = findSchedule(parts, wanted)
    const done_until = parts.clock.now()
    const state = await schedulerOf(parts).change(schedule, (before) => ({ ...before, paused: null, done_until }))
    await audit(parts, principal.id, 'schedule_resume', schedule, { reason: why })
    return { schedule: shown(schedule, state, parts.clock.now()) }
  },
})

const MAX_WAIT_SECONDS = 45

/** The part of an answer of `schedule_show` that says what the schedule calls. */
const shownCall = z.object({
  schedule: z.object({ operation: z.string() }),
  input: z.record(z.string(), z.unknown()),
})

/** The most that a schedule may change. What is masked in its input may count: then it is the most of the operation. */
function effectOfShown(registry: Registry, { schedule, input }: z.output<typeof shownCall>): Effect {
  const { spec } = registry.operation(schedule.operation)
  const parsed = z.safeParse(spec.input, input)
  if (spec.effectOf === undefined || !parsed.success) return spec.effect
  return narrower(spec.effect, spec.effectOf(parsed.data))
}

const scheduleRunNow = control({
  name: 'schedule_run_now',
  cli: ['schedules', 'run-now'],
  title: 'Run a schedule now',
  summary: 'Does now, once, what a schedule does, as whoever asks. Its occurrences stay as they are, paused or not.',
  effect: 'destroy',
  effectFrom: {
    call: 'schedule_show',
    input: ({ name: wanted }) => ({ name: wanted }),
    effectOf: (registry, answer) => effectOfShown(registry, shownCall.parse(answer)),
  },
  authorisedEach: true,
  needsRuntime: true,
  input: z.object({
    name,
    reason: z.string().max(500).optional().describe('why; kept with the run and in the audit trail'),
    seconds: z.number().min(0).max(MAX_WAIT_SECONDS).default(MAX_WAIT_SECONDS).describe('longest wait for its end'),
  }),
  output: z.object({ run: anyResultSchema }),
  argument: 'name',
  errors: ['MHV_SCHEDULE_UNKNOWN'],
  example: { name: EXAMPLE },
  async run(parts, { name: wanted, reason: why, seconds }, principal, signal) {
    const schedule = findSchedule(parts, wanted)
    const invoke = parts.schedules?.invoke
    if (invoke === undefined) throw mhvError('MHV_INTERNAL', 'this call needs a running instance')
    const call = callOf(schedule)
    const envelope = { ...call.envelope, wait: seconds, ...(why === undefined ? {} : { reason: why }) }
    const run = await invoke({ ...call, envelope, principal, surface: 'schedule', left: signal })
    await audit(parts, principal.id, 'schedule_run_now', schedule, { reason: why }, run.run_id)
    return { run }
  },
})

function schedulerOf({ schedules }: ControlParts): Scheduler {
  if (schedules?.scheduler !== undefined) return schedules.scheduler
  throw mhvError('MHV_INTERNAL', 'this call needs a running instance')
}

async function audit(
  { store, clock, redactor }: ControlParts,
  principal: string,
  action: string,
  { name: schedule, target }: Schedule,
  { reason: why }: { readonly reason: string | undefined },
  run_id: string | null = null,
): Promise<void> {
  await store.appendAudit({
    at: clock.now(),
    principal,
    action,
    target,
    decision: 'allow',
    rule: null,
    run_id,
    details: redactor.deep({ schedule, ...(why === undefined ? {} : { reason: why }) }),
  })
}

const calls = [scheduleList, scheduleShow, schedulePause, scheduleResume, scheduleRunNow]

/** Few clients need them, and then only now and then. */
export const SCHEDULE_CALLS: readonly ControlCall[] = calls.map((call) => ({ ...call, onDemand: true }))
