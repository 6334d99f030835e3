/**
 * Lets faults drawn from a seed befall an instance under load, then holds its journal against what was really done.
 *
 *   npm run chaos                                   120 seconds, a seed of its own
 *   npm run chaos -- --seconds 30 --seed 7          as long, and the same faults again
 *   npm run chaos -- --break journal|retry|lease    an instance without that mechanism: the check has to fail
 *   npm run chaos -- --json[=FILE]                  the result as one JSON document
 *
 * Exit 0 only when nothing is lost, done twice or stuck, and nothing else is wrong; 1 otherwise, 2 for wrong arguments.
 */
import './lib/assert-node.ts'
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { BREAKABLE, type Breakable } from '../test/chaos/storm/broken.ts'
import { holds, runStorm } from '../test/chaos/storm/driver.ts'
import { createOutput } from './lib/output.ts'

const USAGE = `usage: npm run chaos -- [--seconds 5..86400] [--seed N] [--break ${BREAKABLE.join('|')}] [--json[=FILE]]`

interface Arguments {
  readonly seconds: number
  readonly seed: number
  readonly broken: Breakable | null
}

function readArguments(args: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...args],
    options: { seconds: { type: 'string' }, seed: { type: 'string' }, break: { type: 'string' } },
  })
  const broken = BREAKABLE.find((name) => name === values.break) ?? null
  if (values.break !== undefined && broken === null)
    throw new Error(`--break ${values.break}: there is no such mechanism`)
  return {
    seconds: whole('--seconds', values.seconds ?? '120', 5, 86_400),
    seed: whole('--seed', values.seed ?? String(randomInt(1_000_000)), 0, 2 ** 32 - 1),
    broken,
  }
}

function whole(name: string, text: string, least: number, most: number): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= least && number <= most) return number
  throw new Error(`${name} ${text}: a whole number from ${least} to ${most} is wanted`)
}

/** Overwritten by the next one on a terminal; elsewhere nobody watches. */
function progressLine(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

async function main(): Promise<void> {
  const output = createOutput(process.argv.slice(2))
  let wanted: Arguments
  try {
    wanted = readArguments(output.args)
  } catch (error) {
    output.say(`${(error as Error).message}\n${USAGE}`)
    process.exitCode = 2
    return
  }
  const without = wanted.broken === null ? '' : `, without its ${wanted.broken}`
  output.say(`${wanted.seconds} seconds, seed ${wanted.seed}${without}`)
  const { report, evidence } = await runStorm({ ...wanted, onProgress: progressLine })
  progressLine('')
  for (const line of evidence) output.say(line)
  for (const reason of report.skipped_faults) output.say(`not tried: ${reason}`)
  output.say(
    `faults: ${Object.entries(report.faults)
      .map(([kind, count]) => `${count} ${kind}`)
      .join(', ')}`,
  )
  output.say(`${report.calls} calls, ${report.runs} runs (${report.throughput} a second), ${report.effects} effects`)
  const { acknowledged, lost, duplicated_effects, stuck, invariant_failures } = report
  const numbers = `${acknowledged} acknowledged, ${lost} lost, ${duplicated_effects} duplicated, ${stuck} stuck, ${invariant_failures} other failures`
  output.finish(report, `${numbers}`)
  process.exitCode = holds(report) ? 0 : 1
}

await main()
