/**
 * Runs the tests in large sizes, one file after the other.
 *
 *   npm run soak                    everything
 *   npm run soak -- kills           only the files whose path contains one of these
 *   npm run soak -- --json[=FILE]   the results as one JSON document
 */
import './lib/assert-node.ts'
import { globSync } from 'node:fs'
import { createOutput } from './lib/output.ts'
import { root } from './lib/paths.ts'
import { selectFiles } from './test/discover.ts'
import { countsOf, type TestResult } from './test/results.ts'
import { runFile } from './test/run-file.ts'

/** Bounded, so that a soak ends by itself also when something hangs. */
const fileTimeoutMs = 30 * 60_000

const output = createOutput(process.argv.slice(2))
const files = selectFiles(globSync('test/soak/**/*.soak.ts', { cwd: root }).sort(), output.args)
const results: TestResult[] = []
for (const file of files) {
  output.say(`running ${file}`)
  const { tests, failures, printed, ms } = await runFile(file, {
    runId: `soak-${process.pid}`,
    timeoutMs: fileTimeoutMs,
  })
  results.push(...tests)
  for (const { title, text } of failures) output.say(`FAILED ${title}\n${text}`)
  if (failures.length > 0 && printed !== '') output.say(printed)
  output.say(`${failures.length > 0 ? 'FAILED' : 'ok    '} ${file}  ${(ms / 1000).toFixed(1)} s`)
}
const { passed, failed, skipped } = countsOf(results)
output.finish({ passed, failed, skipped, tests: results }, `${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed > 0 || files.length === 0 ? 1 : 0
