import { z } from 'zod'
import { toMhvError } from '../core/errors.ts'
import { needsTarget, type Priority } from '../core/operation.ts'
import { cronRecurrence, intervalRecurrence, type Recurrence } from '../core/recurrence.ts'
import type { RegisteredOperation, Registry } from '../core/registry.ts'
import { didYouMean, nearest } from '../core/suggest.ts'
import { type CheckReport, checkPartial, plainFor, reportIssues, unknownKeyMessage } from './check.ts'
import type { Inventory } from './inventory.ts'
import { deepFreeze } from './layers.ts'
import { type Problem, shownPath, throwIfAny } from './problems.ts'
import {
  type MissedPolicy,
  type OverlapPolicy,
  SCHEDULES_FORMAT,
  scheduleSchema,
  schedulesFileSchema,
} from './schedule-schema.ts'
import { emptyMap, nodeAt, type SourceMap } from './source.ts'
import { checkVersion, readYaml, type YamlCodes } from './yaml-source.ts'

/** A schedule as the file declares it, checked. */
export interface Schedule {
  readonly name: string
  readonly description: string | null
  readonly operation: string
  readonly worker: string
  readonly target: string | null
  readonly input: Readonly<Record<string, unknown>>
  readonly recurrence: Recurrence
  /** When it occurs, in one line; another text is another timing. */
  readonly timing: string
  readonly timezone: string
  readonly jitterMs: number
  readonly overlap: OverlapPolicy
  readonly missed: MissedPolicy
  readonly maxMissed: number
  readonly timeout: number | undefined
  readonly priority: Priority
  readonly reason: string | undefined
}

export interface Schedules {
  readonly file: string
  /** In the order of the file. */
  readonly list: readonly Schedule[]
}

const CODES: YamlCodes = {
  unparsable: 'MHV_SCHEDULE_INVALID',
  unreadable: 'MHV_SCHEDULE_INVALID',
  invalid: 'MHV_SCHEDULE_INVALID',
}

/**
 * Reads the schedules and checks all of them, also that their operations and targets are there and take their input. A
 * file that is not there has no schedules. Throws one error with all problems (MHV_SCHEDULE_INVALID, MHV_CONFIG_NEWER).
 */
export async function loadSchedules(parts: {
  readonly file: string
  readonly registry: Registry
  readonly inventory: Inventory
}): Promise<Schedules> {
  const { file } = parts
  const { root, problems: broken, missing } = await readYaml(file, CODES)
  if (missing) return { file, list: [] }
  throwIfAny(broken)
  const problems: Problem[] = []
  const list = root === undefined ? [] : readSchedules(root, parts, problems)
  throwIfAny(problems)
  return { file, list }
}

type Parts = { readonly registry: Registry; readonly inventory: Inventory }

function readSchedules(root: SourceMap, parts: Parts, problems: Problem[]): Schedule[] {
  const report = reportTo(problems)
  const version = checkVersion(root, SCHEDULES_FORMAT, 'the schedules', 'MHV_SCHEDULE_INVALID', true)
  if (version) {
    problems.push(version)
    if (root.entries.has('version')) return []
  }
  checkPartial(schedulesFileSchema, root, [], report)
  if (problems.length > 0) return []
  const section = nodeAt(root, ['schedules'])
  if (section?.kind !== 'map') return []
  return [...section.entries].flatMap(([name, { node, place }]) => {
    const own = node.kind === 'map' ? node : emptyMap(place)
    return toSchedule(name, own, parts, report) ?? []
  })
}

function reportTo(problems: Problem[]): CheckReport {
  return {
    invalid: 'MHV_SCHEDULE_INVALID',
    unknownKey: (path, { place }, known) => [
      { code: 'MHV_SCHEDULE_INVALID', message: unknownKeyMessage(path, known), place, key: shownPath(path) },
    ],
    add: (problem) => problems.push(problem),
  }
}

type Written = z.output<typeof scheduleSchema>

function toSchedule(name: string, node: SourceMap, parts: Parts, report: CheckReport): Schedule | undefined {
  const path = ['schedules', name]
  let wrong = false
  const problem = (key: string, message: string) => {
    wrong = true
    const place = (nodeAt(node, [key]) ?? node).place
    report.add({
      code: report.invalid,
      message: `${[...path, key].join('.')}: ${message}`,
      place,
      key: `${path.join('.')}.${key}`,
    })
  }
  const parsed = z.safeParse(scheduleSchema, plainFor(scheduleSchema, node))
  if (!parsed.success) {
    reportIssues(parsed.error.issues, scheduleSchema, node, path, report)
    return undefined
  }
  const written = parsed.data
  const recurrence = recurrenceOf(written, problem)
  const operation = operationOf(written, parts, problem)
  if (operation !== undefined) {
    checkTarget(written, operation, parts, problem)
    checkInput(operation, node, [...path, 'input'], report)
  }
  if (wrong || recurrence === undefined || operation === undefined) return undefined
  return scheduleOf(name, written, operation, recurrence)
}

