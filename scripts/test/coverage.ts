/** Line coverage of src over every process and thread of the tests, from V8's own counters. */
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Report } from 'c8'
import ts from 'typescript'
import { cache, fromRoot, inRoot, root } from '../lib/paths.ts'

/** The least share of lines, in percent, that a whole run has to reach. */
export const requiredCoverage = 85

/** What is not counted, as it is printed. */
export const excludedFromCoverage = 'test files, *.generated.ts, src/testing, files that hold only types'

const excludedPatterns = ['src/**/*.test.ts', 'src/**/*.generated.ts', 'src/**/*.d.ts', 'src/testing/**']

/**
 * Test files whose processes are not measured: they start the program again and again, or a built one that does not
 * count, and measuring is a fifth of what a start costs. What only they run counts as not run, so the share that is
 * reported is at most the true one.
 */
const unmeasured: readonly string[] = [
  'test/chaos/',
  'test/e2e/bad-input.test.ts',
  'test/e2e/cli-completion.test.ts',
  'test/e2e/cli-every-command.test.ts',
  'test/e2e/docs-blocks.test.ts',
  'test/e2e/http-up.test.ts',
  'test/e2e/mcp-lifecycle.test.ts',
  'test/e2e/mqtt-ota-kill.test.ts',
  'test/e2e/quickstart.test.ts',
  'test/e2e/ssh-detached.test.ts',
  'test/e2e/terminal-cli.test.ts',
  // It compares times, and counting makes what has to be emulated several times slower.
  'test/contract/terminal-neighbours.test.ts',
]

/** Whether the processes of a test file (from the checkout) are measured. */
export function isMeasured(file: string): boolean {
  return !unmeasured.some((start) => file.startsWith(start))
}

export interface FileCoverage {
  readonly file: string
  readonly lines: number
  readonly covered: number
}

export interface Coverage {
  /** Percent; 100 when there is nothing to count. */
  readonly percent: number
  readonly files: readonly FileCoverage[]
  /** Files that should have been counted and are not in the report: a fault of the tool, not of the tests. */
  readonly lost: readonly string[]
}

/** A statement that certainly stays: most files have one, and need no compiler to tell. */
const STAYS = /^export (default|const|(async )?function|class) /m

/** Whether nothing of a file is left at run time: its imports vanish, so it is never loaded and cannot be covered. */
export function holdsOnlyTypes(source: string): boolean {
  if (STAYS.test(source)) return false
  const compilerOptions = { verbatimModuleSyntax: true, removeComments: true, module: ts.ModuleKind.ESNext }
  const { outputText } = ts.transpileModule(source, { compilerOptions })
  return /^\s*(export\s*\{\s*\};?\s*)*$/.test(outputText)
}

/** Files of src, from the checkout: those that count, and those that hold only types. */
function filesOfSource(): { readonly counted: readonly string[]; readonly types: readonly string[] } {
  const files = globSync('src/**/*.ts', { cwd: root, exclude: excludedPatterns }).sort()
  const types = new Set(files.filter((file) => holdsOnlyTypes(readFileSync(inRoot(file), 'utf8'))))
  return { counted: files.filter((file) => !types.has(file)), types: [...types] }
}

/**
 * Moves raw counters into another folder and drops what is not src: each process writes megabytes about its packages.
 * A file that was cut off (its process was killed while writing) is dropped whole.
 */
export function keepOwnCounters(from: string, to: string): void {
  if (!existsSync(from)) return
  const src = `${pathToFileURL(inRoot('src')).href}/`
  mkdirSync(to, { recursive: true })
  for (const name of readdirSync(from)) {
    const result = countersIn(join(from, name)).filter(({ url }) => url.startsWith(src) && !url.endsWith('.test.ts'))
    if (result.length > 0) writeFileSync(join(to, `${basename(from)}-${name}`), JSON.stringify({ result }))
  }
  rmSync(from, { recursive: true })
}

function countersIn(file: string): readonly { readonly url: string }[] {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).result
  } catch {
    return []
  }
}

/** Reads the counters of all processes and reports on src; `.cache/coverage-report` gets lcov.info for editors. */
export async function measureCoverage(folder: string): Promise<Coverage> {
  const { counted, types } = filesOfSource()
  const reportsDirectory = join(cache, 'coverage-report')
  rmSync(reportsDirectory, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const report = new Report({
    tempDirectory: folder,
    reportsDirectory,
    reporter: ['json-summary', 'lcovonly'],
    // Few patterns: c8 compiles all of them anew for every file.
    include: ['src/**/*.ts'],
    exclude: [...excludedPatterns, ...types],
    extension: ['.ts'],
    src: [root],
    // Files that no process loaded count as uncovered.
    all: true,
    excludeNodeModules: true,
    // The defaults of c8's command line, which its class does not have.
    resolve: '',
    omitRelative: true,
  })
  await report.run()
  return readSummary(join(reportsDirectory, 'coverage-summary.json'), counted)
}

function readSummary(file: string, counted: readonly string[]): Coverage {
  const summary: Record<string, { lines: { total: number; covered: number } }> = existsSync(file)
    ? JSON.parse(readFileSync(file, 'utf8'))
    : {}
  const files = Object.entries(summary)
    .filter(([path]) => path !== 'total')
    .map(([path, { lines }]) => ({ file: fromRoot(path), lines: lines.total, covered: lines.covered }))
  const reported = new Set(files.map(({ file: name }) => name))
  const lines = files.reduce((sum, one) => sum + one.lines, 0)
  const covered = files.reduce((sum, one) => sum + one.covered, 0)
  return {
    percent: lines === 0 ? 100 : (covered / lines) * 100,
    files,
    lost: counted.filter((name) => !reported.has(name)),
  }
}
