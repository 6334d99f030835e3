/**
 * Lists every promise of docs/guarantees.md with the tests that cite it and their last result.
 * Exit 1 if a promise has no test.
 *
 *   npm run guarantees [-- --json]
 */
import './lib/assert-node.ts'
import { readGuarantees, reportGuarantees, scanTitles } from './guarantees/guarantees.ts'
import { createOutput } from './lib/output.ts'
import { readResults } from './test/results.ts'

const output = createOutput(process.argv.slice(2))
const run = readResults()
const guarantees = reportGuarantees(readGuarantees(), run?.tests ?? [], scanTitles())

for (const { id, sentence, tests, result } of guarantees) {
  output.say(`${id}  ${tests.length === 0 ? 'NO TEST' : result}  ${sentence}`)
  for (const { file, title, status } of tests) output.say(`    ${status.padEnd(7)}  ${file}  ${title}`)
}
const untested = guarantees.filter(({ tests }) => tests.length === 0).map(({ id }) => id)
output.finish(
  { format: 1, resultsFrom: run?.finishedAt, guarantees, untested },
  `${guarantees.length} guarantees, ${untested.length} without a test${run ? '' : '; there are no test results yet'}`,
)
process.exitCode = untested.length > 0 ? 1 : 0
