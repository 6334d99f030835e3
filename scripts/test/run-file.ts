/** Runs one test file in its own process by node:test, and turns its events into results. */
import { run } from 'node:test'
import { inspect } from 'node:util'
import { inRoot } from '../lib/paths.ts'
import { openFolder } from './folder.ts'
import { endLeftovers, findMarked, markName } from './processes.ts'
import type { TestResult } from './results.ts'

export interface FileOptions {
  /** Names this test run; part of the mark in the environment of every process it starts. */
  readonly runId: string
  /** The whole file must be done by then. */
  readonly timeoutMs: number
  /** Where processes leave their V8 coverage; undefined measures nothing. */
  readonly coverageFolder?: string
}

/** A failed test with what its reader needs. */
export interface Failure {
  readonly title: string
  readonly text: string
}

export interface FileRun {
  readonly file: string
  readonly tests: readonly TestResult[]
  readonly failures: readonly Failure[]
  /** What its processes printed, shortened; shown when something failed. */
  readonly printed: string
  readonly ms: number
}

/** The parts of node:test's events that are read here. */
interface EventData {
  readonly name: string
  readonly nesting: number
  readonly file?: string
  readonly skip?: string | boolean
  readonly todo?: string | boolean
  readonly details: {
    readonly duration_ms: number
    readonly type?: string
    readonly error?: Error & { failureType?: string }
  }
}

const keptOutput = 20_000

/** The title of what befalls a file as a whole. */
const theFile = '(the file itself)'

/** Collects what one file's events say. */
interface Collector {
  readonly tests: TestResult[]
  readonly failures: Failure[]
  printed(): string
  /** Whether the file's own process sent its summary: it ended in good order. */
  ended(): boolean
  add(type: string, data: EventData & { message: string }): void
  /** Adds a line to what was printed. */
  note(text: string): void
  /** Adds a failure of the file as a whole. */
  fail(title: string, text: string, ms?: number): void
}

function collectEvents(file: string): Collector {
  const tests: TestResult[] = []
  const failures: Failure[] = []
  const path = inRoot(file)
  let printed = ''
  let ended = false
  /** The names of the suites and tests that the current event lies in: events come in the order of definition. */
  let open: string[] = []

  const titleOf = (data: EventData) => [...open.slice(0, data.nesting), data.name].join(' > ')
  /** node:test also reports the file itself, as a test named by its path. */
  const isFile = (data: EventData) => data.nesting === 0 && data.name === path

  function fail(title: string, text: string, ms = 0): void {
    tests.push({ file, title, status: 'failed', ms })
    failures.push({ title, text })
  }

  function passed(data: EventData): void {
    const skipped = data.skip !== undefined || data.todo !== undefined
    // A suite is no test; but one that is skipped as a whole hides tests, and says why.
    if (isFile(data) || (data.details.type === 'suite' && !skipped)) return
    const base = { file, title: titleOf(data), ms: Math.round(data.details.duration_ms) }
    tests.push(skipped ? { ...base, status: 'skipped', reason: reasonOf(data) } : { ...base, status: 'passed' })
  }

  function failed(data: EventData): void {
    const { error, duration_ms, type } = data.details
    // What failed inside was reported already; a test around it counts, a suite or the file does not.
    const inner = error?.failureType === 'subtestsFailed'
    if (inner && (type === 'suite' || isFile(data))) return
    const title = isFile(data) ? theFile : titleOf(data)
    tests.push({ file, title, status: 'failed', ms: Math.round(duration_ms) })
    if (!inner) failures.push({ title, text: describe(error) })
  }

  return {
    tests,
    failures,
    printed: () => printed,
    ended: () => ended,
    fail,
    note(text) {
      printed = `${printed}${text}\n`
    },
    add(type, data) {
      if (type === 'test:stdout' || type === 'test:stderr') printed = (printed + data.message).slice(-keptOutput)
      else if (type === 'test:summary' && data.file !== undefined) ended = true
      else if (type === 'test:start') open = [...open.slice(0, data.nesting), data.name]
      else if (type === 'test:pass') passed(data)
      // node:test lets a test that is still to do fail.
      else if (type === 'test:fail') data.todo === undefined ? failed(data) : passed(data)
    },
  }
}

function reasonOf({ skip, todo }: EventData): string {
  if (typeof skip === 'string' && skip !== '') return skip
  if (skip !== undefined) return 'no reason given'
  return typeof todo === 'string' && todo !== '' ? `to do: ${todo}` : 'to do'
}

/** node:test wraps what a test threw; its reader wants that, with its stack. */
function describe(error: (Error & { exitCode?: number | null; signal?: string | null }) | undefined): string {
  if (!error) return 'failed without an error'
  if (error.signal) return `its process was ended by ${error.signal}`
  if (error.exitCode) return `its process ended with exit code ${error.exitCode}`
  return inspect(error.cause ?? error, { depth: 4 })
}

/** Follows the events until the file is done or out of time. */
async function follow(
  collector: Collector,
  path: string,
  options: FileOptions,
  own: Readonly<Record<string, string>>,
): Promise<void> {
  const coverage = options.coverageFolder === undefined ? {} : { NODE_V8_COVERAGE: options.coverageFolder }
  const events = run({
    files: [path],
    isolation: 'process',
    concurrency: 1,
    // A single test is cut off earlier than its file, so that the one that hangs is named.
    timeout: Math.round(options.timeoutMs * 0.8),
    signal: AbortSignal.timeout(options.timeoutMs),
    env: { ...process.env, ...coverage, ...own },
  })
  for await (const event of events) collector.add(event.type, event.data as EventData & { message: string })
}

/** Runs one file (its path from the checkout). Never rejects: what goes wrong is a failed test. */
export async function runFile(file: string, options: FileOptions): Promise<FileRun> {
  const started = performance.now()
  const collector = collectEvents(file)
  const { tests, failures } = collector
  const mark = `${options.runId}:${file}`
  const folder = openFolder()
  await follow(collector, inRoot(file), options, { [markName]: mark, TMPDIR: folder.path }).catch((error: unknown) =>
    collector.fail(theFile, inspect(error)),
  )
  if (!collector.ended() && failures.length === 0)
    collector.fail(theFile, 'it has no test, or its process ended before all of its tests did')
  else if (tests.length === 0) collector.fail(theFile, 'it has no test')
  const left = await endLeftovers(() => findMarked(mark))
  if (left.length > 0) collector.fail('(processes left behind)', left.join('\n'))
  // What a failure left stays for whoever looks into it.
  const rest = folder.close({ keep: failures.length > 0 })
  if (rest.length > 0 && failures.length === 0) collector.fail('(files left behind)', rest.join('\n'))
  else if (rest.length > 0) collector.note(`what it left is in ${folder.path}: ${rest.join(', ')}`)
  return { file, tests, failures, printed: collector.printed(), ms: Math.round(performance.now() - started) }
}
