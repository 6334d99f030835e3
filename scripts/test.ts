/**
 * Runs the tests.
 *
 *   npm test                        everything: lint, all test files, coverage of src, guarantees
 *   npm test -- core/errors ssh     only the files whose path contains one of these
 *   npm test -- --no-lint           without lint
 *   npm test -- --concurrency=1     that many files at a time (default: twice as many as cores)
 *   npm test -- --json[=FILE]       the results as one JSON document
 *
 * The last line is `N passed, N failed, N skipped`; exit 1 if anything failed. What belongs to the run and to no
 * file (lint, build, coverage, guarantees, processes left behind) counts as one test each.
 */
import './lib/assert-node.ts'
import { rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { guaranteeProblems, readGuarantees } from './guarantees/guarantees.ts'
import { createOutput } from './lib/output.ts'
import { cache, inRoot } from './lib/paths.ts'
import { runTool } from './lint/tool.ts'
import {
  type Coverage,
  excludedFromCoverage,
  isMeasured,
  keepOwnCounters,
  measureCoverage,
  requiredCoverage,
} from './test/coverage.ts'
import { allTestFiles, runsAlone, selectFiles } from './test/discover.ts'
import { removeOpenFolders } from './test/folder.ts'
import { endLeftovers, endProcesses, findMarked, type Process, watchDescendants } from './test/processes.ts'
import {
  countsOf,
  mergeResults,
  readResults,
  runItself,
  type TestResult,
  type TestRun,
  writeResults,
} from './test/results.ts'
import { type FileRun, runFile } from './test/run-file.ts'

const fileTimeoutMs = 5 * 60_000

const output = createOutput(process.argv.slice(2))
const filters = output.args.filter((arg) => !arg.startsWith('--'))
const filtered = filters.length > 0
const runId = `${process.pid}-${Date.now()}`
const raw = join(cache, 'coverage', runId)
/**
 * What Node makes of a source (without its types, compiled) is kept for the next process: it is half of what a start
 * costs. Coverage stays exact inside of functions; a module's top level counts as run as a whole.
 */
const compiled = join(cache, 'compile')
const results: TestResult[] = []

function indent(text: string, by = '    '): string {
  return text.trimEnd().replace(/^/gm, by)
}

/** Records a check of the run itself. @param problem what is wrong, empty if nothing is */
function record(title: string, problem: string, ms = 0): void {
  const ok = problem === ''
  results.push({ file: runItself, title, status: ok ? 'passed' : 'failed', ms })
  output.say(`${ok ? 'ok    ' : 'FAILED'} ${title}`)
  if (!ok) output.say(indent(problem))
}

function reportFile({ file, tests, failures, printed, ms }: FileRun): void {
  const { passed, failed, skipped } = countsOf(tests)
  const numbers = [`${passed} passed`, failed > 0 && `${failed} failed`, skipped > 0 && `${skipped} skipped`]
  output.say(
    `${failed > 0 ? 'FAILED' : 'ok    '} ${file}  ${numbers.filter(Boolean).join(', ')}  ${(ms / 1000).toFixed(1)} s`,
  )
  for (const { title, text } of failures) output.say(`  ✗ ${title}\n${indent(text, '      ')}`)
  if (failed > 0 && printed !== '') output.say(`  printed by ${file}:\n${indent(printed, '      | ')}`)
}

async function lint(): Promise<void> {
  const started = performance.now()
  const { code, text } = await runTool([process.execPath, inRoot('scripts/lint.ts')])
  record('lint', code === 0 ? '' : text, Math.round(performance.now() - started))
}

/** Runs the files a few at a time, each in its own process. */
async function runFiles(files: readonly string[], concurrency: number): Promise<void> {
  const waiting = [...files]
  async function work(): Promise<void> {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const coverageFolder = filtered || !isMeasured(file) ? undefined : join(raw, `file-${file.replaceAll('/', '-')}`)
      const done = await runFile(file, { runId, timeoutMs: fileTimeoutMs, coverageFolder })
      results.push(...done.tests)
      reportFile(done)
      if (coverageFolder) keepOwnCounters(coverageFolder, join(raw, 'own'))
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
}

/**
 * Fills the compile cache with what every start of the program loads. Left to the test files it would come late: many of
 * them start the program and kill it, and a process that is killed caches nothing.
 */
async function fillCache(): Promise<void> {
  const modules = ['src/app.ts', 'src/surfaces/cli/run.ts', 'src/surfaces/http/up.ts', 'src/testing/probe-worker.ts']
  const imports = modules.map((module) => `await import(${JSON.stringify(pathToFileURL(inRoot(module)).href)})`)
  const { code, text } = await runTool([process.execPath, '--input-type=module', '--eval', imports.join('\n')])
  // Only time is lost; what is wrong with the module is told by its tests.
  if (code !== 0) output.say(`the compile cache could not be filled: ${text.trim().split('\n')[0]}`)
}

function checkCoverage({ percent, files, lost }: Coverage): void {
  const problems = lost.map((file) => `${file}: missing in the coverage report`)
  if (percent < requiredCoverage) {
    const open = files.map(({ file, lines, covered }) => ({ file, lines, missing: lines - covered }))
    const worst = open.filter(({ missing }) => missing > 0).sort((a, b) => b.missing - a.missing)
    problems.push(
      ...worst.slice(0, 20).map(({ file, lines, missing }) => `${file}: ${missing} of ${lines} lines not run`),
    )
  }
  record(`at least ${requiredCoverage} % of the lines of src are run by tests`, problems.join('\n'))
}

/** How many tests were skipped for which reason. */
function skipLines(): readonly string[] {
  const reasons = new Map<string, number>()
  for (const { status, reason = '' } of results)
    if (status === 'skipped') reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  return [...reasons].map(([reason, count]) => `skipped ${count}: ${reason}`)
}

function concurrencyOf(args: readonly string[]): number {
  const given = args.find((arg) => arg.startsWith('--concurrency='))?.slice('--concurrency='.length)
  // More than cores: much of the time goes by waiting for servers and clocks.
  const number = Number(given ?? availableParallelism() * 2)
  if (!Number.isInteger(number) || number < 1) throw new Error(`--concurrency=${given} is no number of files`)
  return number
}

/** An aborted run takes its tests' processes along. */
function endWithUs(find: () => Process[]): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      output.say(`ended by ${signal}`)
      rmSync(raw, { recursive: true, force: true })
      void endProcesses(find()).finally(() => {
        removeOpenFolders()
        process.kill(process.pid, signal)
      })
    })
  }
}