function scheduleOf(name: string, written: Written, operation: RegisteredOperation, recurrence: Recurrence): Schedule {
  const { cron, every, timezone, start, end, jitter } = written
  const bounds = `${start === undefined ? '' : ` from ${start}`}${end === undefined ? '' : ` until ${end}`}`
  return {
    name,
    description: written.description ?? null,
    operation: operation.id,
    worker: operation.worker.name,
    target: written.target ?? null,
    input: deepFreeze(written.input),
    recurrence,
    timing: (cron === undefined ? `every ${every} s` : `${cron} ${timezone}`) + bounds,
    timezone,
    jitterMs: Math.round(jitter * 1000),
    overlap: written.overlap,
    missed: written.missed,
    maxMissed: written.max_missed,
    timeout: written.timeout,
    priority: written.priority,
    reason: written.reason,
  }
}

type Tell = (key: string, message: string) => void

/** Occurrences that are looked at for the shortest distance between two. */
const LOOKED_AT = 100

function recurrenceOf(written: Written, problem: Tell): Recurrence | undefined {
  const { cron, every, timezone, jitter } = written
  const start = written.start === undefined ? undefined : Date.parse(written.start)
  const end = written.end === undefined ? undefined : Date.parse(written.end)
  if ((cron === undefined) === (every === undefined)) {
    problem(cron === undefined ? 'cron' : 'every', 'give one of "cron" and "every"')
    return undefined
  }
  if (start !== undefined && end !== undefined && end <= start) {
    problem('end', 'must be later than "start"')
    return undefined
  }
  const bounds = { start, end }
  const found =
    cron === undefined ? intervalRecurrence((every ?? 1) * 1000, bounds) : cronRecurrence(cron, timezone, bounds)
  // Looked at only where it is asked for: it takes milliseconds, and there may be a thousand schedules.
  if (jitter > 0 && jitter * 1000 >= shortestGap(found, start ?? 0)) {
    problem('jitter', 'must be less than the time between two occurrences')
  }
  return found
}

function shortestGap({ next }: Recurrence, from: number): number {
  let shortest = Number.POSITIVE_INFINITY
  let before = next(from)
  for (let count = 0; before !== null && count < LOOKED_AT; count++) {
    const after = next(before)
    if (after === null) break
    shortest = Math.min(shortest, after - before)
    before = after
  }
  return shortest
}

function operationOf({ operation: id }: Written, { registry }: Parts, problem: Tell): RegisteredOperation | undefined {
  const found = registry.operations.find((each) => each.id === id)
  const ids = registry.operations.map((each) => each.id)
  if (found === undefined) problem('operation', `there is no such operation${didYouMean(id, ids)}`)
  return found
}

function checkTarget(
  { target }: Written,
  { spec, worker, id }: RegisteredOperation,
  parts: Parts,
  problem: Tell,
): void {
  if (spec.targeted === false) {
    if (target !== undefined) problem('target', `${id} acts on no target`)
    return
  }
  const names = parts.inventory.list().flatMap((each) => (each.workers.includes(worker.name) ? each.name : []))
  if (target === undefined) {
    if (!needsTarget(spec)) return
    problem('target', `is missing: ${id} acts on a target`)
    return
  }
  try {
    parts.inventory.resolve(target, worker.name)
  } catch (error) {
    const { code } = toMhvError(error)
    const why = code === 'MHV_TARGET_UNKNOWN' ? 'is not in the inventory' : `has no block "${worker.name}"`
    problem('target', `${why}${nearest(target, names) === undefined ? '' : didYouMean(target, names)}`)
  }
}

/** Against the operation's own schema: what would be refused at three in the morning is refused now. */
function checkInput(
  { spec }: RegisteredOperation,
  node: SourceMap,
  path: readonly string[],
  report: CheckReport,
): void {
  const input = node.entries.get('input')?.node ?? emptyMap(node.place)
  let found = false
  const counting: CheckReport = {
    ...report,
    add(problem) {
      found = true
      report.add(problem)
    },
  }
  checkPartial(spec.input, input, path, counting)
  if (found) return
  const parsed = z.safeParse(spec.input, plainFor(spec.input, input))
  if (!parsed.success) reportIssues(parsed.error.issues, spec.input, input, path, report)
}
