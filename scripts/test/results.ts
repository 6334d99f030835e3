/** What a test run leaves behind in `.cache/test-results.json`, for other scripts and for people. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cache } from '../lib/paths.ts'

/** One test, or one check of the run itself (lint, coverage, …) under the file `(run)`. */
export interface TestResult {
  /** The test file from the checkout, with forward slashes. */
  readonly file: string
  /** The names of its suites and its own, joined by ` > `. */
  readonly title: string
  readonly status: 'passed' | 'failed' | 'skipped'
  /** Why it was skipped. */
  readonly reason?: string
  readonly ms: number
}

/** The document of `npm test -- --json` and of the results file. */
export interface TestRun {
  readonly format: 1
  /** Whether only some files were run; results of the others are then from earlier runs. */
  readonly filtered: boolean
  readonly finishedAt: string
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Percent of the lines of src; undefined when it was not measured. */
  readonly coverage?: number
  readonly tests: readonly TestResult[]
}

/** The pseudo file of checks that belong to the run, not to a test file. */
export const runItself = '(run)'

export const resultsFile = join(cache, 'test-results.json')

/** Numbers per status. */
export function countsOf(tests: readonly TestResult[]): Pick<TestRun, 'passed' | 'failed' | 'skipped'> {
  const count = (status: TestResult['status']) => tests.filter((test) => test.status === status).length
  return { passed: count('passed'), failed: count('failed'), skipped: count('skipped') }
}

/** The results of the last run; undefined before the first one, or when another format is found. */
export function readResults(file: string = resultsFile): TestRun | undefined {
  if (!existsSync(file)) return undefined
  const run = JSON.parse(readFileSync(file, 'utf8'))
  return run?.format === 1 ? run : undefined
}

/**
 * Keeps what earlier runs said about files that a filtered run left out, unless those files are gone.
 * @param files every test file there is
 */
export function mergeResults(now: TestRun, before: TestRun | undefined, files: readonly string[]): TestRun {
  if (!now.filtered || !before) return now
  const ran = new Set(now.tests.map((test) => test.file))
  const kept = before.tests.filter((test) => !ran.has(test.file) && files.includes(test.file))
  const tests = [...now.tests, ...kept]
  return { ...now, ...countsOf(tests), tests }
}

/** Writes whole or not at all: another script may be reading. */
export function writeResults(run: TestRun, file: string = resultsFile): void {
  mkdirSync(dirname(file), { recursive: true })
  const partial = `${file}.${process.pid}`
  writeFileSync(partial, `${JSON.stringify(run, undefined, 1)}\n`)
  renameSync(partial, file)
}