async function main(): Promise<void> {
  const all = allTestFiles()
  const files = selectFiles(all, filters)
  const watch = watchDescendants()
  const find = () => [...watch.alive(), ...findMarked(runId)]
  endWithUs(find)
  const unbuilt = process.env.MHV_BUILD_FAILED === '1'
  // A single file's tests may well not need dist: somebody who works on it is told, not stopped.
  if (unbuilt && filtered) output.say('dist could not be built: tests that run it see an older one')
  // A whole run begins without one: what earlier versions of the sources left goes.
  if (!filtered) rmSync(compiled, { recursive: true, force: true })
  process.env.NODE_COMPILE_CACHE = compiled
  if (unbuilt && !filtered) record('build', 'dist could not be built from src; the messages are above')
  if (!filtered && !output.args.includes('--no-lint')) await lint()
  if (!filtered) await fillCache()
  if (files.length === 0) record('test files', `no test file matches ${filters.join(' ') || 'src and test'}`)
  await runFiles(
    files.filter((file) => !runsAlone(file)),
    concurrencyOf(output.args),
  )
  await runFiles(files.filter(runsAlone), 1)

  const left = await endLeftovers(find)
  watch.stop()
  if (left.length > 0) record('no process is left behind', left.join('\n'))
  const coverage = filtered ? undefined : await measureCoverage(join(raw, 'own'))
  if (coverage) checkCoverage(coverage)
  if (!filtered) record('every guarantee has a test', guaranteeProblems(readGuarantees(), results).join('\n'))
  rmSync(raw, { recursive: true, force: true })
  finish(all, coverage)
}

function finish(all: readonly string[], coverage: Coverage | undefined): void {
  const counts = countsOf(results)
  const finishedAt = new Date().toISOString()
  const run: TestRun = { format: 1, filtered, finishedAt, ...counts, coverage: coverage?.percent, tests: results }
  writeResults(mergeResults(run, readResults(), all))
  for (const line of skipLines()) output.say(line)
  if (coverage) output.say(`coverage: ${coverage.percent.toFixed(1)} % lines of src (without ${excludedFromCoverage})`)
  output.finish(run, `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
  // Not exitCode: a pipe that a test's grandchild still holds open must not keep the run alive.
  process.exit(counts.failed > 0 ? 1 : 0)
}

await main()
