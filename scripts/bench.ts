/**
 * Measures speed and memory, beside a peer where there is one. docs/benchmarks.md says what the numbers mean.
 *
 *   npm run --silent bench                      every area
 *   npm run --silent bench -- ssh journal       these areas
 *   npm run --silent bench -- --rounds 11       that many rounds (odd, at least 7; default 7)
 *   npm run --silent bench -- --quick           one short round; judges nothing
 *   npm run --silent bench -- --profile FOLDER  CPU profiles of our side, for the Chrome tools; judges nothing
 *   npm run --silent bench -- --json[=FILE]     the rows as one JSON document
 *
 * A goal that is missed is reported as missed and is no failure of the run: exit 1 only where something could not be
 * measured, or what was measured did the wrong thing.
 */
import './lib/assert-node.ts'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { AREAS } from '../benchmarks/areas.ts'
import type { Area, BenchOptions } from '../benchmarks/harness/area.ts'
import { loadNow, machineFacts } from '../benchmarks/harness/machine.ts'
import type { Row } from '../benchmarks/harness/row.ts'
import { tableOf } from '../benchmarks/harness/table.ts'
import { createOutput } from './lib/output.ts'

const LEAST_ROUNDS = 7
/** sysexits.h EX_USAGE */
const EXIT_USAGE = 64

const output = createOutput(process.argv.slice(2))

interface Asked {
  readonly areas: readonly Area[]
  readonly options: BenchOptions
}

function parseArguments(args: readonly string[]): Asked {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { rounds: { type: 'string' }, quick: { type: 'boolean' }, profile: { type: 'string' } },
  })
  const unknown = positionals.filter((name) => !AREAS.some((area) => area.name === name))
  if (unknown.length > 0) {
    const known = AREAS.map(({ name, summary }) => `  ${name.padEnd(8)} ${summary}`).join('\n')
    throw new Error(`there is no area ${unknown.join(', ')}; there are\n${known}`)
  }
  const quick = values.quick === true || values.profile !== undefined
  const areas = AREAS.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
  const profile = values.profile === undefined ? undefined : resolve(values.profile)
  return { areas, options: { quick, rounds: roundsOf(values.rounds, quick), profile, say: (text) => output.say(text) } }
}

function roundsOf(given: string | undefined, quick: boolean): number {
  const rounds = Number(given ?? (quick ? 1 : LEAST_ROUNDS))
  const enough = Number.isInteger(rounds) && (quick ? rounds >= 1 : rounds >= LEAST_ROUNDS && rounds % 2 === 1)
  if (enough) return rounds
  throw new Error(`--rounds ${given}: an odd number of at least ${LEAST_ROUNDS}, or --quick`)
}

interface Measured {
  readonly name: string
  readonly seconds: number
  readonly load_before: number
  readonly load_after: number
  /** Why it was not measured, where it was not. */
  readonly skipped: string | null
  readonly failed: string | null
}

async function measure(area: Area, options: BenchOptions, rows: Row[]): Promise<Measured> {
  const began = performance.now()
  const load_before = loadNow()
  const skipped = area.missing() ?? null
  let failed: string | null = null
  output.say(`${area.name}: ${skipped === null ? area.summary : `skipped: ${skipped}`}`)
  try {
    if (skipped === null) rows.push(...(await area.run(options)))
  } catch (error) {
    failed = error instanceof Error ? error.message : String(error)
    output.say(`  FAILED: ${failed}`)
  }
  const seconds = Math.round((performance.now() - began) / 100) / 10
  return { name: area.name, seconds, load_before, load_after: loadNow(), skipped, failed }
}

function closing(rows: readonly Row[], areas: readonly Measured[], quick: boolean): string {
  const judged = rows.filter(({ met }) => met !== null)
  const missed = judged.filter(({ met }) => met === false).map(({ name }) => name)
  const failed = areas.filter((area) => area.failed !== null).map(({ name }) => name)
  const parts = [
    quick ? 'a quick run: no goal was judged' : `${judged.length - missed.length} of ${judged.length} goals met`,
    missed.length > 0 && `missed: ${missed.join(', ')}`,
    failed.length > 0 && `failed: ${failed.join(', ')}`,
  ]
  return parts.filter(Boolean).join('; ')
}

async function main({ areas, options }: Asked): Promise<void> {
  const machine = machineFacts()
  const rows: Row[] = []
  const measured: Measured[] = []
  for (const area of areas) measured.push(await measure(area, options, rows))
  output.say(`\n${tableOf(rows)}\n`)
  output.say(
    Object.entries(machine)
      .map(([name, value]) => `${name} ${JSON.stringify(value)}`)
      .join(', '),
  )
  const { quick, rounds } = options
  output.finish(
    { format: 1, finished_at: new Date().toISOString(), quick, rounds, machine, areas: measured, rows },
    closing(rows, measured, quick),
  )
  process.exitCode = measured.some(({ failed }) => failed !== null) ? 1 : 0
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  // Ends through the exit handlers, which remove folders and end servers; the sides end when we are gone.
  process.once(signal, () => process.exit(code))
}

let asked: Asked | undefined
try {
  asked = parseArguments(output.args)
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = EXIT_USAGE
}
if (asked) await main(asked)
